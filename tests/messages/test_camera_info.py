"""The calibration of a cut and resized picture projects points to where that picture shows them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.geometry import fit
from rtseg.messages import records as messages
from rtseg.messages.camera_info import fitted, picture_size
from rtseg.messages.images import BadMessage
from tests.ros.real import assert_ros_writes_the_same, ros_message

K = np.array([[510.0, 0.3, 331.2], [0, 498.0, 219.7], [0, 0, 1]])
P = np.array([[470.0, 0, 325.1, -56.4], [0, 472.0, 221.9, 3.5], [0, 0, 1, 0.02]])
R = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
DISTORTION = np.array([-0.31, 0.12, 0.001, -0.0007, -0.02])
POINTS = np.random.default_rng(5).uniform((-2, -1.5, 3), (2, 1.5, 12), (50, 3))


def camera_info(
    size: tuple[int, int] = (480, 640),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    binning: tuple[int, int] = (0, 0),
    **fields: Any,
) -> Any:
    """A CameraInfo; `roi` is (top, left, height, width), `binning` (y, x)."""
    region = dict(zip(("y_offset", "x_offset", "height", "width"), roi, strict=True))
    whole = {
        "header": messages.header(7, "camera_optical"), "height": size[0], "width": size[1],
        "distortion_model": "plumb_bob", "d": DISTORTION, "k": K.reshape(-1), "r": R.reshape(-1), "p": P.reshape(-1),
        "binning_y": binning[0], "binning_x": binning[1],
        "roi": messages.build("sensor_msgs/msg/RegionOfInterest", **region, do_rectify=any(roi)),
    }  # fmt: skip
    return messages.build(messages.CAMERA_INFO, **{**whole, **fields})


def raw(message: Any) -> NDArray[np.float64]:
    """Where the raw picture shows POINTS, by OpenCV's projection with distortion, which has no skew, and K's skew."""
    k = message.k.reshape(3, 3)
    plain = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), np.eye(3), message.d)[0].reshape(-1, 2)
    return np.column_stack((plain, np.ones(len(plain)))) @ k[:2].T


def rectified(message: Any) -> NDArray[np.float64]:
    """Where the rectified picture shows POINTS."""
    homogeneous = (
        np.column_stack((POINTS @ message.r.reshape(3, 3).T, np.ones(len(POINTS)))) @ message.p.reshape(3, 4).T
    )
    return homogeneous[:, :2] / homogeneous[:, 2:]


def moved(pixels: NDArray[np.float64], top: float, left: float, scale: tuple[float, float]) -> NDArray[np.float64]:
    """Pixels (x, y) after a cut at (top, left) and a resize that keeps the outer edges of the border pixels."""
    edges = (pixels - (left, top) + 0.5) * scale[::-1]
    return edges - 0.5


@pytest.mark.parametrize(
    ("size", "crop", "scale"),
    [
        ((480, 640), None, (1, 1)),
        ((240, 320), None, (0.5, 0.5)),
        ((360, 1280), None, (0.75, 2)),
        ((100, 200), (50, 31, 100, 200), (1, 1)),
        ((64, 256), (101, 7, 320, 512), (0.2, 0.5)),
        ((480, 480), (-80, 0, 640, 640), (0.75, 0.75)),
        ((30, 40), (0.5, 12.25, 60, 80), (0.5, 0.5)),
    ],
)
def test_points_are_projected_to_where_the_new_picture_shows_them(
    size: tuple[int, int], crop: tuple[float, float, float, float] | None, scale: tuple[float, float]
) -> None:
    before = camera_info()
    after = fitted(before, size, crop)
    top, left = crop[:2] if crop else (0, 0)
    np.testing.assert_allclose(raw(after), moved(raw(before), top, left, scale), rtol=0, atol=1e-9)
    np.testing.assert_allclose(rectified(after), moved(rectified(before), top, left, scale), rtol=0, atol=1e-9)
    assert (after.height, after.width) == size
    assert after.header == before.header and after.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(after.d, DISTORTION)
    np.testing.assert_array_equal(after.r, R.reshape(-1))
    np.testing.assert_array_equal(before.k, K.reshape(-1))


def test_whole_picture_at_its_own_size_changes_no_number() -> None:
    before = camera_info()
    after = fitted(before, (480, 640))
    np.testing.assert_array_equal(after.k, before.k)
    np.testing.assert_array_equal(after.p, before.p)


def test_resize_is_where_opencv_puts_pixels() -> None:
    """The brightest spot of a picture, made smaller by a whole number, is where the fitted matrix projects it."""
    camera = np.array([100.0, 0, 30, 0, 100, 20, 0, 0, 1])
    before = camera_info((48, 64), k=camera, d=np.zeros(5))
    y, x = np.mgrid[:48, :64]
    point = np.array([0.083, 0.041, 1.0])
    at = camera.reshape(3, 3) @ point
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 50)
    small = cv2.resize(spot, (16, 12), interpolation=cv2.INTER_AREA)
    rows, columns = np.mgrid[:12, :16]
    found = ((small * columns).sum() / small.sum(), (small * rows).sum() / small.sum())
    expected = fitted(before, (12, 16)).k.reshape(3, 3) @ point
    np.testing.assert_allclose(found, expected[:2], atol=1e-3)


def test_region_and_binning_of_the_message_are_worked_in() -> None:
    """The sensor reads the region in whole-sensor pixels and puts 2 x 4 of them in one; matrices are the sensor's."""
    before = camera_info((480, 640), roi=(40, 100, 240, 400), binning=(2, 4))
    assert picture_size(before) == (120, 100)
    same = fitted(before, (120, 100))
    np.testing.assert_allclose(raw(same), moved(raw(camera_info()), 40, 100, (1 / 2, 1 / 4)), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        rectified(same), moved(rectified(camera_info()), 40, 100, (1 / 2, 1 / 4)), rtol=0, atol=1e-9
    )
    roi = same.roi
    assert (roi.x_offset, roi.y_offset, roi.height, roi.width, roi.do_rectify) == (0, 0, 0, 0, False)
    assert (same.binning_y, same.binning_x) == (0, 0)
    cut = fitted(before, (30, 20), (60, 20, 60, 80))
    np.testing.assert_allclose(raw(cut), moved(raw(same), 60, 20, (1 / 2, 1 / 4)), rtol=0, atol=1e-9)
    again = fitted(same, (30, 20), (60, 20, 60, 80))
    np.testing.assert_allclose(again.p, cut.p, rtol=0, atol=1e-9)


