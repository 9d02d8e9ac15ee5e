"""kernels.cu, on the CPU or a GPU, against kernels/cpu.py: the same bits, by every kernel, in any order of threads."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError
from rtseg.geometry import Fit, fit
from rtseg.kernels import cpu, pixels
from rtseg.kernels import launch as plans
from rtseg.kernels.cuda import Kernels
from rtseg.kernels.launch import Drawing, Plane
from rtseg.packages.spec import ModelSpec
from tests import gpu
from tests.kernels.conftest import twin
from tests.kernels.host import HostDevice, library

ON_GPU = gpu.chosen != "none"
pytestmark = [pytest.mark.gpu] if ON_GPU else []
WAYS = ("gpu", "gpu-pixels") if ON_GPU else ("host", "host-pixels", "host-backwards", "host-pixels-backwards")
quick = settings(deadline=None, derandomize=True, max_examples=50)
seeds = st.integers(0, 2**32 - 1)
frames = st.tuples(st.integers(1, 80), st.integers(1, 300))
networks = st.tuples(st.integers(1, 50), st.integers(1, 290))
grids = st.tuples(st.integers(1, 13), st.integers(1, 21))
modes = st.sampled_from(["letterbox", "stretch", "crop"])
COLORS = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, 256).astype(np.uint8)


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec(name="test", classes=("a", "b"), **fields)


def same(found: Any, expected: Any) -> None:
    """Equal to the bit."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert found.tobytes() == expected.tobytes()


def labels_agree(way: str, logits: Any, size: tuple[int, int], *, confidence: bool, **options: Any) -> str:
    """Compare labels (and confidence); returns the kernel that made them."""
    kernels, level, expected_level = twin(way), None, None
    if confidence:
        level, expected_level = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    found = kernels.labels(logits, size, confidence=level, **options)
    same(found, cpu.labels(logits, size, confidence=expected_level, **options))
    if confidence:
        same(level, expected_level)
    launched: list[str] = kernels.device.launched  # type: ignore[attr-defined]
    return launched[-1]


def test_structs_are_those_of_the_source() -> None:
    assert {name: library().host_size(name.encode()) for name in plans.KERNELS} == {
        name: struct.itemsize for name, struct in plans.KERNELS.items()
    }
    assert library().host_size(b"none") == -1


@quick
@given(
    seeds,
    frames,
    networks,
    modes,
    st.booleans(),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from(["RGB", "BGR"]),
    st.sampled_from(["float32", "float16", "uint8"]),
    st.sampled_from(WAYS),
)
def test_preprocess(
    seed: int,
    frame: tuple[int, int],
    network: tuple[int, int],
    mode: Any,
    antialias: bool,
    layout: Any,
    channels: Any,
    dtype: Any,
    way: str,
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*frame, 3), dtype=np.uint8)
    model, place = spec(layout=layout, channels=channels, dtype=dtype), fit(frame, network, mode)
    found = twin(way).preprocess(image, model, place, antialias=antialias)
    same(found, cpu.preprocess(image, model, place, antialias=antialias))


@pytest.mark.parametrize(
    ("frame", "network"),
    [
        ((1, 1), (1, 1)),
        ((37, 1110), (10, 300)),  # Shrunk by 3.7: a block's pixels take three rounds of shared memory.
        ((3, 9000), (2, 5)),  # Shrunk by 1800: the taps of one pixel take eight.
        ((9000, 3), (5, 2)),
        ((8, 8), (64, 700)),
        ((270, 480), (128, 256)),
    ],
)
@pytest.mark.parametrize("mode", ["letterbox", "stretch", "crop"])
def test_preprocess_far_from_usual(frame: tuple[int, int], network: tuple[int, int], mode: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*frame, 3), dtype=np.uint8)
    place = fit(frame, network, mode)
    same(twin(WAYS[0]).preprocess(image, spec(), place), cpu.preprocess(image, spec(), place))


