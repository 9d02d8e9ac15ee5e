"""blend, contours and areas against plain NumPy; all exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError

quick = settings(deadline=None, derandomize=True, max_examples=60)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 70))
COLORS = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, 256).astype(np.uint8)
ALPHA[[0, 255]], ALPHA[1] = 0, 255


def mixed(image: Any, labels: Any, colors: Any, alpha: Any) -> Any:
    """The nearest whole number to the weighted mean, in integers (there are no ties: 255 is odd)."""
    opacity = alpha[labels].astype(np.int64)[..., None]
    return ((2 * (opacity * colors[labels] + (255 - opacity) * image) + 255) // 510).astype(np.uint8)


def scene(seed: int, size: tuple[int, int], coarse: int = 9) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (size[0] // coarse + 1, size[1] // coarse + 1)).astype(np.uint8)
    labels = labels.repeat(coarse, 0).repeat(coarse, 1)[: size[0], : size[1]]
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8), np.ascontiguousarray(labels)


def test_blend_every_pixel_value_colour_and_opacity(kernels: Any) -> None:
    # 256 images values by 256 opacities, for colours that cover the range: all the sums that can occur are met.
    image = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2)
    rows = np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1)
    for start in range(0, 256, 3):
        colors = np.clip(np.arange(start, start + 3), 0, 255).astype(np.uint8)[None].repeat(256, 0)
        alpha = np.arange(256, dtype=np.uint8)
        for labels in (rows, np.ascontiguousarray(rows.T)):
            found = kernels.blend(image, labels, colors, alpha)
            np.testing.assert_array_equal(found, mixed(image, labels, colors, alpha))


@quick
@given(st.integers(0, 999), sizes, st.sampled_from([1, 3, 20]))
def test_blend(kernels: Any, seed: int, size: tuple[int, int], coarse: int) -> None:
    image, labels = scene(seed, size, coarse)
    labels[::7] = np.where(labels[::7] == 4, 255, labels[::7])
    expected = mixed(image, labels, COLORS, ALPHA)
    out = np.zeros_like(image)
    assert kernels.blend(image, labels, COLORS, ALPHA, out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(out[labels == 0], image[labels == 0])
    np.testing.assert_array_equal(out[labels == 1], np.broadcast_to(COLORS[1], out[labels == 1].shape))
    np.testing.assert_array_equal(kernels.blend(image, labels, COLORS, ALPHA, image), expected)  # In place.


def test_a_changed_palette_is_seen(kernels: Any) -> None:
    image, labels = scene(1, (20, 20))
    colors = COLORS.copy()
    kernels.blend(image, labels, colors, ALPHA)
    colors[2] ^= 255
    np.testing.assert_array_equal(kernels.blend(image, labels, colors, ALPHA), mixed(image, labels, colors, ALPHA))


@quick
@given(st.integers(0, 999), sizes, st.integers(1, 6), st.sampled_from([1, 5, 13]))
def test_contours(kernels: Any, seed: int, size: tuple[int, int], thickness: int, coarse: int) -> None:
    image, labels = scene(seed, size, coarse)
    before, after = thickness // 2, (thickness + 1) // 2
    padded = np.pad(labels, ((before, after), (before, after)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (before + after + 1,) * 2)
    line = windows.min(axis=(2, 3)) != windows.max(axis=(2, 3))
    expected = np.where(line[..., None], mixed(image, labels, COLORS, ALPHA), image)
    found = kernels.contours(image, labels, COLORS, ALPHA, thickness=thickness)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[labels == 0], image[labels == 0])


def test_contour_of_two_halves_is_as_wide_as_asked(kernels: Any) -> None:
    image, labels = np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.uint8)
    labels[:, 20:] = 1
    colors, alpha = np.full((256, 3), 200, np.uint8), np.full(256, 255, np.uint8)
    for thickness in (1, 2, 3, 4, 7):
        drawn = kernels.contours(image, labels, colors, alpha, thickness=thickness)[:, :, 0] == 200
        assert (drawn.sum(axis=1) == thickness).all()
        assert drawn[:, 19].all()
    assert not kernels.contours(image, np.zeros_like(labels), colors, alpha).any()


@quick
@given(st.integers(0, 999), sizes, st.integers(1, 256), st.sampled_from([1, 8, 33]))
def test_areas(kernels: Any, seed: int, size: tuple[int, int], classes: int, coarse: int) -> None:
    labels = scene(seed, size, coarse)[1]
    labels[labels == 3] = 255
    found = kernels.areas(labels, classes, ignore_index=255)
    counts = np.bincount(labels[labels != 255], minlength=256)[:classes]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, counts / labels.size)


def test_areas_ignore_a_class(kernels: Any) -> None:
    labels = np.array([[0, 1, 1, 2]], np.uint8)
    np.testing.assert_array_equal(kernels.areas(labels, 3, ignore_index=1), [0.25, 0.0, 0.25])


@pytest.mark.parametrize("name", ["blend", "contours"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, "image is 4x4 uint8, expected HxWx3 uint8"),
        ({"labels": np.zeros((4, 5), np.uint8)}, "labels are 4x5 uint8, expected 4x4 uint8"),
        ({"labels": np.zeros((4, 4), np.int64)}, "labels are 4x4 int64, expected 4x4 uint8"),
        ({"colors": np.zeros((19, 3), np.uint8)}, "colors are 19x3 uint8, expected 256x3 uint8"),
        ({"alpha": np.zeros(256)}, "alpha are 256 float64, expected 256 uint8"),
        ({"alpha": 0.5}, "alpha are float, expected 256 uint8"),
        ({"out": np.zeros((4, 4, 4), np.uint8)}, "out is 4x4x4 uint8, expected 4x4x3 uint8"),
    ],
)
def test_rubbish(kernels: Any, name: str, change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "image": np.zeros((4, 4, 3), np.uint8),
        "labels": np.zeros((4, 4), np.uint8),
        "colors": COLORS,
        "alpha": ALPHA,
    }
    with pytest.raises(ConfigError) as caught:
        getattr(kernels, name)(**{**good, **change})
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)


def test_rubbish_numbers(kernels: Any) -> None:
    image, labels = scene(0, (4, 4))
    with pytest.raises(ConfigError, match="thickness is 0, expected 1 to 99"):
        kernels.contours(image, labels, COLORS, ALPHA, thickness=0)
    with pytest.raises(ConfigError, match="classes is 300, expected 1 to 256"):
        kernels.areas(labels, 300)
    with pytest.raises(ConfigError, match="labels are 4x4x3 uint8, expected HxW uint8"):
        kernels.areas(image, 3)