def test_letterbox_of_the_network_is_a_crop_that_reaches_beyond_the_picture() -> None:
    placed = fit((480, 640), (512, 512))
    scale = placed.height / 480
    crop = (-placed.top / scale, -placed.left / scale, 512 / scale, 512 / scale)
    pixels = raw(fitted(camera_info(), (512, 512), crop))
    back = (pixels - (placed.left, placed.top) + 0.5) / scale - 0.5  # as Fit's docstring says
    np.testing.assert_allclose(back, raw(camera_info()), rtol=0, atol=1e-9)


def test_an_uncalibrated_camera_stays_so() -> None:
    before = camera_info(k=np.zeros(9), p=np.zeros(12), r=np.zeros(9), d=np.zeros(0), distortion_model="")
    after = fitted(before, (240, 320), (0, 10, 480, 600))
    assert not after.k.any() and not after.p.any() and not after.r.any() and len(after.d) == 0
    assert (after.height, after.width) == (240, 320)
    unit = np.array([0.0, 0, 0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(fitted(camera_info(k=unit), (240, 320)).k, unit)
    half = fitted(camera_info(p=np.zeros(12)), (240, 320))
    assert half.k[0] == 255 and not half.p.any()


def test_sizes_without_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a side of crop \(0, 0, 0, 5\) or size \(3, 3\) is zero"):
        fitted(camera_info(), (3, 3), (0, 0, 0, 5))
    with pytest.raises(ConfigError, match=r"size \(0, 3\) is zero"):
        fitted(camera_info(), (0, 3))
    with pytest.raises(BadMessage, match=r"CameraInfo of 0x0 \(height x width\) has no size") as caught:
        fitted(camera_info((0, 0)), (3, 3))
    assert caught.value.kind == "zero size"
    assert fitted(camera_info((0, 0)), (240, 320), (0, 0, 480, 640)).k[0] == 255


@pytest.mark.ros
def test_ros_reads_a_fitted_message_and_writes_the_same_bytes() -> None:
    after = fitted(camera_info(roi=(40, 100, 240, 400), binning=(2, 2)), (60, 100))
    data = messages.encode(messages.CAMERA_INFO, after)
    message = ros_message("sensor_msgs", "CameraInfo", data)
    np.testing.assert_array_equal(message.k, after.k)
    np.testing.assert_array_equal(message.p, after.p)
    assert (message.height, message.width, message.header.frame_id) == (60, 100, "camera_optical")
    assert_ros_writes_the_same(message, data)