def spaced(array: Any, pad: int) -> Any:
    """The rows of an array with `pad` bytes of rubbish after each."""
    length = int(np.prod(array.shape[1:]))
    rows = np.full((len(array), length + pad), 201, np.uint8)
    rows[:, :length] = array.reshape(len(array), length)
    return rows


def pitched(array: Any, pad: int) -> Any:
    """A copy whose rows lie `pad` bytes further apart."""
    rows = spaced(array, pad)
    return np.lib.stride_tricks.as_strided(rows, array.shape, (rows.shape[1], *array.strides[1:]))


@quick
@given(
    seeds,
    st.tuples(st.integers(1, 40), st.integers(1, 60)),
    st.tuples(st.integers(1, 30), st.integers(1, 40)),
    st.sampled_from(["bgr8", "rgb8", "bgra8", "mono8"]),
    st.integers(0, 9),
    st.sampled_from(["RGB", "BGR"]),
    modes,
)
def test_pixel_formats_with_any_pitch(
    seed: int, frame: tuple[int, int], network: tuple[int, int], name: Any, pad: int, channels: Any, mode: Any
) -> None:
    shape = {"bgr8": (3,), "rgb8": (3,), "bgra8": (4,), "mono8": ()}[name]
    image = np.random.default_rng(seed).integers(0, 256, (*frame, *shape), dtype=np.uint8)
    model, place = spec(channels=channels, dtype="float16"), fit(frame, network, mode)
    found = twin(WAYS[0]).preprocess_picture(pitched(image, pad), name, model, place)
    same(found, cpu.preprocess(pixels.to_bgr(image, name), model, place))


@quick
@given(
    seeds,
    st.tuples(st.integers(1, 40), st.integers(1, 60)),
    st.tuples(st.integers(1, 30), st.integers(1, 40)),
    st.integers(0, 5),
    st.sampled_from(["bt601", "bt709"]),
    st.booleans(),
)
def test_nv12_of_even_and_odd_sizes(
    seed: int, frame: tuple[int, int], network: tuple[int, int], pad: int, matrix: Any, full: bool
) -> None:
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, frame, dtype=np.uint8)
    chroma = rng.integers(0, 256, ((frame[0] + 1) // 2, (frame[1] + 1) // 2, 2), dtype=np.uint8)
    place = fit(frame, network)
    found = twin(WAYS[0]).preprocess_picture(
        pitched(luma, pad), "nv12", spec(), place, chroma=pitched(chroma, 2 * pad), matrix=matrix, full_range=full
    )
    same(found, cpu.preprocess(pixels.nv12_to_bgr(luma, chroma, matrix, full), spec(), place))


def test_nv12_is_that_of_opencv() -> None:
    rng = np.random.default_rng(0)
    luma, chroma = rng.integers(16, 256, (64, 96), dtype=np.uint8), rng.integers(0, 256, (32, 48, 2), dtype=np.uint8)
    expected = cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2BGR_NV12)
    found = pixels.nv12_to_bgr(luma, chroma)
    # OpenCV's weights are those of the standard cut to three digits.
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_yuv_of_greys_and_primaries(matrix: Any) -> None:
    grey = np.array([[16, 235, 126, 0, 255]], np.uint8)
    neutral = np.full((1, 3, 2), 128, np.uint8)
    np.testing.assert_array_equal(pixels.nv12_to_bgr(grey, neutral, matrix)[0, :, 0], [0, 255, 128, 0, 255])
    np.testing.assert_array_equal(pixels.nv12_to_bgr(grey, neutral, matrix, True)[0, :, 0], grey[0])
    red, blue = pixels.LUMA_SHARES[matrix]
    for color, share in (((0, 0, 255), red), ((255, 0, 0), blue), ((0, 255, 0), 1 - red - blue)):
        b, r = color[0] / 255, color[2] / 255
        u, v = (b - share) / (2 * (1 - blue)), (r - share) / (2 * (1 - red))
        luma = np.array([[round(16 + 219 * share)]], np.uint8)
        chroma = np.array([[[round(128 + 224 * u), round(128 + 224 * v)]]], np.uint8)
        assert np.abs(pixels.nv12_to_bgr(luma, chroma, matrix)[0, 0].astype(int) - color).max() <= 2


@quick
@given(
    seeds,
    st.sampled_from([1, 2, 3, 7, 8, 9, 19, 33, 150, 256]),
    grids,
    frames,
    st.sampled_from([np.float32, np.float16]),
    st.sampled_from(["logits", "probabilities"]),
    st.booleans(),
    modes,
    st.sampled_from(WAYS),
    st.sampled_from([0.2, 2.0, 15.0]),
)
def test_labels(
    seed: int,
    classes: int,
    grid: tuple[int, int],
    size: tuple[int, int],
    dtype: Any,
    kind: Any,
    confidence: bool,
    mode: Any,
    way: str,
    spread: float,
) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(classes, *grid)) * spread).astype(dtype)
    if kind == "probabilities":
        logits = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(dtype)
    allowed = None
    if seed % 3 == 0:
        allowed = rng.random(max(classes, 2)) < 0.5
        allowed[rng.integers(allowed.size)] = True
    place = fit(size, (grid[0] * 8, grid[1] * 8), mode)
    labels_agree(way, logits, size, confidence=confidence, kind=kind, allowed=allowed, fit=place, ignore_index=254)


