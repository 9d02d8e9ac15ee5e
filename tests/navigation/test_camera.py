"""Pixels to directions and back against OpenCV, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rtseg.errors import ConfigError
from rtseg.navigation.camera import Lens, Pose
from rtseg.sources._drive import DriveCamera
from tests.navigation.scenes import CAMERAS, PLAIN, Camera, radians


def posed(camera: Camera) -> Pose:
    tilt, yaw, roll = radians(camera.tilt, camera.yaw, camera.roll)
    return Pose.mounted(camera.height, tilt, x=camera.x, y=camera.y, yaw=yaw, roll=roll)


@pytest.mark.parametrize("name", CAMERAS)
def test_pixels_and_rays_are_those_of_opencv(name: str) -> None:
    camera = CAMERAS[name]
    lens, pose = Lens.of(camera.info()), posed(camera)
    looks = camera.looks()
    ours = lens.rays.astype(np.float64) @ pose.rotation.T
    np.testing.assert_allclose(ours, looks, atol=2e-5)
    points = camera.position + looks.reshape(-1, 3) * np.random.default_rng(0).uniform(1, 9, (looks[..., 0].size, 1))
    np.testing.assert_allclose(lens.pixels((points - pose.position) @ pose.rotation), camera.project(points), atol=1e-6)


@pytest.mark.parametrize("name", CAMERAS)
def test_every_pixel_is_found_again_by_its_own_ray(name: str) -> None:
    lens = Lens.of(CAMERAS[name].info())
    numbers = lens.indices(lens.rays.reshape(-1, 3))
    assert np.array_equal(numbers, np.arange(numbers.size))


def test_the_mounted_pose_is_the_camera_of_the_synthetic_drive() -> None:
    drive = DriveCamera.for_size((240, 320))
    lens = Lens.of(replace(PLAIN, focal=drive.focal).info())
    pose = Pose.mounted(drive.height, drive.tilt)
    points = np.random.default_rng(1).uniform((-6, 2, 0), (6, 30, 3), (500, 3))
    robot = np.stack([points[:, 1], -points[:, 0], points[:, 2]], axis=1)
    np.testing.assert_allclose(lens.pixels((robot - pose.position) @ pose.rotation), drive.project(points), atol=1e-9)


def test_a_transform_is_the_same_pose_as_angles() -> None:
    # The usual optical frame, looking along x: (-0.5, 0.5, -0.5, 0.5); its length does not matter.
    pose = Pose.transformed((0.1, 0.2, 0.3), (-1, 1, -1, 1))
    np.testing.assert_allclose(pose.rotation, Pose.mounted(0.3, 0.0).rotation, atol=1e-15)
    assert pose.position.tolist() == [0.1, 0.2, 0.3]


def test_what_folds_back_into_the_picture_is_not_seen() -> None:
    # r - 0.4 r^3 turns at r = 0.913: beyond it a direction would land on pixels that see another one.
    lens = Lens.of(replace(PLAIN, d=(-0.4, 0.0, 0.0, 0.0)).info())
    directions = np.array([[0.9, 0, 1.0], [0.95, 0, 1.0], [1.5, 0, 1.0], [0, 0, -1.0]])
    found = lens.pixels(directions)
    naive = cv2.projectPoints(directions[:3], np.zeros(3), np.zeros(3), PLAIN.k, np.array([-0.4, 0, 0, 0]))[0]
    assert found[0] == pytest.approx(naive.reshape(-1, 2)[0])
    assert 0 < naive.reshape(-1, 2)[2, 0] < 320
    assert np.isnan(found[1:]).all()


def test_a_rectified_picture_has_no_distortion_and_its_own_axes() -> None:
    info = replace(PLAIN, d=(-0.3, 0.1, 0.0, 0.0)).info()
    turn = cv2.Rodrigues(np.array([0.0, 0.02, 0.01]))[0]
    info.r = turn.reshape(-1)
    info.p[0] = info.p[5] = 200.0
    direction = np.array([[0.2, -0.1, 1.0]])
    x, y, z = turn @ direction[0]
    lens = Lens.of(info, rectified=True)
    assert lens.pixels(direction)[0] == pytest.approx([200 * x / z + 159.5, 200 * y / z + 119.5])
    numbers = lens.indices(lens.rays.reshape(-1, 3))
    assert np.array_equal(numbers, np.arange(numbers.size))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("k", np.zeros(9), "uncalibrated"),
        ("width", 0, "uncalibrated"),
        ("k", np.full(9, np.nan), "not finite"),
        ("d", np.array([np.inf, 0, 0, 0, 0]), "not finite"),
        ("d", np.zeros(3), "3 coefficients for plumb_bob, expected 0, 4, 5"),
        ("distortion_model", "plumbob", "did you mean 'plumb_bob'"),
    ],
)
def test_a_camera_info_that_cannot_be_used_is_refused(field: str, value: object, message: str) -> None:
    info = PLAIN.info()
    setattr(info, field, value)
    with pytest.raises(ConfigError, match=message):
        Lens.of(info)


@pytest.mark.parametrize(
    ("translation", "rotation", "message"),
    [
        ((0, 0, 0), (0, 0, 0, 1), "above the ground"),
        ((0, 0, -1), (0, 0, 0, 1), "base_footprint"),
        ((0, 0, 1), (0, 0, 0, 0), "no rotation"),
        ((0, 0, np.nan), (0, 0, 0, 1), "not finite"),
    ],
)
def test_a_pose_that_sees_no_ground_is_refused(translation: object, rotation: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pose.transformed(translation, rotation)
