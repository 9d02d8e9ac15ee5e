"""The class map, areas and diagnostics, as ROS and an independent reader read them."""

from __future__ import annotations

import numpy as np
import pytest

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.status import ERROR, OK, STALE, WARN, areas_bytes, diagnostics_bytes, label_info_bytes
from rtseg.packages.spec import ModelSpec
from tests.ros.real import assert_ros_writes_the_same, ros_message

SPEC = ModelSpec(name="three", classes=("road", "Straße", "car"))
HEADER = Header("/camera", 5_000_000_007, "cam", 6)
VALUES = {"rate": 29.97003, "drops": 3, "policy": "latest", "latency p99 [ms]": 41.25}


def test_class_map_names_each_pixel_value_and_not_the_unlabelled_one() -> None:
    info = messages.decode(messages.LABEL_INFO, label_info_bytes(SPEC, HEADER, 0.25))
    assert [(each.class_id, each.class_name) for each in info.class_map] == [(0, "road"), (1, "Straße"), (2, "car")]
    assert info.threshold == 0.25 and messages.stamp_ns(info) == 5_000_000_007 and info.header.frame_id == "cam"
    assert messages.decode(messages.LABEL_INFO, label_info_bytes(SPEC, HEADER)).threshold == 0


def test_areas_are_in_the_order_of_the_class_map() -> None:
    message = messages.decode(messages.AREAS, areas_bytes(np.array([0.5, 0.125, 0.375]), SPEC))
    assert [(each.label, each.size, each.stride) for each in message.layout.dim] == [("class", 3, 3)]
    assert message.layout.data_offset == 0
    np.testing.assert_array_equal(message.data, np.float32([0.5, 0.125, 0.375]))
    with pytest.raises(ValueError, match=r"areas of 3 classes expected, found shape \(2,\)"):
        areas_bytes(np.zeros(2), SPEC)


def test_a_status_has_its_values_as_text() -> None:
    data = diagnostics_bytes(5_000_000_007, "rtseg: pipeline", "/camera", WARN, "3 drops", VALUES)
    message = messages.decode(messages.DIAGNOSTICS, data)
    assert messages.stamp_ns(message) == 5_000_000_007 and message.header.frame_id == ""
    (status,) = message.status
    assert (status.level, status.name, status.hardware_id, status.message) == (
        1, "rtseg: pipeline", "/camera", "3 drops",
    )  # fmt: skip
    assert {each.key: each.value for each in status.values} == {
        "rate": "29.97", "drops": "3", "policy": "latest", "latency p99 [ms]": "41.25",
    }  # fmt: skip


def test_levels_are_those_of_the_message() -> None:
    status = messages.types().types["diagnostic_msgs/msg/DiagnosticStatus"]
    assert (OK, WARN, ERROR, STALE) == (status.OK, status.WARN, status.ERROR, status.STALE)


@pytest.mark.ros
def test_ros_reads_the_class_map_and_writes_the_same_bytes() -> None:
    data = label_info_bytes(SPEC, HEADER, 0.25)
    info = ros_message("vision_msgs", "LabelInfo", data)
    assert [(each.class_id, each.class_name) for each in info.class_map] == [(0, "road"), (1, "Straße"), (2, "car")]
    assert info.threshold == 0.25 and (info.header.stamp.sec, info.header.stamp.nanosec) == (5, 7)
    assert_ros_writes_the_same(info, data)


@pytest.mark.ros
def test_ros_reads_areas_and_writes_the_same_bytes() -> None:
    data = areas_bytes(np.array([0.5, 0.125, 0.375]), SPEC)
    message = ros_message("std_msgs", "Float32MultiArray", data)
    assert [(each.label, each.size, each.stride) for each in message.layout.dim] == [("class", 3, 3)]
    assert list(message.data) == [0.5, 0.125, 0.375]
    assert_ros_writes_the_same(message, data)


@pytest.mark.ros
@pytest.mark.parametrize("level", [OK, WARN, ERROR, STALE])
def test_ros_reads_a_status_and_writes_the_same_bytes(level: int) -> None:
    data = diagnostics_bytes(5_000_000_007, "name", "hardware", level, "message", {"keyed": "valued", "a": 1.5})
    message = ros_message("diagnostic_msgs", "DiagnosticArray", data)
    (status,) = message.status
    assert status.level == bytes([level])
    assert (status.name, status.hardware_id, status.message) == ("name", "hardware", "message")
    assert [(each.key, each.value) for each in status.values] == [("keyed", "valued"), ("a", "1.5")]
    assert_ros_writes_the_same(message, data)
