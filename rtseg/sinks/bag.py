"""Results into a bag: masks, overlays and class names beside everything that the input bag holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rtseg.bags import Bag, Message, Topic, is_bag, span
from rtseg.bags.files import open_bag, open_writer
from rtseg.bags.names import base_names
from rtseg.bags.writers import Writer, ros_topic
from rtseg.drawing.view import View
from rtseg.errors import ConfigError, SinkError
from rtseg.frame import Frame, Header, Result, StreamInfo
from rtseg.messages.images import compressed_bytes, image_bytes
from rtseg.messages.records import COMPRESSED_IMAGE, IMAGE, LABEL_INFO
from rtseg.messages.status import label_info_bytes
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BagSink"]

log = logging.getLogger("rtseg")

SLOWEST = 2_000_000
"""Bytes per second at which even a poor disk copies what the input holds after its last picture."""
CAMERA, FRAME_ID = "/camera/image", "camera"
"""The topic and frame of pictures that come without a header."""


@dataclass(slots=True)
class Outputs:
    """The topics made of one camera's pictures, and how many were written."""

    mask: Topic
    overlay: Topic
    label_info: Topic
    confidence: Topic | None
    original: Topic | None
    written: int = field(default=0)

    def topics(self) -> list[Topic]:
        """Those that there are."""
        every = (self.mask, self.overlay, self.label_info, self.confidence, self.original)
        return [topic for topic in every if topic is not None]


