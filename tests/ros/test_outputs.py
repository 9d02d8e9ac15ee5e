"""What the node publishes of a result: each message, decoded, at the frame's size and at the network's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.frame import Frame, Header, Result
from rtseg.geometry import FitMode, fit
from rtseg.messages import records as messages
from rtseg.packages.spec import ModelSpec
from rtseg.ros.outputs import OUTPUTS, Outputs, samples, visible
from tests.messages.test_camera_info import K, camera_info
from tests.ros.segmenting import labels_of

SPEC = ModelSpec(name="toy", classes=("road", "car", "sky"))
HEADER = Header("/camera", 12_000_000_034, "front", 0)
ALL = frozenset(output.topic for output in OUTPUTS)
SIZE = (48, 64)
RANDOM = np.random.default_rng(8)


def result(size: tuple[int, int] = SIZE, **without: None) -> Result:
    image = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    fields: dict[str, Any] = {
        "labels": RANDOM.integers(0, 3, size, np.uint8), "confidence": RANDOM.integers(0, 256, size, np.uint8),
        "overlay": 255 - image, "areas": np.array([0.5, 0.3, 0.2]),
    }  # fmt: skip
    return Result(Frame(0, 0, None, None, image, HEADER), **{**fields, **without})


def made(make: Outputs, source: Result, asked: frozenset[str] = ALL) -> dict[str, Any]:
    kinds = {output.topic: output.kind for output in OUTPUTS}
    return {topic: messages.decode(kinds[topic], data) for topic, data in make.messages(source, HEADER, asked)}


def test_every_output_says_what_the_result_does_with_the_pictures_header() -> None:
    make, source = Outputs(SPEC, lambda size: fit(size, size)), result()
    make.camera_info = camera_info(SIZE)
    found = made(make, source)
    assert list(found) == ["mask", "confidence", "camera_info", "areas", "overlay", "overlay/compressed"]
    np.testing.assert_array_equal(labels_of(found["mask"]), source.labels)
    np.testing.assert_array_equal(labels_of(found["confidence"]), source.confidence)
    overlay = found["overlay"]
    assert (overlay.encoding, overlay.step, overlay.height, overlay.width) == ("bgr8", 192, 48, 64)
    np.testing.assert_array_equal(overlay.data, source.overlay.reshape(-1))  # type: ignore[union-attr]
    np.testing.assert_allclose(found["areas"].data, [0.5, 0.3, 0.2], atol=1e-7)
    for topic, message in found.items():
        if topic != "areas":
            assert (messages.stamp_ns(message), message.header.frame_id) == (12_000_000_034, "front"), topic
    info = found["camera_info"]
    assert (info.height, info.width) == SIZE
    np.testing.assert_allclose(info.k.reshape(3, 3), K, atol=1e-9)


def test_jpeg_quality_counts_from_the_next_message() -> None:
    make, source = Outputs(SPEC, lambda size: fit(size, size), jpeg_quality=95), result()
    fine = made(make, source)["overlay/compressed"]
    decoded = cv2.imdecode(np.asarray(fine.data), cv2.IMREAD_COLOR)
    assert decoded.shape == (*SIZE, 3)
    make.jpeg_quality = 5
    assert len(made(make, source)["overlay/compressed"].data) < len(fine.data) / 2


def test_only_what_is_asked_for_and_what_there_is() -> None:
    make = Outputs(SPEC, lambda size: fit(size, size))
    assert list(made(make, result(), frozenset({"areas"}))) == ["areas"]
    assert list(made(make, result(), frozenset())) == []
    assert "camera_info" not in made(make, result()), "no CameraInfo came"
    nothing = result(labels=None, confidence=None, overlay=None, areas=None)
    assert made(make, nothing) == {}


@pytest.mark.parametrize("mode", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize(("size", "network"), [((48, 64), (32, 64)), ((97, 61), (32, 32)), ((20, 30), (64, 48))])
def test_at_the_networks_size_each_pixel_is_the_nearest_of_the_frame(
    mode: FitMode, size: tuple[int, int], network: tuple[int, int]
) -> None:
    place = fit(size, network, mode)
    rows, columns = visible(place)
    up, across = samples(place)
    for pixels, chosen, start, length, side in (
        (rows, up, place.top, place.height, size[0]),
        (columns, across, place.left, place.width, size[1]),
    ):
        centres = (np.array(pixels) - start + 0.5) * side / length - 0.5
        distances = np.abs(centres[:, None] - np.arange(side))
        np.testing.assert_allclose(distances[np.arange(len(chosen)), chosen], distances.min(axis=1), atol=1e-9)
    make, source = Outputs(SPEC, lambda size: fit(size, network, mode), mask_size="network"), result(size)
    mask = labels_of(made(make, source)["mask"])
    assert source.labels is not None
    assert mask.shape == (len(rows), len(columns)) and mask.shape <= network
    np.testing.assert_array_equal(mask, source.labels[np.ix_(up, across)])
    if mode != "letterbox":
        assert mask.shape == network, "no border"


@pytest.mark.parametrize("mode", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize("calibrated", [(96, 128), (48, 64)])
def test_camera_info_at_the_networks_size_projects_to_the_masks_pixels(
    mode: FitMode, calibrated: tuple[int, int]
) -> None:
    network = (32, 64)
    make = Outputs(SPEC, lambda size: fit(size, network, mode), mask_size="network")
    make.camera_info = camera_info(calibrated)
    found = made(make, result())["camera_info"]
    place = fit(SIZE, network, mode)
    rows, columns = visible(place)
    assert (found.height, found.width) == (len(rows), len(columns))
    # A point of the camera's picture, by way of the frame and of the network's input, and by the new matrix.
    point = np.array([0.11, -0.07, 1.0])
    x, y, _ = K @ point
    scale_y, scale_x = SIZE[0] / calibrated[0] * place.height / SIZE[0], place.width / calibrated[1]
    there = ((x + 0.5) * scale_x - 0.5 + place.left - columns.start, (y + 0.5) * scale_y - 0.5 + place.top - rows.start)
    np.testing.assert_allclose((found.k.reshape(3, 3) @ point)[:2], there, atol=1e-9)


def test_a_picture_of_another_size_than_the_calibrated_one() -> None:
    make = Outputs(SPEC, lambda size: fit(size, size))
    make.camera_info = camera_info((96, 128))
    info = made(make, result())["camera_info"]
    assert (info.height, info.width) == SIZE
    assert info.k[0] == pytest.approx(K[0, 0] / 2) and info.k[2] == pytest.approx((K[0, 2] + 0.5) / 2 - 0.5)
    make.camera_info = camera_info((0, 0))
    assert made(make, result())["camera_info"].k[2] == pytest.approx(K[0, 2]), "it does not say its size"