@quick
@given(seeds, st.integers(1, 20), grids, frames, st.sampled_from([np.float32, np.float16]), st.sampled_from(WAYS))
def test_labels_of_ties(
    seed: int, classes: int, grid: tuple[int, int], size: tuple[int, int], dtype: Any, way: str
) -> None:
    logits = np.random.default_rng(seed).integers(-1, 2, size=(classes, *grid)).astype(dtype)
    labels_agree(way, logits, size, confidence=seed % 2 == 0)


@quick
@given(seeds, st.integers(1, 9), grids, frames, st.sampled_from([np.float32, np.float16]), st.sampled_from(WAYS))
def test_labels_of_what_is_not_finite(
    seed: int, classes: int, grid: tuple[int, int], size: tuple[int, int], dtype: Any, way: str
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(classes, *grid)).astype(dtype)
    huge = np.finfo(dtype).max
    for value in (np.nan, np.inf, -np.inf, huge, -huge):
        logits[rng.random(logits.shape) < 0.1] = value
    labels_agree(way, logits, size, confidence=seed % 2 == 0)


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("classes", [2, 19, 256])
def test_labels_of_a_usual_size_go_by_tiles(classes: int, confidence: bool) -> None:
    rng = np.random.default_rng(classes)
    coarse = rng.normal(size=(classes, 5, 8)).repeat(5, 1).repeat(5, 2).astype(np.float32)
    logits = coarse + rng.normal(size=coarse.shape).astype(np.float32) * np.float32(0.1)
    kernel = labels_agree("host", logits, (420, 700), confidence=confidence)
    assert kernel == "label_tiles_f32"


@pytest.mark.parametrize("way", WAYS)
def test_confidence_where_it_rounds_to_255(way: str) -> None:
    lead = np.linspace(3, 10, 300, dtype=np.float32)[None].repeat(3, 0)
    logits = np.concatenate([np.zeros((3, 3, 300), np.float32), lead[None]])
    labels_agree(way, logits, (6, 900), confidence=True)


def test_every_tile_is_used_and_small_frames_go_by_pixels() -> None:
    chosen = set()
    for grid, size in (((8, 16), (128, 256)), ((60, 300), (64, 330)), ((30, 60), (9, 20)), ((60, 80), (60, 80))):
        logits = np.random.default_rng(1).normal(size=(40, *grid)).astype(np.float16)
        place = fit(size, grid, "stretch")
        tile = plans._choose_tile(plans.label_tables(place, grid), grid, 40, (0, 0))
        chosen.add(tile and tile[0])
        kernel = labels_agree("host", logits, size, confidence=True, fit=place)
        assert kernel == ("label_tiles_f16" if tile else "label_pixels_f16")
    assert len(chosen) >= 3
    assert None in chosen


