"""MCAP files in chunks of zstd, with index and statistics, as `ros2 bag play` and Foxglove read them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from mcap.writer import CompressionType
from mcap.writer import Writer as LibraryWriter

from rtseg import __version__
from rtseg.bags.contract import Attachment, Metadata, Schema, Topic
from rtseg.files import create_beside, disk_errors, put_in_place

__all__ = ["McapWriter"]

BUFFER = 1 << 20
RECORD = "rosbag2"
"""The metadata record in which rosbag2 keeps its own; without one it takes profiles to be written in names."""


class McapWriter:
    """Writes an MCAP file; `topics` are those that will be copied. Errors: SinkError."""

    def __init__(self, path: Path, topics: Sequence[Topic]) -> None:
        self._path = path
        self._names = any(named_profile(topic) for topic in topics)
        self._channels: dict[Topic, int] = {}
        self._schemas: dict[Schema, int] = {}
        self._numbered = True
        self._temporary: Path | None = create_beside(path)
        with disk_errors(path):
            self._file = self._temporary.open("wb", buffering=BUFFER)
            self._writer = LibraryWriter(self._file, compression=CompressionType.ZSTD)
            profile = "ros2" if all(topic.encoding == "cdr" for topic in topics) else ""
            self._writer.start(profile, f"rtseg {__version__}")

    def add(self, topic: Topic) -> None:
        """Declare a topic."""
        with disk_errors(self._path):
            schema = 0
            if topic.schema is not None:
                if topic.schema not in self._schemas:
                    self._schemas[topic.schema] = self._writer.register_schema(
                        topic.schema.name, topic.schema.encoding, topic.schema.data
                    )
                schema = self._schemas[topic.schema]
            self._channels[topic] = self._writer.register_channel(
                topic.name, topic.encoding, schema, dict(topic.metadata)
            )

    def extra(self, extra: Attachment | Metadata) -> None:
        """Add an attachment or a metadata record."""
        with disk_errors(self._path):
            if isinstance(extra, Metadata):
                self._numbered = self._numbered and extra.name != RECORD
                self._writer.add_metadata(extra.name, extra.entries)
            else:
                self._writer.add_attachment(extra.create_time, extra.log_time, extra.name, extra.media_type, extra.data)

    def write(self, topic: Topic, log_time: int, publish_time: int, sequence: int, data: bytes) -> None:
        """Add a message."""
        with disk_errors(self._path):
            self._writer.add_message(self._channels[topic], log_time, data, publish_time, sequence)

    def finish(self) -> None:
        """Write the index and give the file its name."""
        assert self._temporary is not None
        with disk_errors(self._path):
            if self._numbered and not self._names:
                self._writer.add_metadata(RECORD, {"serialized_metadata": ""})
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.close()
            put_in_place(self._temporary, self._path)
        self._temporary = None

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # the disk is full, and what is buffered is not wanted
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None


def named_profile(topic: Topic) -> bool:
    """Whether a topic's QoS is written in names (rosbag2 from Jazzy on), not in numbers."""
    return re.search(r"history: *[a-z]", topic.metadata.get("offered_qos_profiles", "")) is not None
