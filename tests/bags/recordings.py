"""A short drive as messages, and bags of it in every format, for tests to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from rtseg.frame import Header, Image
from rtseg.messages import records as messages
from rtseg.messages.images import compressed_bytes, image_bytes
from rtseg.sources.synthetic import SyntheticSource

__all__ = ["START", "Record", "drive", "mcap_bytes", "pictures", "ros1", "write_mcap", "write_ros1", "write_rosbag2"]

START = 1_700_000_000_000_000_000
"""Log time of the first message, nanoseconds."""
STRING = "std_msgs/msg/String"
LATCHED = """- history: 1
  depth: 1
  reliability: 1
  durability: 1
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false"""


@dataclass(frozen=True)
class Record:
    """A message: `kind` is a ROS type, or a name of something else with `encoding`."""

    topic: str
    kind: str
    log_time: int
    data: bytes
    encoding: str = "cdr"
    profile: str = ""

    @property
    def publish_time(self) -> int:
        return self.log_time - 250


def pictures(count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[Image]:
    """Pictures of the synthetic shapes."""
    with SyntheticSource("shapes", size=size, length=count, seed=seed) as source:
        return [frame.image.copy() for frame in source]


def drive(
    frames: int = 6,
    cameras: Sequence[str] = ("/camera/image_raw",),
    *,
    sizes: Sequence[tuple[int, int]] = ((48, 64), (40, 72)),
    compressed: bool = False,
    other: bool = True,
) -> list[Record]:
    """`frames` pictures of each camera at 10 Hz, 3 ms apart and stamped 40 ms earlier, in the order of the log times.

    Between them lie /odometry at 50 Hz, one latched /tf_static at the very beginning, /weather in JSON, and a /rosout
    after the last picture.
    """
    found: list[Record] = []
    for number, camera in enumerate(cameras):
        for index, picture in enumerate(pictures(frames, sizes[number % len(sizes)], seed=number)):
            log_time = START + 5_000_000 + index * 100_000_000 + number * 3_000_000
            header = Header(camera, log_time - 40_000_007, f"optical_{number}", log_time)
            kind = messages.COMPRESSED_IMAGE if compressed else messages.IMAGE
            data = compressed_bytes(picture, header, format="png") if compressed else image_bytes(picture, header)
            found.append(Record(camera, kind, log_time, data))
    if other:
        length = frames * 100_000_000
        found.append(Record("/tf_static", STRING, START, text("tree"), profile=LATCHED))
        found += [
            Record("/odometry", STRING, START + 1 + time, text(f"at {time}")) for time in range(0, length, 20_000_000)
        ]
        found.append(Record("/weather", "weather", START + length // 2, b'{"rain": 0.5}', "json"))
        found.append(Record("/rosout", STRING, START + length + 50_000_000, text("the end")))
    return sorted(found, key=lambda record: record.log_time)


def text(words: str) -> bytes:
    return messages.encode(STRING, messages.build(STRING, data=words))


def write_mcap(
    path: Path,
    records: Sequence[Record],
    *,
    chunk_size: int = 20_000,
    compression: CompressionType = CompressionType.ZSTD,
    shuffle: bool = False,
    extras: bool = False,
    profile: str = "ros2",
    **options: Any,
) -> Path:
    """An MCAP of the records; with `shuffle` they lie in it in another order than that of their log times."""
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=chunk_size, compression=compression, **options)
        writer.start(profile, "recorder")
        channels: dict[str, int] = {}
        if extras:
            writer.add_metadata("vehicle", {"plate": "RT 5EG"})
            writer.add_attachment(START, START + 7, "map.txt", "text/plain", b"here be dragons")
        order = np.random.default_rng(5).permutation(len(records)) if shuffle else range(len(records))
        for place in order:
            record = records[place]
            if record.topic not in channels:
                channels[record.topic] = _channel(writer, record)
            channel = channels[record.topic]
            writer.add_message(channel, record.log_time, record.data, record.publish_time, int(place) + 1)
        writer.finish()
    return path


def _channel(writer: McapWriter, record: Record) -> int:
    if record.encoding == "json":
        schema = writer.register_schema(record.kind, "jsonschema", b"{}")
    elif record.encoding == "ros1":
        definition, _ = get_typestore(Stores.ROS1_NOETIC).generate_msgdef(record.kind)
        schema = writer.register_schema(record.kind.replace("/msg/", "/"), "ros1msg", definition.encode())
    else:
        schema = writer.register_schema(record.kind, "ros2msg", messages.definition(record.kind).encode())
    notes = {"offered_qos_profiles": record.profile} if record.profile else {}
    return writer.register_channel(record.topic, record.encoding, schema, notes)


def mcap_bytes(folder: Path, records: Sequence[Record], **options: Any) -> bytes:
    """The bytes of an MCAP, to be cut and damaged."""
    return write_mcap(folder / "whole.mcap", records, **options).read_bytes()


def write_rosbag2(
    folder: Path,
    records: Sequence[Record],
    plugin: StoragePlugin = StoragePlugin.SQLITE3,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """A rosbag2 of the records that are CDR."""
    bag = Writer2(folder, version=8, storage_plugin=plugin)
    bag.set_compression(compression, CompressionFormat.ZSTD)
    with bag as writer:
        connections: dict[str, Any] = {}
        for record in records:
            if record.encoding == "cdr":
                if record.topic not in connections:
                    connections[record.topic] = writer.add_connection(
                        record.topic, record.kind, typestore=messages.types()
                    )
                writer.write(connections[record.topic], record.log_time, record.data)
    return folder


def write_ros1(path: Path, records: Sequence[Record]) -> Path:
    """A ROS 1 bag of the records that are CDR."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as writer:
        connections: dict[str, Any] = {}
        for record in records:
            if record.encoding == "cdr":
                if record.topic not in connections:
                    connections[record.topic] = writer.add_connection(record.topic, record.kind, typestore=store)
                writer.write(connections[record.topic], record.log_time, ros1(record))
    return path


def ros1(record: Record) -> bytes:
    """A record's message as ROS 1 writes it."""
    return bytes(messages.types().cdr_to_ros1(record.data, record.kind))
