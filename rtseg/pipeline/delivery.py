"""Results to sinks: a sink that blocks gets a thread and a bounded queue of its own, with counted drops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.errors import SinkError
from rtseg.frame import Frame, Result
from rtseg.pipeline.mailbox import Mailbox
from rtseg.sinks.contract import Sink

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Delivery"]

Written = Callable[[Frame, int], None]

JOIN_SECONDS = 120.0
"""How long a sink may take to finish its file after the last result, unless its own `finish_seconds` says."""


class SinkThread:
    """Runs one sink: opens it, writes what the mailbox brings, closes it, all in its own thread."""

    def __init__(self, sink: Sink, policy: str, written: Written) -> None:
        self.mailbox: Mailbox[Result] = Mailbox(policy)
        self._sink, self._written = sink, written
        self._error: BaseException | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{type(sink).__name__}", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until the sink is open; re-raises what opening it raised."""
        self._thread.start()
        self._opened.wait()
        self._raise()

    def write(self, result: Result) -> None:
        """Queue a result; re-raises what the sink raised earlier."""
        self._raise()
        self.mailbox.put(result)

    def finish(self) -> None:
        """Let the sink write what is queued, close it, and re-raise what it raised."""
        self.mailbox.close()
        limit: float = getattr(self._sink, "finish_seconds", JOIN_SECONDS)
        self._thread.join(limit)
        if self._thread.is_alive():
            raise SinkError(f"{type(self._sink).__name__} did not finish within {limit:.0f} s")
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            with self._sink as sink:
                self._opened.set()
                for result in self.mailbox:
                    sink.write(result)
                    self._written(result.frame, time.monotonic_ns())
                    del result  # its buffers are free for reuse while the next one is awaited
        except BaseException as exc:  # noqa: BLE001 - handed to the loop, which re-raises it
            self._error = exc
        finally:
            self._opened.set()
            self.mailbox.close()


class Delivery:
    """Hands each result to every sink. `policy` is that of the queues in front of threaded sinks.

    `written(frame, t)` is called for each frame that a sink finished at `t` (monotonic ns), from the sink's thread.
    Leaving it finishes every sink, also when the run failed, so that files are playable.
    """

    def __init__(self, sinks: Sequence[Sink], policy: str, written: Written) -> None:
        self._threads = [SinkThread(sink, policy, written) for sink in sinks if sink.threaded]
        self._direct = [sink for sink in sinks if not sink.threaded]
        self._sinks = tuple(sinks)
        self._written = written
        self._stack = ExitStack()

    @property
    def idle(self) -> frozenset[str]:
        """What sinks need at times and nobody asks for now."""
        needs = frozenset[str]().union(*(sink.needs for sink in self._sinks))
        return needs.difference(*(getattr(sink, "wanted", sink.needs) for sink in self._sinks))

    @property
    def drops(self) -> int:
        """Results that a queue's policy dropped."""
        return sum(thread.mailbox.drops for thread in self._threads)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for sink in self._direct:
                stack.enter_context(sink)
            for thread in self._threads:
                stack.callback(thread.finish)
                thread.start()
            self._stack = stack.pop_all()
        return self

    def write(self, result: Result) -> None:
        """Hand over one result; errors of a sink's thread are raised here, with their own traceback."""
        for thread in self._threads:
            thread.write(result)
        for sink in self._direct:
            sink.write(result)
            self._written(result.frame, time.monotonic_ns())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
