"""Fixtures of the tests with ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ros.processes import Domain, claimed_domain


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Domain]:
    """A DDS domain to start processes in; tests that use it are marked `ros`."""
    reason = "needs rclpy (pip install 'rtseg[ros-wheels]', or a ROS 2 installation)"
    pytest.importorskip("rclpy", reason=reason, exc_type=ImportError)
    with claimed_domain() as number, Domain(number, tmp_path) as made:
        yield made
