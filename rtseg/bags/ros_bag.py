"""rosbag2 in sqlite3 (a file, or a folder with its metadata) and ROS 1 bags, read by `rosbags`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.typesys.msg import denormalize_msgtype

from rtseg.bags.contract import Attachment, Message, Metadata, Schema, Topic
from rtseg.errors import RtsegError, SourceError
from rtseg.messages import records as messages

__all__ = ["RosBag"]

ENCODINGS = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}


@contextmanager
def _foreign(path: Path, advice: str) -> Iterator[None]:
    """Whatever the libraries raise for a damaged file (assertions, KeyErrors, SQLite's own …) as a SourceError."""
    try:
        yield
    except (RtsegError, MemoryError):
        raise
    except Exception as exc:
        text = " ".join(str(exc).split()).rstrip(".") or type(exc).__name__
        raise SourceError(f"{path} cannot be read: {text}: {advice}") from exc


class RosBag:
    """A .db3 file, a .bag file, or a rosbag2's folder; what the libraries read of a damaged one.

    Messages of one file come in the order of their log times, files of a folder one after the other, as they were
    recorded. Errors: SourceError for what cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ros1 = path.suffix.lower() == ".bag"
        self.storage = "ros1" if self._ros1 else "sqlite3"
        tool = f"rosbag reindex {path}" if self._ros1 else "ros2 bag reindex" if path.is_dir() else "sqlite3 .recover"
        self._advice = f"if it was cut off, try `{tool}`"
        self.warning: str | None = None
        with _foreign(path, self._advice):
            self._reader: Any = Reader1(path) if self._ros1 else Reader2(path)
            self._reader.open()
            self._topics = {connection.id: self._topic_of(connection) for connection in self._reader.connections}
        self.topics = list(self._topics.values())
        filled = any(topic.count for topic in self.topics)
        self.start_ns = self._reader.start_time if filled else 0
        self.end_ns = self._reader.end_time - 1 if filled else 0  # theirs is the nanosecond after

    def messages(
        self, names: Collection[str] | None = None, start: int | None = None, end: int | None = None
    ) -> Iterator[Message]:
        """The messages in the order of their log times; they end early, with a warning, where the file is damaged."""
        chosen = [connection for connection in self._reader.connections if names is None or connection.topic in names]
        if not chosen:  # which would mean all of them
            return
        found = self._reader.messages(chosen, start, end)
        last = self.start_ns
        while True:
            try:
                with _foreign(self.path, self._advice):
                    connection, last, data = next(found, (None, last, b""))
            except SourceError as exc:
                reason = str(exc).removeprefix(f"{self.path} cannot be read: ")
                self.warning = f"{self.path} ends early, after {(last - self.start_ns) / 1e9:.2f} s: {reason}"
                return
            if connection is None:
                return
            yield Message(self._topics[connection.id], last, last, 0, bytes(data))

    def _topic_of(self, connection: Connection) -> Topic:
        kind, definition = connection.msgtype, connection.msgdef
        if isinstance(connection.ext, ConnectionExtRosbag1):
            schema = Schema(denormalize_msgtype(kind), "ros1msg", definition.data.encode())
            notes = {
                "md5sum": connection.digest,
                "callerid": connection.ext.callerid or "",
                "latching": str(connection.ext.latching or 0),
            }
            return Topic(connection.topic, kind, "ros1", schema, notes, connection.msgcount)
        text = definition.data
        if not text and kind in messages.types().types:
            text = messages.definition(kind)  # older bags do not hold it
        profiles = dump_qos_v8(connection.ext.offered_qos_profiles)
        notes = {"offered_qos_profiles": profiles, "topic_type_hash": connection.digest}
        schema = Schema(kind, ENCODINGS.get(definition.format, "ros2msg"), text.encode())
        return Topic(
            connection.topic,
            kind,
            connection.ext.serialization_format,
            schema,
            {key: value for key, value in notes.items() if value},
            connection.msgcount,
        )

    def extras(self) -> Iterator[Attachment | Metadata]:
        """There are none in these bags."""
        return iter(())

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()
