"""LabelInfo and TFMessage between rtseg's bytes and ROS's own types, over DDS and between two processes."""

from __future__ import annotations

import base64

import pytest

from rtseg.messages import records as messages
from tests.ros.processes import Domain

pytestmark = pytest.mark.ros


def label_info() -> bytes:
    labels = [
        messages.build("vision_msgs/msg/VisionClass", class_id=number, class_name=name)
        for number, name in [(0, "Road"), (7, "Fußgänger"), (255, "")]
    ]
    header = messages.header(1_700_000_000_123_456_789, "front")
    info = messages.build(messages.LABEL_INFO, header=header, class_map=labels, threshold=0.25)
    return messages.encode(messages.LABEL_INFO, info)


def transforms() -> bytes:
    transform = messages.build(
        "geometry_msgs/msg/TransformStamped",
        header=messages.header(5_000_000_007, "base_link"),
        child_frame_id="camera",
        transform=messages.build(
            "geometry_msgs/msg/Transform",
            translation=messages.build("geometry_msgs/msg/Vector3", x=0.5, y=-0.25, z=1.5),
            rotation=messages.build("geometry_msgs/msg/Quaternion", x=0.5, y=-0.5, z=0.5, w=-0.5),
        ),
    )
    return messages.encode(messages.TF, messages.build(messages.TF, transforms=[transform]))


SAID = {
    messages.LABEL_INFO: (
        "vision_msgs.msg.LabelInfo(header=std_msgs.msg.Header(stamp=builtin_interfaces.msg.Time(sec=1700000000,"
        " nanosec=123456789), frame_id='front'), class_map=[vision_msgs.msg.VisionClass(class_id=0, class_name='Road'),"
        " vision_msgs.msg.VisionClass(class_id=7, class_name='Fußgänger'),"
        " vision_msgs.msg.VisionClass(class_id=255, class_name='')], threshold=0.25)"
    ),
    messages.TF: (
        "tf2_msgs.msg.TFMessage(transforms=[geometry_msgs.msg.TransformStamped(header=std_msgs.msg.Header("
        "stamp=builtin_interfaces.msg.Time(sec=5, nanosec=7), frame_id='base_link'), child_frame_id='camera',"
        " transform=geometry_msgs.msg.Transform(translation=geometry_msgs.msg.Vector3(x=0.5, y=-0.25, z=1.5),"
        " rotation=geometry_msgs.msg.Quaternion(x=0.5, y=-0.5, z=0.5, w=-0.5)))])"
    ),
}
"""What the messages are as ROS's own objects."""


@pytest.mark.parametrize(
    ("kind", "package", "data"),
    [(messages.LABEL_INFO, "vision_msgs", label_info()), (messages.TF, "tf2_msgs", transforms())],
    ids=["LabelInfo", "TFMessage"],
)
def test_bytes_become_typed_messages_and_typed_messages_bytes(
    domain: Domain, kind: str, package: str, data: bytes
) -> None:
    reason = f"needs {package} (python tools/build_ros_messages.py, make test, or a ROS 2 installation)"
    pytest.importorskip(package, reason=reason, exc_type=ImportError)
    ours, theirs = domain.peer("ours"), domain.peer("theirs")
    latched = {"reliability": "reliable", "durability": "transient_local"}
    content = base64.b64encode(data).decode()

    ours.call("advertise", topic="/to_ros", kind=kind, **latched)
    ours.call("publish", topic="/to_ros", data=content)
    theirs.call("subscribe", topic="/to_ros", kind=kind, typed=True, **latched)
    (received,) = theirs.call("received", topic="/to_ros")
    assert received["text"] == SAID[kind]

    theirs.call("advertise", topic="/from_ros", kind=kind, typed=True, **latched)
    theirs.call("publish", topic="/from_ros", data=content)
    ours.call("subscribe", topic="/from_ros", kind=kind, **latched)
    assert len(ours.call("received", topic="/from_ros")) == 1
    assert ours.message("/from_ros", kind) == messages.decode(kind, data)

    # The type's hash, which subscribers of later ROS releases compare, as an implementation beside ROS's computes it.
    (publisher,) = theirs.call("endpoints", topic="/from_ros", publishers=1)["publishers"]
    assert publisher["type"] == kind
    assert publisher["hash"] == messages.types().hash_rihs01(kind)
