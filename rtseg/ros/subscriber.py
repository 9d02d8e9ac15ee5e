"""An image topic as a source: the newest message waits, every other one is counted, and none can end the run."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from rtseg.frame import Frame, Header, Image, StreamInfo
from rtseg.messages.images import BadMessage, decode_picture
from rtseg.messages.records import COMPRESSED_IMAGE, IMAGE, NANO

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Picture", "Subscriber", "picture_kind"]

log = logging.getLogger("rtseg")

POLL_SECONDS = 0.1
COMPLAINT_SECONDS = 10.0
"""Least time between two log lines on messages that are bad in the same way."""
KNOWN_PUBLISHERS = 64


class Picture(NamedTuple):
    """A picture that was handed over in this process: HWC uint8 BGR, and its header."""

    image: Image
    stamp_ns: int
    frame_id: str


class Arrived(NamedTuple):
    """A message that waits: its place among all that were published for us, when it was in hand, and its bytes."""

    place: int
    t_capture: int
    data: bytes | Picture


def picture_kind(topic: str) -> str:
    """The message type of an image topic, by its name, as image_transport names them."""
    return COMPRESSED_IMAGE if topic.endswith("/compressed") else IMAGE


class Subscriber:
    """Takes messages by `put` from the thread that receives them and is iterated for frames as any source.

    One message waits; a newer one replaces it. Messages are numbered as they were published, so that every one that
    was lost, on the way or here, is a gap in `Frame.index`; bad ones, and those that came while nobody wanted any
    (`skip`), are not. `size` (height, width) is what is expected, to be ready for it. `received` counts the
    messages that came, `lost` those that were published and did not come, `replaced` those that waited in vain,
    `skipped` those that were not needed, `bad` those that hold no usable picture, by kind.
    """

    reconnects = 0

    def __init__(self, topic: str, size: tuple[int, int] | None = None) -> None:
        self.topic, self.kind, self._size = topic, picture_kind(topic), size
        self.received = self.lost = self.replaced = self.skipped = 0
        self.bad: Counter[str] = Counter()
        self._places = 0
        self._last: OrderedDict[bytes, int] = OrderedDict()
        self._waiting: Arrived | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self._complaints: dict[str, tuple[float, int]] = {}

    @property
    def info(self) -> StreamInfo:
        return StreamInfo(source=f"ros:{self.topic}", live=True, size=self._size)

    def put(self, data: bytes | Picture, publisher: bytes = b"", sequence: int | None = None, age_ns: int = 0) -> None:
        """Take a message, `age_ns` after it arrived; `sequence` is its number among those of its publisher."""
        t_capture = time.monotonic_ns() - age_ns
        with self._changed:
            missing = self._missing(publisher, sequence)
            self.lost += missing
            self.received += 1
            self._places += missing + 1
            if self._waiting is not None:
                self.replaced += 1
            self._waiting = Arrived(self._places - 1, t_capture, data)
            self._changed.notify()

    def skip(self, publisher: bytes = b"", sequence: int | None = None) -> None:
        """Note a message that is not needed, and those before it that did not come: they were not needed either."""
        with self._changed:
            self.skipped += self._missing(publisher, sequence) + 1

    def forget(self) -> None:
        """Start over with every publisher: what it sent while nothing was subscribed to it is not lost."""
        with self._changed:
            self._last.clear()

    def _missing(self, publisher: bytes, sequence: int | None) -> int:
        """How many messages of this publisher did not come between its last one and this."""
        if sequence is None:
            return 0
        last = self._last.pop(publisher, sequence - 1)
        self._last[publisher] = max(last, sequence)
        if len(self._last) > KNOWN_PUBLISHERS:
            self._last.popitem(last=False)
        return max(0, sequence - last - 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """End the iteration, by `error` where that is why; from any thread."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        while (arrived := self._next()) is not None:
            frame = self._frame(arrived)
            del arrived
            if frame is not None:
                yield frame
            del frame
        if self._error is not None:
            raise self._error

    def _next(self) -> Arrived | None:
        with self._changed:
            while self._waiting is None and not self._closed:
                self._changed.wait(POLL_SECONDS)
            arrived, self._waiting = self._waiting, None
            return None if self._closed else arrived

    def _frame(self, arrived: Arrived) -> Frame | None:
        """The picture of a message; None for one that is bad, which is counted and, now and then, logged."""
        try:
            if isinstance(arrived.data, Picture):
                image, stamp_ns, frame_id = arrived.data
            else:
                image, stamp_ns, frame_id = decode_picture(self.kind, arrived.data)
        except BadMessage as exc:
            self.bad[exc.kind] += 1
            self._complain(exc)
            return None
        index = arrived.place - self.bad.total()
        header = Header(self.topic, stamp_ns, frame_id, stamp_ns)
        return Frame(index, arrived.t_capture, None, stamp_ns / NANO, image, header)

    def _complain(self, error: BadMessage) -> None:
        now = time.monotonic()
        last, silent = self._complaints.get(error.kind, (-COMPLAINT_SECONDS, 0))
        if now - last < COMPLAINT_SECONDS:
            self._complaints[error.kind] = last, silent + 1
            return
        more = f" ({silent} more like it since the last such line)" if silent else ""
        log.warning("%s: message left out: %s%s", self.topic, error, more)
        self._complaints[error.kind] = now, 0
