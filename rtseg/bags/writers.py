"""Writing bags: what an MCAP file and a rosbag2 folder have in common."""

from __future__ import annotations

from typing import Protocol

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2.metadata import dump_qos_v8

from rtseg.bags.contract import Attachment, Metadata, Schema, Topic
from rtseg.messages import records as messages

__all__ = ["Writer", "profile", "ros_topic"]


class Writer(Protocol):
    """Writes one bag, whose name appears when `finish` has made it whole; `discard` leaves nothing.

    Messages come in the order of their log times, of topics that were added. Errors: SinkError.
    """

    def add(self, topic: Topic) -> None: ...

    def extra(self, extra: Attachment | Metadata) -> None: ...

    def write(self, topic: Topic, log_time: int, publish_time: int, sequence: int, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def discard(self) -> None: ...


def profile(*, latched: bool = False) -> Qos:
    """The QoS of what rtseg makes: reliable, and transient local if `latched`."""
    forever = QosTime(9_223_372_036, 854_775_807)  # RMW_DURATION_INFINITE
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )


def ros_topic(name: str, kind: str, *, latched: bool = False) -> Topic:
    """A topic of messages that rtseg makes."""
    notes = {
        "offered_qos_profiles": dump_qos_v8([profile(latched=latched)]),
        "topic_type_hash": messages.types().hash_rihs01(kind),
    }
    return Topic(name, kind, "cdr", Schema(kind, "ros2msg", messages.definition(kind).encode()), notes)