def test_labels_of_a_frame_outside_the_network() -> None:
    logits = np.ones((2, 4, 4), np.float32)
    for way in WAYS:
        labels_agree(way, logits, (6, 6), confidence=True, fit=Fit((6, 6), (32, 32), -100, 0, 32, 32))


@quick
@given(seeds, frames, st.integers(1, 8), st.sampled_from(["fill", "line", "both"]), modes, st.sampled_from(WAYS))
def test_labels_and_overlay_in_one_launch(
    seed: int, size: tuple[int, int], thickness: int, drawn: str, mode: Any, way: str
) -> None:
    rng = np.random.default_rng(seed)
    logits, image = rng.normal(size=(5, 6, 9)).astype(np.float32), rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    place = fit(size, (48, 72), mode)
    fill, line = (COLORS, ALPHA), (COLORS[::-1].copy(), ALPHA[::-1].copy())
    kernels, level = twin(way), np.empty(size, np.uint8)
    labels, overlay = kernels.labels_and_overlay(
        logits,
        image,
        fill=None if drawn == "line" else fill,
        line=None if drawn == "fill" else line,
        thickness=thickness,
        fit=place,
        confidence=level,
    )
    expected_level = np.empty(size, np.uint8)
    same(labels, cpu.labels(logits, size, fit=place, confidence=expected_level))
    same(level, expected_level)
    expected = image if drawn == "line" else cpu.blend(image, labels, *fill)
    same(overlay, expected if drawn == "fill" else cpu.contours(expected, labels, *line, thickness=thickness))
    assert len(kernels.device.launched) == 1  # type: ignore[attr-defined]


def test_thick_contours_are_a_launch_of_their_own() -> None:
    logits, image = np.zeros((2, 4, 4), np.float32), np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ConfigError, match="thickness is 9, expected 1 to 8 pixels in one launch with labels"):
        twin(WAYS[0]).labels_and_overlay(logits, image, line=(COLORS, ALPHA), thickness=9)


