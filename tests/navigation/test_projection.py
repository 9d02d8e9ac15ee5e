"""Navigation outputs: from CameraInfo and pose to messages, and what is said where something is missing."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.camera_info import fitted
from rtseg.navigation import projection as module
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.ground import GroundView
from rtseg.navigation.projection import Navigation, usual
from rtseg.navigation.settings import GridSettings, ScanSettings, roles
from tests.messages.test_camera_info import camera_info
from tests.ros.test_node_navigation import PLACE, TURN, transform

CLASSES = ("Road", "Car", "Sky", "Pavement")
PART = roles(CLASSES, ["Road"], ["Pavement"], ["Sky"])
GRID, SCAN = GridSettings(resolution=0.5), ScanSettings(increment=0.1)
POSE = Pose.mounted(1.4, 0.15)
SIZE = (48, 64)
INFO = camera_info((96, 128), k=np.array([100.0, 0, 63.5, 0, 100, 47.5, 0, 0, 1]), d=np.zeros(5))
HEADER = Header("/camera", 9_000_000_001, "optical", 0)
LABELS = np.zeros(SIZE, np.uint8)
LABELS[:20], LABELS[20:30, 25:35], LABELS[30:, 50:] = 2, 1, 3


def made(pose: Pose | None = POSE) -> Navigation:
    return Navigation(PART, robot_frame="base", pose=pose, grid=GRID, scan=SCAN)


def grid(navigation: Navigation, info: Any = INFO, header: Header = HEADER, labels: np.ndarray = LABELS) -> Any:
    data = navigation.message("free_space", labels, info, header)
    return None if data is None else messages.decode(messages.OCCUPANCY_GRID, data)


def expected(pose: Pose, size: tuple[int, int] = SIZE, labels: np.ndarray = LABELS) -> np.ndarray:
    cells: np.ndarray = GroundView(Lens.of(fitted(INFO, size)), pose, PART, GRID, SCAN).grid(labels)
    return cells


def test_usual_classes_by_their_names() -> None:
    names = ("Road", "lane marking", "Sidewalk", "Sky", "Car")
    assert usual("drivable", names) == ("Road", "lane marking")
    assert (usual("flat", names), usual("unseen", names)) == (("Sidewalk",), ("Sky",))


def test_messages_are_the_ground_views_in_the_robots_frame() -> None:
    navigation = made()
    found = grid(navigation)
    wanted = expected(POSE)
    assert {-1, 0, 100} <= set(np.unique(wanted).tolist())
    np.testing.assert_array_equal(np.asarray(found.data).reshape(wanted.shape), wanted)
    assert (messages.stamp_ns(found), found.header.frame_id) == (9_000_000_001, "base")
    data = navigation.message("obstacles", LABELS, INFO, HEADER)
    assert data is not None
    scan = messages.decode(messages.LASER_SCAN, data)
    view = GroundView(Lens.of(fitted(INFO, SIZE)), POSE, PART, GRID, SCAN)
    np.testing.assert_allclose(scan.ranges, view.scan(LABELS))
    assert (messages.stamp_ns(scan), scan.header.frame_id) == (9_000_000_001, "base")


def test_a_frame_of_another_size_gets_another_view() -> None:
    navigation, large = made(), np.repeat(np.repeat(LABELS, 2, axis=0), 2, axis=1)
    grid(navigation)
    found = grid(navigation, labels=large)
    np.testing.assert_array_equal(np.asarray(found.data), expected(POSE, (96, 128), large).reshape(-1))
    np.testing.assert_array_equal(np.asarray(grid(navigation).data), expected(POSE).reshape(-1))


def test_an_equal_camera_info_costs_nothing_and_another_one_counts() -> None:
    navigation = made()
    grid(navigation)
    first = navigation._view
    again = messages.decode(messages.CAMERA_INFO, messages.encode(messages.CAMERA_INFO, INFO))
    grid(navigation, again)
    assert navigation._view is first
    other = camera_info((96, 128), k=np.array([60.0, 0, 63.5, 0, 60, 47.5, 0, 0, 1]), d=np.zeros(5))
    found = grid(navigation, other)
    assert navigation._view is not first
    assert not np.array_equal(np.asarray(found.data), expected(POSE).reshape(-1))


def test_both_outputs_of_a_frame_search_its_labels_once_and_the_next_frame_anew() -> None:
    navigation = made()
    grid(navigation)
    searched = navigation._found
    navigation.message("obstacles", LABELS, INFO, HEADER)
    assert navigation._found is searched
    found = grid(navigation, labels=np.zeros_like(LABELS))
    np.testing.assert_array_equal(np.asarray(found.data), expected(POSE, labels=np.zeros_like(LABELS)).reshape(-1))


def test_by_tf_static_and_moving(caplog: pytest.LogCaptureFixture) -> None:
    navigation = made(None)
    with caplog.at_level(logging.WARNING, "rtseg"):
        assert grid(navigation) is None
    assert caplog.messages == [
        "no free_space and obstacles: no frame 'base' in tf: no transform was received; "
        "without tf, camera_height and camera_tilt say it"
    ]
    navigation.add_transforms(messages.decode(messages.TF, transform("base", "optical")), static=True)
    wanted = expected(Pose.transformed(PLACE, TURN))
    np.testing.assert_array_equal(np.asarray(grid(navigation).data), wanted.reshape(-1))
    moving = messages.decode(messages.TF, transform("map", "base"))
    navigation.add_transforms(moving, static=False)
    np.testing.assert_array_equal(np.asarray(grid(navigation).data), wanted.reshape(-1))


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (None, "free_space and obstacles need a CameraInfo, and none came: see the parameter camera_info"),
        (camera_info((0, 0)), "no free_space and obstacles: CameraInfo of 0x0"),
        (camera_info((96, 128), distortion_model="wavy"), "no free_space and obstacles: "),
        (camera_info((96, 128), k=np.zeros(9)), "no free_space and obstacles: "),
    ],
)
def test_what_is_missing_is_logged_now_and_then(
    info: Any, said: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 50.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    navigation = made()
    with caplog.at_level(logging.WARNING, "rtseg"):
        for _ in range(3):
            assert grid(navigation, info) is None
        assert len(caplog.messages) == 1 and caplog.messages[0].startswith(said)
        now += module.COMPLAINT_SECONDS
        assert grid(navigation, info) is None
    assert len(caplog.messages) == 2
    assert grid(navigation) is not None, "the next picture is not harmed"
