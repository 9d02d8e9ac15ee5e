"""Free space and obstacles over DDS: equal to the ground projection of the mask that was published with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rtseg.frame import Header
from rtseg.messages import records as messages
from rtseg.messages.images import image_bytes
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.ground import GroundView
from rtseg.navigation.rotations import multiply
from rtseg.navigation.settings import GridSettings, ScanSettings, roles
from rtseg.packages.spec import find_package
from rtseg.sources.synthetic import SyntheticSource
from tests.ros.processes import Domain, Process
from tests.ros.segmenting import NODE, Talk, labels_of, start_node

pytestmark = pytest.mark.ros
SIZE = (120, 160)
SCENE = SyntheticSource("drive", size=SIZE)
CAMERA = SCENE.scene.camera  # type: ignore[attr-defined]
MODEL = "unet-fast0-camvid"
GRID, SCAN = GridSettings(resolution=0.2), ScanSettings(angle_min=-1.0, angle_max=1.0, increment=0.02)
INFO = "/camera/camera_info"
PLACE = (0.5, -0.2, 1.2)
TURN = multiply(np.array([0, math.sin(0.05), 0, math.cos(0.05)]), np.array([-0.5, 0.5, -0.5, 0.5]))
"""Tilted down by 0.1, after the turn from a camera's axes to a robot's; x, y, z, w."""


def calibration() -> bytes:
    k = [CAMERA.focal, 0, CAMERA.centre_x, 0, CAMERA.focal, CAMERA.centre_y, 0, 0, 1]
    region = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    info = messages.build(
        messages.CAMERA_INFO, header=messages.header(1, "optical"), height=SIZE[0], width=SIZE[1],
        distortion_model="plumb_bob", d=np.zeros(5), k=np.array(k, float), r=np.eye(3).reshape(-1),
        p=np.array([*k[:3], 0, *k[3:6], 0, *k[6:], 0], float), binning_x=0, binning_y=0,
        roi=messages.build("sensor_msgs/msg/RegionOfInterest", **region),
    )  # fmt: skip
    return messages.encode(messages.CAMERA_INFO, info)


def picture_of(index: int, stamp_ns: int) -> bytes:
    return image_bytes(SCENE.render(index)[0], Header("", stamp_ns, "optical", 0))


@pytest.fixture(scope="module")
def node(module_domain: Domain) -> Process:
    flags = ["--grid-resolution", "0.2", "--scan-angle", "1.0", "--scan-increment", "0.02", "--short-side", "96"]
    mounted = ["--camera-height", str(CAMERA.height), "--camera-tilt", str(CAMERA.tilt)]
    return start_node(module_domain, "--backend", "openvino", "--model", MODEL, *flags, *mounted)


@pytest.fixture(scope="module")
def talk(module_domain: Domain, node: Process) -> Talk:
    made = Talk(module_domain.peer("robot"))
    made.offer()
    made.peer.call("advertise", topic=INFO, kind=messages.CAMERA_INFO)
    made.listen("mask")
    made.listen("free_space", messages.OCCUPANCY_GRID)
    made.listen("obstacles", messages.LASER_SCAN)
    return made


def check(talk: Talk, pose: Pose, stamp_ns: int, frame_id: str) -> tuple[Any, Any]:
    """The grid and the scan of a picture, after they have been compared with the mask's projection."""
    grids, scans = len(talk.came("free_space")), len(talk.came("obstacles"))
    labels = labels_of(talk.answers(picture_of(30, stamp_ns)))
    grid = talk.next("free_space", messages.OCCUPANCY_GRID, grids, stamp_ns)
    scan = talk.next("obstacles", messages.LASER_SCAN, scans, stamp_ns)
    classes = find_package(MODEL).spec.classes  # type: ignore[union-attr]
    part = roles(classes, ["Road"], ["Pavement"], ["Sky"])
    view = GroundView(Lens.of(messages.decode(messages.CAMERA_INFO, calibration())), pose, part, GRID, SCAN, least=8)
    expected = view.grid(labels)
    assert (grid.header.frame_id, scan.header.frame_id) == (frame_id, frame_id)
    assert (grid.info.height, grid.info.width) == GRID.shape and grid.info.resolution == pytest.approx(0.2)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (0, -10)
    np.testing.assert_array_equal(np.asarray(grid.data).reshape(GRID.shape), expected)
    assert {-1, 0, 100} <= set(np.unique(expected).tolist())
    np.testing.assert_allclose(scan.ranges, view.scan(labels), rtol=1e-5)
    assert np.isfinite(scan.ranges).sum() > 5
    assert (scan.angle_min, scan.range_max) == (pytest.approx(-1.0), 20.0)
    return grid, scan


def test_of_a_camera_at_a_height(talk: Talk) -> None:
    talk.await_first("free_space", picture_of(0, 5), kind=messages.OCCUPANCY_GRID, **{INFO: calibration()})
    talk.await_first("obstacles", picture_of(0, 5), kind=messages.LASER_SCAN)
    check(talk, Pose.mounted(CAMERA.height, CAMERA.tilt), 10**9, "base_footprint")


def test_of_a_camera_whose_pose_comes_by_tf(talk: Talk, node: Process) -> None:
    pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs: tools/build_ros_messages.py", exc_type=ImportError)
    for transition in ("deactivate", "cleanup"):
        assert talk.peer.call("change_state", node=NODE, transition=transition)
    changes = {"camera_height": 0.0, "robot_frame": "base"}
    assert talk.peer.call("set_parameters", node=NODE, values=changes) == {"camera_height": None, "robot_frame": None}
    latched = {"reliability": "reliable", "durability": "transient_local"}
    talk.peer.call("advertise", topic="/tf_static", kind=messages.TF, **latched)
    talk.send(transform("base", "optical"), "/tf_static")
    for transition in ("configure", "activate"):
        assert talk.peer.call("change_state", node=NODE, transition=transition)
    for output in ("mask", "free_space", "obstacles"):
        assert talk.peer.call("wait_publishers", topic=f"{NODE}/{output}") == 1
    talk.await_first("free_space", picture_of(0, 6), kind=messages.OCCUPANCY_GRID, **{INFO: calibration()})
    talk.await_first("obstacles", picture_of(0, 6), kind=messages.LASER_SCAN)
    check(talk, Pose.transformed(PLACE, TURN), 2 * 10**9, "base")
    assert np.allclose(Pose.transformed(PLACE, TURN).rotation, Pose.mounted(1.2, 0.1).rotation)


def transform(parent: str, child: str) -> bytes:
    geometry = "geometry_msgs/msg"
    moved = messages.build(f"{geometry}/Vector3", **dict(zip("xyz", PLACE, strict=True)))
    turned = messages.build(f"{geometry}/Quaternion", **dict(zip("xyzw", TURN.tolist(), strict=True)))
    stamped = messages.build(
        f"{geometry}/TransformStamped", header=messages.header(0, parent), child_frame_id=child,
        transform=messages.build(f"{geometry}/Transform", translation=moved, rotation=turned),
    )  # fmt: skip
    return messages.encode(messages.TF, messages.build(messages.TF, transforms=[stamped]))