@quick
@given(seeds, frames, st.sampled_from([1, 2, 3, 4, 5, 8, 9, 20, 99]), st.sampled_from([1, 7, 30]))
def test_drawing_and_counting(seed: int, size: tuple[int, int], thickness: int, coarse: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    small = rng.integers(0, 256, (size[0] // coarse + 1, size[1] // coarse + 1), dtype=np.uint8)
    labels = np.ascontiguousarray(small.repeat(coarse, 0).repeat(coarse, 1)[: size[0], : size[1]])
    for way in ("host", "host-backwards"):
        kernels = twin(way)
        same(kernels.blend(image, labels, COLORS, ALPHA), cpu.blend(image, labels, COLORS, ALPHA))
        same(
            kernels.contours(image, labels, COLORS, ALPHA, thickness=thickness),
            cpu.contours(image, labels, COLORS, ALPHA, thickness=thickness),
        )
        same(kernels.areas(labels, 200, 7), cpu.areas(labels, 200, 7))
        same(kernels.upsample_labels(small, size), cpu.upsample_labels(small, size))


@pytest.mark.parametrize("pad", [0, 3, 4, 16])
@pytest.mark.parametrize("size", [(5, 7), (18, 140), (33, 257)])
def test_rows_may_lie_apart_and_what_is_between_them_stays(size: tuple[int, int], pad: int) -> None:
    rng = np.random.default_rng(pad)
    height, width = size
    image, labels = rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.integers(0, 3, size, dtype=np.uint8)
    device = HostDevice()
    source, frame = device.upload(spaced(labels, pad)), device.upload(spaced(image, pad))
    overlay = device.upload(np.full((height, 3 * width + pad), 99, np.uint8))
    colors = device.upload(plans.pigments(COLORS, ALPHA))
    drawing = Drawing(
        Plane(frame.address, 3 * width + pad), Plane(overlay.address, 3 * width + pad), colors.address, colors.address
    )
    device.launch(plans.paint(Plane(source.address, width + pad), size, drawing))
    found = np.empty((height, 3 * width + pad), np.uint8)
    device.download(overlay, found)
    assert (found[:, 3 * width :] == 99).all()
    expected = cpu.contours(cpu.blend(image, labels, COLORS, ALPHA), labels, COLORS, ALPHA)
    same(np.ascontiguousarray(found[:, : 3 * width]).reshape(image.shape), expected)
    counts = device.empty(1024)
    for launch in plans.areas(Plane(source.address, width + pad), size, counts.address):
        device.launch(launch)
    total = np.empty(256, np.uint32)
    device.download(counts, total)
    np.testing.assert_array_equal(total, np.bincount(labels.ravel(), minlength=256))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (50, 300)])
def test_a_label_map_and_its_overlay_in_one_launch(size: tuple[int, int], backwards: bool) -> None:
    rng = np.random.default_rng(4)
    image, small = rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.integers(0, 4, (9, 31), dtype=np.uint8)
    device, place = HostDevice(backwards=backwards), fit(size, (36, 124), "letterbox")
    made = plans.nearest_tables(place, (9, 31))
    table, source, frame = device.upload(made.data), device.upload(small), device.upload(image)
    result, overlay = device.empty(size[0] * size[1]), device.empty(image.nbytes)
    colors, pitch = device.upload(plans.pigments(COLORS, ALPHA)), 3 * size[1]
    drawing = Drawing(Plane(frame.address, pitch), Plane(overlay.address, pitch), 0, colors.address, 5)
    labels = Plane(result.address, size[1])
    device.launch(plans.nearest(Plane(source.address, 31), place, made, table.address, labels=labels, drawing=drawing))
    found, drawn = np.empty(size, np.uint8), np.empty_like(image)
    device.download(result, found)
    device.download(overlay, drawn)
    same(found, cpu.upsample_labels(small, size, fit=place))
    same(drawn, cpu.contours(image, found, COLORS, ALPHA, thickness=5))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_label_maps_of_wider_integers(dtype: type) -> None:
    size, grid = (33, 70), (8, 17)
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 255, grid).astype(dtype)
    wide[0, :4] = [-1, 255, 256, np.iinfo(dtype).max]
    device, place = HostDevice(), fit(size, (32, 68))
    made = plans.nearest_tables(place, grid)
    table, source, result = device.upload(made.data), device.upload(wide), device.empty(size[0] * size[1])
    where = Plane(source.address, wide.strides[0])
    device.launch(plans.nearest(where, place, made, table.address, dtype=dtype, labels=Plane(result.address, size[1])))
    found = np.empty(size, np.uint8)
    device.download(result, found)
    expected = np.where((wide < 0) | (wide > 254), 255, wide).astype(np.uint8)
    same(found, cpu.upsample_labels(expected, size, fit=place))
    with pytest.raises(ConfigError, match="the label map is float32, expected uint8, int32, int64"):
        plans.nearest(where, place, made, table.address, dtype=np.float32)


def test_overlay_in_place() -> None:
    rng = np.random.default_rng(2)
    image, labels = rng.integers(0, 256, (40, 150, 3), dtype=np.uint8), rng.integers(0, 9, (40, 150), dtype=np.uint8)
    device = HostDevice()
    source, frame = device.upload(labels), device.upload(image)
    colors, plane = device.upload(plans.pigments(COLORS, ALPHA)), Plane(frame.address, 450)
    device.launch(plans.paint(Plane(source.address, 150), (40, 150), Drawing(plane, plane, colors.address)))
    found = np.empty_like(image)
    device.download(frame, found)
    same(found, cpu.blend(image, labels, COLORS, ALPHA))


def test_the_functions_are_those_of_the_definition() -> None:
    for name in ("preprocess", "labels", "upsample_labels", "blend", "contours", "areas"):
        assert getattr(Kernels, name).__doc__ == getattr(cpu, name).__doc__


def test_the_watch_on_buffers_sees_a_stray_byte() -> None:
    memory = HostDevice().empty(10)
    memory.check()
    memory._bytes[memory._start + 10] = 0
    with pytest.raises(AssertionError, match="a kernel wrote outside its buffer"):
        memory.check()
