"""What every bag is: messages and their topics as records, and the members of an open bag."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = [
    "METADATA",
    "Attachment",
    "Bag",
    "Message",
    "Metadata",
    "Schema",
    "Topic",
    "is_bag",
    "kind_of",
    "span",
    "split_target",
]

SUFFIXES = (".mcap", ".db3", ".bag")
METADATA = "metadata.yaml"
"""The file that makes a folder a rosbag2."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What messages look like: `encoding` is the language of `data`, as in MCAP (ros2msg, ros1msg, jsonschema, …)."""

    name: str
    encoding: str
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """One series of messages: a channel of an MCAP file, a connection of a ROS bag; several may have one `name`.

    `kind` is the type as ROS 2 writes it ("sensor_msgs/msg/Image"), or the schema's name; `encoding` that of the
    messages (cdr, ros1, json, …); `metadata` is kept from bag to bag (offered_qos_profiles, latching, …). `count` is
    the number of messages.
    """

    name: str
    kind: str
    encoding: str
    schema: Schema | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    count: int = 0

    @property
    def latched(self) -> bool:
        """Whether a late listener is given its last message: /tf_static, maps, robot descriptions."""
        profiles = self.metadata.get("offered_qos_profiles", "")
        return self.metadata.get("latching") == "1" or any(
            mark in profiles for mark in ("durability: 1", "durability: transient_local")
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message as recorded; times are nanoseconds."""

    topic: Topic
    log_time: int
    publish_time: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside an MCAP; times are nanoseconds."""

    name: str
    media_type: str
    log_time: int
    create_time: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Metadata:
    """A named table inside an MCAP."""

    name: str
    entries: dict[str, str]


class Bag(Protocol):
    """An open bag, used by the thread that opened it.

    `start_ns` and `end_ns` are the first and last log time, both 0 in a bag without messages. `warning` says what
    could not be read so far, None while everything could. `messages` gives those of the named topics (all of them for
    None) from `start` to before `end`, nanoseconds, in the order of their log times; memory does not grow with the bag.
    """

    @property
    def path(self) -> Path: ...

    @property
    def storage(self) -> str: ...

    @property
    def topics(self) -> Sequence[Topic]: ...

    @property
    def start_ns(self) -> int: ...

    @property
    def end_ns(self) -> int: ...

    @property
    def warning(self) -> str | None: ...

    def messages(
        self, names: Collection[str] | None = None, start: int | None = None, end: int | None = None
    ) -> Iterator[Message]: ...

    def extras(self) -> Iterator[Attachment | Metadata]: ...

    def close(self) -> None: ...


def is_bag(path: str | Path) -> bool:
    """Whether a path names a bag: by its suffix, or a folder by the metadata.yaml in it."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES or (path / METADATA).is_file()


def split_target(target: str) -> tuple[str, tuple[str, ...]]:
    """The path and the topics of `drive.mcap#/cam_left,/cam_right`; a name that exists as it is has no topics."""
    path, mark, names = target.partition("#")
    if not mark or Path(target).exists():
        return target, ()
    return path, tuple(name.strip() for name in names.split(",") if name.strip())


def kind_of(name: str) -> str:
    """A type's name as ROS 2 writes it: sensor_msgs/Image -> sensor_msgs/msg/Image; others are left as they are."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 and all(parts) else name


def span(bag: Bag, start: float | None, end: float | None) -> tuple[int | None, int | None]:
    """Log times, in nanoseconds, of seconds from a bag's first message; None stays None."""
    first, last = (None if value is None else bag.start_ns + round(value * 1e9) for value in (start, end))
    return first, last