class BagSink:
    """Writes masks (mono8 class ids), overlays (JPEG of `quality`) and LabelInfo into an MCAP file or a rosbag2 folder.

    Of a camera topic /camera/image_raw they are /camera/segmentation/mask, …/overlay/compressed, …/label_info and, with
    `confidence`, …/confidence, all with its picture's header and log time; LabelInfo comes once, before the camera's
    first mask. Every message of an input bag is copied as it is, in the order of the log times, with attachments and
    metadata records; with the input's `start` and `end` those between them and, from before the start, those of latched
    topics; a run that was interrupted or limited copies up to its last frame. `original` adds the pictures themselves,
    as is done where the input is not a bag. Pictures without a header get their capture time, or their time in the clip
    counted from 1970-01-01.
    Errors: ConfigError for options; SinkError for a target that is the input, topics that the bag has already, a disk.
    """

    threaded = True

    def __init__(
        self,
        target: str,
        info: StreamInfo,
        spec: ModelSpec,
        view: View,
        *,
        confidence: bool = False,
        original: bool | None = None,
        quality: int = 80,
    ) -> None:
        if not target:
            raise ConfigError("a bag output needs a name: out.mcap, or bag:folder")
        if not 1 <= quality <= 100:
            raise ConfigError(f"JPEG quality {quality} is not between 1 and 100")
        if confidence and spec.output_kind == "labels":
            raise ConfigError(f"{spec.name} gives labels alone, which have no confidence: leave --confidence out")
        self._path, self._info, self._spec = Path(target), info, spec
        self._from_bag = is_bag(info.source)
        self._confidence, self._quality = confidence, quality
        self._original = not self._from_bag if original is None else original
        self.needs = frozenset({"labels", "overlay"} | ({"confidence"} if confidence else set()))
        self._bag: Bag | None = None
        self._writer: Writer | None = None
        self._copy: Copy | None = None
        self._cameras: dict[str, Outputs] = {}
        self._frames = 0
        self.finish_seconds = 120.0

    def __enter__(self) -> Self:
        source = Path(self._info.source)
        if self._from_bag:
            if self._path.exists() and source.exists() and _same(self._path, source):
                raise SinkError(f"cannot write {self._path}: it is the input: choose another name")
            self._bag = open_bag(source)
            files = source.iterdir() if source.is_dir() else (source,)
            self.finish_seconds += sum(file.stat().st_size for file in files) / SLOWEST
        try:
            self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def _open(self) -> None:
        """Declare what is known of the output's topics, before the first message."""
        taken = [] if self._bag is None else list(self._bag.topics)
        cameras = self._info.details.get("topics")
        made = {} if cameras is None else self._outputs(cameras.split(","))
        names = {topic.name for topic in taken}
        for outputs in made.values():
            for topic in outputs.topics():
                if topic.name in names:
                    raise SinkError(
                        f"{self._info.source} has a topic {topic.name} already: give the bag before its segmentation"
                    )
        self._writer = open_writer(self._path, taken)
        for topic in taken:
            self._writer.add(topic)
        for camera, outputs in made.items():
            self._declare(camera, outputs)
        if self._bag is not None:
            for extra in self._bag.extras():
                self._writer.extra(extra)
            start, end = span(self._bag, self._info.details.get("start"), self._info.details.get("end"))
            self._copy = Copy(self._bag, self._writer, start, end)

    def _outputs(self, cameras: list[str]) -> dict[str, Outputs]:
        """The topics to be made of each camera's topic."""
        return {
            camera: Outputs(
                ros_topic(f"{base}/mask", IMAGE),
                ros_topic(f"{base}/overlay/compressed", COMPRESSED_IMAGE),
                ros_topic(f"{base}/label_info", LABEL_INFO, latched=True),
                ros_topic(f"{base}/confidence", IMAGE) if self._confidence else None,
                ros_topic(f"{camera.removesuffix('/compressed')}/compressed", COMPRESSED_IMAGE)
                if self._original
                else None,
            )
            for camera, base in base_names(cameras).items()
        }

    def _declare(self, camera: str, outputs: Outputs) -> None:
        assert self._writer is not None
        self._cameras[camera] = outputs
        for topic in outputs.topics():
            self._writer.add(topic)

    def write(self, result: Result) -> None:
        """Copy what was recorded until this picture, and add what was made of it. Errors: SinkError, SourceError."""
        try:
            header = header_of(result.frame)
            if self._copy is not None:
                self._copy.until(header.log_time_ns)
            if header.topic not in self._cameras:
                self._declare(header.topic, self._outputs([header.topic])[header.topic])
            self._write(result, header, self._cameras[header.topic])
        except BaseException:
            self._discard()
            raise
        self._frames += 1

    def _write(self, result: Result, header: Header, outputs: Outputs) -> None:
        assert result.labels is not None
        assert result.overlay is not None
        if not outputs.written:
            self._put(outputs.label_info, outputs, header, label_info_bytes(self._spec, header))
        if outputs.original is not None:
            picture = compressed_bytes(result.frame.image, header, quality=self._quality)
            self._put(outputs.original, outputs, header, picture)
        self._put(outputs.mask, outputs, header, image_bytes(result.labels, header))
        if outputs.confidence is not None and result.confidence is not None:
            self._put(outputs.confidence, outputs, header, image_bytes(result.confidence, header))
        overlay = compressed_bytes(result.overlay, header, quality=self._quality)
        self._put(outputs.overlay, outputs, header, overlay)
        outputs.written += 1

    def _put(self, topic: Topic, outputs: Outputs, header: Header, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(topic, header.log_time_ns, header.log_time_ns, outputs.written, data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        if not self._frames:
            self._discard()
            log.warning("%s was not written: there was no frame", self._path)
            return
        try:
            if self._copy is not None and self._info.details.get("complete"):
                self._copy.until(None)
            self._writer.finish()
            self._writer = None
        except SinkError as failure:
            if kind is None:
                raise
            log.error("%s", failure)  # the error that ended the run is the one to report
        finally:
            self._discard()

    def _discard(self) -> None:
        """Close the input and remove what is not finished."""
        writer, self._writer, bag, self._bag = self._writer, None, self._bag, None
        if bag is not None:
            bag.close()
        if writer is not None:
            writer.discard()


class Copy:
    """Copies a bag's messages into another, up to the given time on each call."""

    def __init__(self, bag: Bag, writer: Writer, start: int | None, end: int | None) -> None:
        self._writer = writer
        self._messages = self._between(bag, start, end)
        self._next: Message | None = next(self._messages, None)

    def _between(self, bag: Bag, start: int | None, end: int | None) -> Iterator[Message]:
        latched = {topic.name for topic in bag.topics if topic.latched}
        if start is not None and latched:
            yield from bag.messages(latched, None, start)
        yield from bag.messages(None, start, end)

    def until(self, log_time: int | None) -> None:
        """Copy the messages up to a log time and at it, all that are left for None."""
        while self._next is not None and (log_time is None or self._next.log_time <= log_time):
            message = self._next
            self._writer.write(message.topic, message.log_time, message.publish_time, message.sequence, message.data)
            self._next = next(self._messages, None)


def header_of(frame: Frame) -> Header:
    """The frame's header, or one made of its time: that of its stamp, else of the wall clock for a live picture."""
    if frame.header is not None:
        return frame.header
    if frame.stamp is not None:
        stamp = round(frame.stamp * 1e9)
    elif frame.pts is not None:
        stamp = max(0, round(frame.pts * 1e9))
    else:
        stamp = frame.wall_ns
    return Header(CAMERA, stamp, FRAME_ID, stamp)


def _same(target: Path, source: Path) -> bool:
    """Whether writing `target` would write over the bag `source`, or over a file in its folder."""
    return target.samefile(source) or (source.is_dir() and target.resolve().is_relative_to(source.resolve()))
