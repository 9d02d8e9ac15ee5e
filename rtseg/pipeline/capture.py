"""The capture thread: opens a source, reads it, closes it, and hands frames over by a counted policy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.frame import Frame, StreamInfo
from rtseg.pipeline.mailbox import POLL_SECONDS, Mailbox, parse_policy
from rtseg.sources.contract import Source

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Capture"]

log = logging.getLogger("rtseg")

JOIN_SECONDS = 2.0
"""How long leaving waits for the thread. A read that is stuck in the operating system ends by its own timeout."""


class Capture:
    """Runs `source` in a thread of its own; iterate it for frames, which end when the source does.

    `policy` is `latest` (the newest frame replaces the one that waits; the default of live sources), `wait` (the source
    waits, nothing is lost; the default of the others), `wait:N` or `drop-oldest:N`. `drops` counts replaced frames;
    each is a gap in `Frame.index`. Entering waits until the source is open and raises what opening raised; what the
    source raises later is raised by the iteration after the frames that came before it, with its own traceback. With a
    waiting policy the source is read from the first iteration on, not before.
    Errors: ConfigError for a policy that does not exist.
    """

    def __init__(self, source: Source, policy: str | None = None) -> None:
        if policy is not None:
            parse_policy(policy)
        self._source, self._asked = source, policy
        self._mailbox: Mailbox[Frame] | None = None
        self._opened = threading.Event()
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._error: BaseException | None = None
        self._info: StreamInfo | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def info(self) -> StreamInfo:
        """What the source really gave; valid once entered."""
        assert self._info is not None, "info is valid once the capture is entered"
        return self._info

    @property
    def policy(self) -> str:
        """What happens to frames that were not taken in time."""
        if self._asked is not None:
            return self._asked
        return "latest" if self.info.live else "wait"

    @property
    def drops(self) -> int:
        """Frames that were captured and replaced by newer ones."""
        return self._mailbox.drops if self._mailbox else 0

    @property
    def reconnects(self) -> int:
        """How often the source was opened again."""
        return self._source.reconnects

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            while not self._opened.wait(POLL_SECONDS):
                pass
            self._raise()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._error is not None and kind is None:
            log.warning("the source failed after the last frame that was used: %s", self._error)

    def __iter__(self) -> Iterator[Frame]:
        assert self._mailbox is not None, "frames come once the capture is entered"
        self._wanted.set()
        for frame in self._mailbox:
            if self._closing.is_set():
                return
            yield frame
            del frame
        if not self._closing.is_set():
            self._raise()

    def close(self) -> None:
        """End the iteration and the thread; frames that wait are given up. From any thread, any number of times."""
        self._closing.set()
        self._source.close()
        if self._mailbox is not None:
            self._mailbox.close()
        if self._thread.ident is None or self._thread is threading.current_thread():
            return
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            log.warning("the source is still in a blocked read; it ends when its timeout runs out")

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            with self._source as source:
                self._info = source.info
                self._mailbox = Mailbox(self.policy)
                self._opened.set()
                # What would wait for us stays fresh by being read only when it is wanted. Where the newest frame wins
                # the source is read at once, or its pictures would pile up in buffers that nobody sees.
                waits = parse_policy(self.policy)[0] == "wait"
                while waits and not self._wanted.wait(POLL_SECONDS) and not self._closing.is_set():
                    pass
                frames = iter(source)
                # A frame is read when there is room for it, so that it does not grow old before it is even queued.
                while self._mailbox.wait_for_room() and not self._closing.is_set():
                    frame = next(frames, None)
                    if frame is None or not self._mailbox.put(frame):
                        break
                    del frame  # the mailbox and the consumer hold what is alive
        except BaseException as exc:  # noqa: BLE001 - handed to the consumer, which re-raises it
            self._error = exc
        finally:
            if self._mailbox is not None:
                self._mailbox.close()
            self._opened.set()
