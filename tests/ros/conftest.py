"""Fixtures of the tests with ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ros.processes import Domain, claimed_domain


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Domain]:
    """A DDS domain to start processes in; tests that use it are marked `ros`."""
    yield from made_domain(tmp_path)


@pytest.fixture(scope="module")
def module_domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    """A DDS domain whose processes the tests of a module share."""
    yield from made_domain(tmp_path_factory.mktemp("domain"))


def made_domain(folder: Path) -> Iterator[Domain]:
    reason = "needs rclpy (pip install 'rtseg[ros-wheels]', or a ROS 2 installation)"
    pytest.importorskip("rclpy", reason=reason, exc_type=ImportError)
    with claimed_domain() as number, Domain(number, folder) as made:
        yield made
