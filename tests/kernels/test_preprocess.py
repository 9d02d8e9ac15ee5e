"""preprocess against float64 torch and against Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rtseg.errors import ConfigError
from rtseg.geometry import Fit, fit
from rtseg.packages.spec import ModelSpec
from tests.kernels.reference import network_input

quick = settings(deadline=None, derandomize=True, max_examples=80)
RAW: dict[str, Any] = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec(name="test", classes=("a", "b"), **fields)


def picture(seed: int, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@quick
@given(
    st.integers(0, 1000),
    st.tuples(st.integers(1, 70), st.integers(1, 90)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from(["letterbox", "stretch", "crop"]),
    st.booleans(),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from(["RGB", "BGR"]),
)
def test_float32_is_torch(
    kernels: Any,
    seed: int,
    frame: tuple[int, int],
    network: tuple[int, int],
    mode: Any,
    antialias: bool,
    layout: Any,
    channels: Any,
) -> None:
    image, place, model = picture(seed, frame), fit(frame, network, mode), spec(layout=layout, channels=channels)
    out = np.full((1, 3, *network) if layout == "NCHW" else (1, *network, 3), np.nan, np.float32)
    assert kernels.preprocess(image, model, place, out, antialias=antialias) is out
    found = out if layout == "NCHW" else out.transpose(0, 3, 1, 2)
    # 2e-5 of a normalised value is a thousandth of a grey level.
    np.testing.assert_allclose(found, network_input(image, model, place, antialias), atol=2e-5)


@pytest.mark.parametrize(("frame", "network"), [((270, 480), (64, 128)), ((48, 60), (96, 128)), ((333, 77), (40, 200))])
def test_uint8_is_pillow_but_for_its_rounding_between_passes(
    kernels: Any, frame: tuple[int, int], network: tuple[int, int]
) -> None:
    image = picture(1, frame)
    found = kernels.preprocess(
        image, spec(dtype="uint8", channels="BGR", layout="NHWC"), fit(frame, network, "stretch")
    )
    assert found.dtype == np.uint8
    size = (network[1], network[0])
    expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    assert np.abs(found[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_other_types(kernels: Any, mode: Any, dtype: Any, layout: Any) -> None:
    image, model = picture(2, (50, 90)), spec(dtype=dtype, layout=layout)
    place = fit((50, 90), (32, 40), mode)
    found = kernels.preprocess(image, model, place)
    found = found if layout == "NCHW" else found.transpose(0, 3, 1, 2)
    difference = np.abs(found.astype(float) - network_input(image, model, place, True)).max()
    assert found.dtype == dtype
    assert difference < (0.5001 if dtype == "uint8" else 2e-3)


def test_identity_is_exact(kernels: Any) -> None:
    image = picture(3, (21, 37))
    found = kernels.preprocess(image, spec(**RAW), fit((21, 37), (21, 37)))
    np.testing.assert_array_equal(found[0], image[:, :, ::-1].transpose(2, 0, 1))
    raw = kernels.preprocess(image, spec(dtype="uint8"), fit((21, 37), (21, 37)))
    np.testing.assert_array_equal(raw[0], image[:, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_a_flat_picture_stays_flat(kernels: Any, value: int) -> None:
    image = np.full((123, 211, 3), value, np.uint8)
    for size in ((64, 64), (300, 301), (5, 210)):
        found = kernels.preprocess(image, spec(dtype="uint8"), fit((123, 211), size, "stretch"))
        assert (found == value).all()


def test_letterbox_border_is_the_mean_colour(kernels: Any) -> None:
    image = np.full((10, 40, 3), 255, np.uint8)
    place = fit((10, 40), (40, 40))
    tensor = kernels.preprocess(image, spec(), place, np.full((1, 3, 40, 40), 9, np.float32))
    assert (tensor[:, :, :15] == 0).all()
    assert (tensor[:, :, 25:] == 0).all()
    assert (tensor[:, :, 15:25] > 2).all()
    raw = kernels.preprocess(image, spec(dtype="uint8"), place)
    np.testing.assert_array_equal(raw[0, :, 0, 0], [124, 116, 104])  # 0.485, 0.456, 0.406 times 255


def test_antialias_matters_only_when_shrinking(kernels: Any) -> None:
    image = picture(4, (64, 64))
    for network, same in (((32, 32), False), ((100, 90), True)):
        place = fit((64, 64), network, "stretch")
        sharp, soft = (kernels.preprocess(image, spec(), place, antialias=antialias) for antialias in (False, True))
        assert np.array_equal(sharp, soft) is same


def test_views_are_read_and_frame_outside_the_network_is_all_border(kernels: Any) -> None:
    wide = picture(5, (20, 60))
    view = wide[:, ::2]
    place = fit((20, 30), (16, 24))
    np.testing.assert_array_equal(
        kernels.preprocess(view, spec(), place), kernels.preprocess(np.ascontiguousarray(view), spec(), place)
    )
    away = Fit((20, 30), (16, 24), 0, 24, 16, 24)
    assert (kernels.preprocess(view, spec(), away) == 0).all()


@pytest.mark.parametrize(
    ("image", "out", "words"),
    [
        (np.zeros((8, 8), np.uint8), None, "image is 8x8 uint8, expected HxWx3 uint8 in BGR order"),
        (np.zeros((8, 8, 4), np.uint8), None, "image is 8x8x4 uint8"),
        (np.zeros((8, 8, 3), np.float32), None, "image is 8x8x3 float32"),
        (np.zeros((0, 8, 3), np.uint8), None, "image is 0x8x3 uint8"),
        (None, None, "image is NoneType"),
        (np.zeros((9, 8, 3), np.uint8), None, "image is 9x8, but fit was made for (8, 8)"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 4, 5), np.float32), "out is 1x3x4x5 float32, expected 1x3x4x4"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 4, 4)), "out is 1x3x4x4 float64, expected 1x3x4x4 float32"),
    ],
)
def test_rubbish(kernels: Any, image: Any, out: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kernels.preprocess(image, spec(), fit((8, 8), (4, 4)), out)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_only_out(kernels: Any) -> None:
    out = np.zeros((1, 3, 4, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(ConfigError, match="read-only"):
        kernels.preprocess(np.zeros((8, 8, 3), np.uint8), spec(), fit((8, 8), (4, 4)), out)
