"""`ros:` as a source, without another process: what it refuses, and what it says of itself.

Pictures from other processes are tested in tests/ros/test_run_ros.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from rtseg.errors import ConfigError, SourceError
from rtseg.sources import open_source

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def rclpy() -> None:
    """Skips where there is no rclpy."""
    reason = "needs rclpy (pip install 'rtseg[ros-wheels]', or a ROS 2 installation)"
    pytest.importorskip("rclpy", reason=reason, exc_type=ImportError)


def test_it_is_live_and_named_after_its_topic() -> None:
    info = open_source("ros:/camera/image", {}).info
    assert (info.source, info.live, info.size) == ("ros:/camera/image", True, None)


@pytest.mark.parametrize(
    ("uri", "options", "error", "said"),
    [
        ("ros:", {}, SourceError, "ros: needs a topic, for example ros:/camera/image_raw"),
        ("ros:/x", {"reliability": "sure"}, ConfigError, "reliability is 'sure', expected best_effort or reliable"),
        ("ros:/x", {"depth": 0}, ConfigError, "depth is 0, expected 1 or more"),
        ("ros:/x", {"rate": 3.0}, ConfigError, "rate"),
    ],
)
def test_what_does_not_fit(uri: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        open_source(uri, options)
