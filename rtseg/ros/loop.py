"""The pipeline's loop in a thread of its own, beside the thread that serves ROS."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from rtseg.config import RunConfig
from rtseg.packages.spec import ModelSpec
from rtseg.pipeline.loop import Pipeline, run
from rtseg.pipeline.opening import Notify, SinkFactory, open_pipeline
from rtseg.sources.contract import Source

__all__ = ["Loop"]

JOIN_SECONDS = 30.0
"""How long ending waits for the frame in hand and for what the sink has queued."""
LOADING_SECONDS = 2.0
"""How long it waits for a model that is still being loaded, which nothing can interrupt."""


class Loop:
    """Opens a pipeline between `source` and what `sink` makes, runs it, closes it, all in one thread.

    `start` returns when it is open and raises what opening raised; `error` is what ended it later. `end` closes the
    source, which ends the loop, and waits.
    """

    def __init__(self, config: RunConfig, source: Source, sink: SinkFactory, notify: Notify) -> None:
        self._config, self._source, self._sink, self._notify = config, source, sink, notify
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self.pipeline: Pipeline | None = None
        self.error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether frames are still being taken."""
        return self._thread.is_alive()

    @property
    def spec(self) -> ModelSpec:
        """The model's; valid once started."""
        assert self.pipeline is not None
        return self.pipeline.segmenter.spec

    def start(self) -> Pipeline:
        """Open everything; the pipeline that now runs. Errors: every RtsegError that opening one can give."""
        self._thread.start()
        self._opened.wait()
        if self.error is not None:
            self._thread.join(JOIN_SECONDS)
            raise self.error
        assert self.pipeline is not None
        return self.pipeline

    def end(self) -> bool:
        """Let the frame in hand be finished and close everything; False if that did not happen in time."""
        self._source.close()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS if self._opened.is_set() else LOADING_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self.pipeline, _ = open_pipeline(
                    self._config, stack, self._notify, source=self._source, sink=self._sink
                )
                self._opened.set()
                run(self.pipeline)
        except BaseException as exc:  # noqa: BLE001 - handed to the node, which reports it
            self.error = exc
        finally:
            self._opened.set()
