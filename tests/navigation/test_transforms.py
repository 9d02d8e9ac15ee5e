"""The tf tree: chains, interpolation, history, and what is said where there is no answer."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.messages import records as messages
from rtseg.navigation.rotations import matrix, multiply, slerp, unit
from rtseg.navigation.transforms import NoTransform, TransformTree

SECOND = 1_000_000_000
STRAIGHT = (0.0, 0.0, 0.0, 1.0)


def turned(degrees: float) -> tuple[float, ...]:
    """The rotation about z."""
    half = math.radians(degrees) / 2
    return 0.0, 0.0, math.sin(half), math.cos(half)


def message(*links: tuple[str, str, tuple[float, ...], tuple[float, ...]], at: float = 0.0) -> Any:
    """A TFMessage as decoded from bytes: (parent, child, translation, rotation) at a time in seconds."""
    stamped = []
    for parent, child, (x, y, z), (qx, qy, qz, qw) in links:
        transform = messages.build(
            "geometry_msgs/msg/Transform",
            translation=messages.build("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=messages.build("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        )
        header = messages.header(round(at * SECOND), parent)
        stamped.append(
            messages.build(
                "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=transform
            )
        )
    return messages.decode(messages.TF, messages.encode(messages.TF, messages.build(messages.TF, transforms=stamped)))


def test_a_chain_is_followed_up_and_down_and_slashes_do_not_count() -> None:
    tree = TransformTree()
    tree.add(message(("base", "/mast", (1.0, 0.0, 2.0), turned(90))), static=True)
    tree.add(message(("/mast", "camera", (0.5, 0.0, 0.0), STRAIGHT), ("base", "lidar", (0.0, 3.0, 0.0), STRAIGHT)))
    translation, rotation = tree.lookup("base", "/camera")
    np.testing.assert_allclose(translation, (1.0, 0.5, 2.0), atol=1e-12)
    np.testing.assert_allclose(rotation, turned(90), atol=1e-12)
    translation, rotation = tree.lookup("camera", "lidar")
    np.testing.assert_allclose(translation, (2.5, 1.0, -2.0), atol=1e-12)
    np.testing.assert_allclose(matrix(rotation), matrix(turned(-90)), atol=1e-12)
    assert tree.lookup("base", "base")[0].tolist() == [0, 0, 0]
    assert tree.frames() == ["base", "camera", "lidar", "mast"]


def test_between_two_stamps_the_transform_is_interpolated() -> None:
    tree = TransformTree()
    for at, x, degrees in ((3.0, 30.0, 60.0), (1.0, 10.0, 0.0), (2.0, 20.0, 40.0)):
        tree.add(message(("odom", "base", (x, 0.0, 0.0), turned(degrees)), at=at))
    translation, rotation = tree.lookup("odom", "base", round(1.25 * SECOND))
    assert translation[0] == pytest.approx(12.5)
    np.testing.assert_allclose(rotation, turned(10.0), atol=1e-12)
    assert tree.lookup("odom", "base", 2 * SECOND)[0][0] == 20.0
    assert tree.lookup("odom", "base")[0][0] == 30.0


def test_latest_is_the_latest_time_that_all_links_have() -> None:
    tree = TransformTree()
    for at in (1.0, 2.0, 3.0):
        tree.add(message(("map", "odom", (at, 0.0, 0.0), STRAIGHT), at=at))
    for at in (1.0, 2.5):
        tree.add(message(("odom", "base", (0.0, at, 0.0), STRAIGHT), at=at))
    assert tree.lookup("map", "base")[0].tolist() == [2.5, 2.5, 0.0]


def test_history_is_bounded_and_a_clock_that_was_set_back_starts_anew() -> None:
    tree = TransformTree(history_ns=2 * SECOND)
    for at in range(10, 20):
        tree.add(message(("odom", "base", (float(at), 0.0, 0.0), STRAIGHT), at=at))
    assert tree.lookup("odom", "base", 17 * SECOND)[0][0] == 17.0
    with pytest.raises(NoTransform, match=r"1\.000 s older than what is known \(17\.000 to 19\.000 s\)"):
        tree.lookup("odom", "base", 16 * SECOND)
    tree.add(message(("odom", "base", (1.0, 0.0, 0.0), STRAIGHT), at=1.0))
    assert tree.lookup("odom", "base")[0][0] == 1.0
    with pytest.raises(NoTransform, match=r"18\.000 s newer"):
        tree.lookup("odom", "base", 19 * SECOND)


def test_a_frame_that_changes_its_parent_hangs_there_alone() -> None:
    tree = TransformTree()
    tree.add(message(("left", "cup", (1.0, 0.0, 0.0), STRAIGHT), at=1.0))
    tree.add(message(("right", "cup", (2.0, 0.0, 0.0), STRAIGHT), at=2.0))
    assert tree.lookup("right", "cup")[0][0] == 2.0
    with pytest.raises(NoTransform, match=r"no frame 'left' in tf"):
        tree.lookup("left", "cup")


def test_what_is_missing_is_said_in_one_line() -> None:
    tree = TransformTree()
    with pytest.raises(NoTransform, match=r"no frame 'base' in tf: no transform was received"):
        tree.lookup("base", "camera")
    tree.add(message(("base", "camera_optical", (0.0, 0.0, 1.0), STRAIGHT), ("map", "pole", (0.0, 0.0, 1.0), STRAIGHT)))
    with pytest.raises(NoTransform, match=r"no frame 'camera_optica' in tf: did you mean 'camera_optical'"):
        tree.lookup("base", "camera_optica")
    with pytest.raises(NoTransform, match=r"different trees: their roots are map, base"):
        tree.lookup("base", "pole")
    tree.add(message(("camera_optical", "base", (0.0, 0.0, 1.0), STRAIGHT)))
    with pytest.raises(NoTransform, match=r"tf has a cycle: base in camera_optical in base"):
        tree.lookup("base", "camera_optical")


@pytest.mark.parametrize(
    "link",
    [
        ("base", "camera", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        ("base", "camera", (0.0, 0.0, 0.0), (math.nan, 0.0, 0.0, 1.0)),
        ("base", "camera", (0.0, math.inf, 0.0), STRAIGHT),
        ("camera", "/camera", (0.0, 0.0, 0.0), STRAIGHT),
        ("base", "", (0.0, 0.0, 0.0), STRAIGHT),
    ],
)
def test_what_cannot_be_a_transform_is_left_out_and_reported(link: Any) -> None:
    tree = TransformTree()
    refused = tree.add(message(link, ("base", "lidar", (1.0, 0.0, 0.0), STRAIGHT)))
    assert len(refused) == 1
    assert "left out" in refused[0]
    assert tree.frames() == ["base", "lidar"]


def test_rotations_are_those_of_opencv() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        axis, other = random.normal(size=(2, 3))
        both = []
        for vector in (axis, other):
            angle = float(np.linalg.norm(vector))
            quaternion = np.append(vector / angle * math.sin(angle / 2), math.cos(angle / 2))
            np.testing.assert_allclose(matrix(quaternion * 3), cv2.Rodrigues(vector)[0], atol=1e-12)
            both.append(unit(quaternion))
        product = matrix(both[0]) @ matrix(both[1])
        np.testing.assert_allclose(matrix(multiply(*both)), product, atol=1e-12)
        # A third of the way, three times over, is the whole way; from a quaternion or from its negative.
        third = slerp(both[0], -both[1], 1 / 3)
        step = matrix(third) @ matrix(both[0]).T
        np.testing.assert_allclose(step @ step @ step @ matrix(both[0]), matrix(both[1]), atol=1e-9)
