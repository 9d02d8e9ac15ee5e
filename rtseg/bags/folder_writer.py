"""rosbag2 folders: one sqlite3 file and a metadata.yaml, as `ros2 bag play` reads them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rosbags.convert.converter import is_same_wireformat
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from rtseg.bags.contract import Attachment, Metadata, Schema, Topic
from rtseg.bags.writers import profile
from rtseg.errors import SinkError
from rtseg.files import disk_errors, put_in_place
from rtseg.messages import records as messages

__all__ = ["FolderWriter"]

VERSION: Literal[8] = 8
"""Of the metadata; the last whose QoS profiles all releases of ROS 2 read."""
HEADER = "std_msgs/msg/Header"
Convert = Callable[[bytes], Any]


class FolderWriter:
    """Writes a rosbag2; messages of ROS 1 are converted to CDR, without the header's `seq` which ROS 2 does not have.

    `topics` are those that will be copied. Errors: SinkError, also for an existing name, and for topics in encodings
    that ROS 2 does not play.
    """

    def __init__(self, path: Path, topics: Sequence[Topic]) -> None:
        self._path = path
        if path.exists():
            raise SinkError(f"cannot write {path}: it exists, and a rosbag2 is never replaced: choose another name")
        for topic in topics:
            if topic.encoding not in ("cdr", "ros1"):
                raise SinkError(
                    f"cannot write {path}: topic {topic.name} is in {topic.encoding}, which a rosbag2 cannot hold: "
                    f"write {path.name}.mcap"
                )
        self._connections: dict[Topic, tuple[Connection, Convert | None]] = {}
        # The library calls the file in it after its folder, which therefore has its final name from the start.
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with self._errors():
            self._temporary.mkdir()
            self._writer = Writer(self._temporary / path.name, version=VERSION)
            self._writer.open()

    def add(self, topic: Topic) -> None:
        """Declare a topic; one that was declared before with the same type and QoS is that one."""
        kind, qos = topic.kind, _qos_of(topic)
        store, convert = _store_of(topic)
        with self._errors():
            for known in self._writer.connections:
                if (known.topic, known.msgtype, known.ext.offered_qos_profiles) == (topic.name, kind, qos):  # type: ignore[union-attr]
                    self._connections[topic] = known, convert
                    return
            options: dict[str, Any] = {"typestore": store}
            if store is None:  # no definition: it is played where the type is known
                options = {"msgdef": "", "rihs01": topic.metadata.get("topic_type_hash") or "RIHS01_" + "0" * 64}
            connection = self._writer.add_connection(topic.name, kind, offered_qos_profiles=qos, **options)
            self._connections[topic] = connection, convert

    def extra(self, extra: Attachment | Metadata) -> None:
        """A rosbag2 in sqlite3 has no place for it."""

    def write(self, topic: Topic, log_time: int, publish_time: int, sequence: int, data: bytes) -> None:
        """Add a message; sqlite3 keeps its log time alone."""
        connection, convert = self._connections[topic]
        with self._errors():
            self._writer.write(connection, log_time, data if convert is None else convert(data))

    def finish(self) -> None:
        """Write the metadata and give the folder its name."""
        with self._errors():
            self._writer.close()
            put_in_place(self._temporary / self._path.name, self._path)
            self._temporary.rmdir()

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(sqlite3.Error, OSError):  # the disk is full, and what is pending is not wanted
            self._writer.abort()
        shutil.rmtree(self._temporary, ignore_errors=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the disk and of SQLite as SinkErrors of one line."""
        try:
            with disk_errors(self._path):
                yield
        except sqlite3.Error as exc:
            text = "the disk is full" if "full" in str(exc) else " ".join(str(exc).split())
            raise SinkError(f"cannot write {self._path}: {text}: free some space or choose another folder") from exc


def _store_of(topic: Topic) -> tuple[Typestore | None, Convert | None]:
    """The store that defines a topic's type, None where nothing does, and what makes CDR of its messages."""
    kind, usual = topic.kind, messages.types()
    own = None if topic.schema is None or not topic.schema.data else _own_store(topic.schema, kind)
    if topic.encoding != "ros1":
        return own or (usual if kind in usual.fielddefs else None), None
    if own is None:
        raise SinkError(f"topic {topic.name} of {kind} has no definition: it cannot be converted for ROS 2")
    if kind in usual.fielddefs and is_same_wireformat(own, usual, kind, kind):
        return usual, lambda data: usual.ros1_to_cdr(data, kind)
    return own, lambda data: own.ros1_to_cdr(data, kind)


def _own_store(schema: Schema, kind: str) -> Typestore:
    """A store of the types that a schema defines."""
    text = schema.data.decode()
    store = get_typestore(Stores.EMPTY)
    types: Any = {}
    if schema.encoding == "ros2idl":
        for part in text.split("=" * 80 + "\n"):
            types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
    else:
        types.update(get_types_from_msg(text, kind))
    if schema.encoding == "ros1msg" and HEADER in types:
        types[HEADER] = messages.types().fielddefs[HEADER]
    store.register(types)
    return store


def _qos_of(topic: Topic) -> list[Qos]:
    written = topic.metadata.get("offered_qos_profiles")
    if written:
        return parse_qos(written)
    return [profile(latched=True)] if topic.latched else []
