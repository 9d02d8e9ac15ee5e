"""Recorded drives: the pictures of one or several camera topics of a bag, in the order of their log times."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.bags import Bag, Message, span, split_target
from rtseg.bags.choose import choose, is_picture
from rtseg.bags.files import open_bag
from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Header, StreamInfo
from rtseg.messages import records as messages
from rtseg.messages.images import BadMessage, decode_picture
from rtseg.sources._ahead import Ahead
from rtseg.sources._options import at_least, whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BagSource"]

log = logging.getLogger("rtseg")


class BagSource:
    """Frames of a bag's camera topics.

    `target` is `drive.mcap#/camera/image`, with several topics `drive.mcap#/left,/right`, a .db3 or .bag file or a
    rosbag2's folder likewise; without topics the bag's only one is taken. `start` and `end` are seconds from the bag's
    first message by log time, `end` exclusive; `stride` N takes every N-th message of each topic. Frames carry their
    message's header; `pts` is the log time in seconds from the bag's first message, `stamp` the header's time; sizes
    may differ from topic to topic and from frame to frame. Messages without a usable picture are logged once per kind,
    left out and counted in `skipped`, also in `info.details`. A bag that is truncated or damaged ends with `warning`
    set, also there; `info.details["complete"]` says that the source came to its end.
    Errors: ConfigError for options; SourceError on entering when there is nothing to decode.
    """

    reconnects = 0

    def __init__(self, target: str, *, start: float | None = None, end: float | None = None, stride: int = 1) -> None:
        self._path, self._names = split_target(target)
        self._stop = threading.Event()
        self._start = None if start is None else at_least("start", start, 0)
        self._end = None if end is None else at_least("end", end, 0, above=True)
        if self._end is not None and self._end <= (self._start or 0):
            raise ConfigError(f"end ({self._end:g} s) is not after start ({self._start or 0:g} s)")
        self._stride = whole("stride", stride, 1)
        self._info: StreamInfo | None = None
        self._frames = Ahead(self._play(), restamp=True)
        self.skipped: Counter[str] = Counter()
        self.warning: str | None = None

    @property
    def info(self) -> StreamInfo:
        assert self._info is not None, "info is valid once the source is entered"
        return self._info

    def __enter__(self) -> Self:
        self._frames.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._frames.close()

    def close(self) -> None:
        """End the iteration at the next frame; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def _play(self) -> Generator[Frame, None, None]:
        with closing(open_bag(self._path)) as bag:
            names = choose(bag, self._names)
            begin, index = bag.start_ns, 0
            for message in self._chosen(bag, names):
                if self._stop.is_set():
                    return
                try:
                    image, stamp, frame_id = decode_picture(message.topic.kind, _cdr(message))
                except BadMessage as exc:
                    self._skip(message, exc)
                    continue
                if self._info is None:
                    self._info = self._describe(bag, names, (image.shape[0], image.shape[1]))
                header = Header(message.topic.name, stamp, frame_id, message.log_time)
                pts = (message.log_time - begin) / 1e9
                yield Frame(index, time.monotonic_ns(), pts, stamp / 1e9, image, header)
                index += 1
                del image
            if not self._stop.is_set():
                self._end_of(bag, names, index)

    def _chosen(self, bag: Bag, names: Sequence[str]) -> Iterator[Message]:
        """The camera messages between start and end, every stride-th of each topic."""
        turns: Counter[str] = Counter()
        for message in bag.messages(names, *span(bag, self._start, self._end)):
            if not is_picture(message.topic):  # topics of one name may be of several types
                continue
            name = message.topic.name
            if turns[name] % self._stride == 0:
                yield message
            turns[name] += 1

    def _skip(self, message: Message, exc: BadMessage) -> None:
        self.skipped[exc.kind] += 1
        if self.skipped[exc.kind] == 1:
            log.warning("%s: topic %s: %s (left out)", self._path, message.topic.name, exc)

    def _end_of(self, bag: Bag, names: Sequence[str], frames: int) -> None:
        """Raise or log the problems of a bag at its end, after `frames` frames."""
        length = (bag.end_ns - bag.start_ns) / 1e9
        if not frames:
            topics = ", ".join(names)
            if bag.warning is not None:
                raise SourceError(f"no picture of {topics} can be read: {bag.warning}")
            if self.skipped:
                kinds = ", ".join(f"{kind} {count}" for kind, count in self.skipped.items())
                raise SourceError(f"{self._path}: no message of {topics} holds a usable picture ({kinds})")
            if self._start and self._start > length:
                raise ConfigError(f"start {self._start:g} s is past the end of {self._path} ({length:.2f} s)")
            part = " between start and end" if self._start or self._end else ""
            raise SourceError(f"{self._path}: there is no message of {topics}{part}")
        if self.skipped:
            self.info.details["skipped"] = dict(self.skipped)
        if bag.warning is not None:
            self.warning = self.info.details["warning"] = bag.warning
        self.info.details["complete"] = True

    def _describe(self, bag: Bag, names: Sequence[str], size: tuple[int, int]) -> StreamInfo:
        chosen = [topic for topic in bag.topics if topic.name in names and is_picture(topic)]
        length = (bag.end_ns - bag.start_ns) / 1e9
        rate = sum(max(0, topic.count - 1) for topic in chosen) / length if length else 0.0
        frames = -(-sum(topic.count for topic in chosen) // self._stride)
        if self._start is not None or self._end is not None:
            frames = round(max(0.0, min(self._end or length, length) - (self._start or 0)) * rate / self._stride)
        return StreamInfo(
            source=self._path,
            live=False,
            fps=rate / self._stride or None,
            size=size,
            frames=frames,
            details={
                "storage": bag.storage,
                "topics": ",".join(names),
                "duration": round(length, 3),
                "start": self._start,
                "end": self._end,
                "complete": None,
            },
        )


def _cdr(message: Message) -> bytes | memoryview:
    """The message in ROS 2's encoding."""
    if message.topic.encoding != "ros1":
        return message.data
    try:
        return messages.types().ros1_to_cdr(message.data, message.topic.kind)
    except messages.SerdeError as exc:
        raise BadMessage("not a message", f"{len(message.data)} bytes are not a {message.topic.kind}: {exc}") from exc
