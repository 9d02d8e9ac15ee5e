"""Free space and obstacles without ROS: whose pose a picture gets, and what is said when there is none."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.navigation.projection import Navigation
from rtseg.navigation.settings import GridSettings, ScanSettings, roles
from tests.navigation.scenes import Camera
from tests.navigation.test_transforms import SECOND, message

ROLES = roles(("road", "car"), ["road"])
CAMERA = Camera(size=(24, 32), focal=20.0)
LABELS = np.zeros(CAMERA.size, np.uint8)
FORWARD = (-0.5, 0.5, -0.5, 0.5)
"""From a camera's axes to a robot's."""


def navigation() -> Navigation:
    grid = GridSettings(resolution=0.5, length=6, half_width=3)
    return Navigation(ROLES, robot_frame="base", pose=None, grid=grid, scan=ScanSettings(increment=0.1))


def free(made: Navigation, seconds: float) -> int | None:
    """How many cells are free in the picture of that time; None where there is no grid."""
    data = made.message("free_space", LABELS, CAMERA.info(), Header("", round(seconds * SECOND), "camera", 0))
    return None if data is None else int((np.asarray(messages.decode(messages.OCCUPANCY_GRID, data).data) == 0).sum())


def test_a_picture_gets_the_pose_of_its_time_or_one_of_the_second_before(caplog: pytest.LogCaptureFixture) -> None:
    made = navigation()
    for at, height in ((10.0, 1.0), (11.0, 2.0)):
        made.add_transforms(message(("base", "camera", (0.0, 0.0, height), FORWARD), at=at), static=False)
    low, high = free(made, 10.0), free(made, 11.0)
    assert low is not None and high is not None and low > high > 0, "a higher camera sees no ground so near"
    assert free(made, 12.0) == high
    assert free(made, 0.0) == high, "no stamp is the latest"
    assert not caplog.records
    assert free(made, 12.5) is None
    assert "at 12.500 s: that is 1.500 s newer than what is known" in caplog.text
    assert free(made, 9.0) is None


def test_what_is_missing_is_logged_once_however_often_its_line_changes(caplog: pytest.LogCaptureFixture) -> None:
    made = navigation()
    header = Header("", SECOND, "camera", 0)
    assert all(made.message("free_space", LABELS, None, header) is None for _ in range(3))
    made.add_transforms(message(("base", "camera", (0.0, 0.0, 1.0), FORWARD), at=1.0), static=False)
    assert all(free(made, 100.0 + index) is None for index in range(3))
    for index in range(3):
        made.add_transforms(message(("base", "camera", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, index * 1e-9))), static=True)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 3
    assert "need a CameraInfo" in lines[0]
    assert "at 100.000 s" in lines[1]
    assert "left out: no rotation" in lines[2]
