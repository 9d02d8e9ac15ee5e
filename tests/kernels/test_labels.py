"""labels and upsample_labels against float64 references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError, ModelError, RtsegError
from rtseg.geometry import Fit, fit
from tests.kernels.reference import check_labels, tame, upsampled

quick = settings(deadline=None, derandomize=True, max_examples=60)
grids = st.tuples(st.integers(1, 13), st.integers(1, 21))
frames = st.tuples(st.integers(1, 70), st.integers(1, 90))
seeds = st.integers(0, 2**32 - 1)
modes = st.sampled_from(["letterbox", "stretch", "crop"])


def softmax(scores: Any) -> Any:
    shares = np.exp(scores - scores.max(axis=0))
    return shares / shares.sum(axis=0)


def test_reference_is_torch_interpolate() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 7, 9))
    for size in ((40, 50), (7, 9), (3, 4)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(scores)[None], size=size, mode="bilinear", align_corners=False
        )[0].numpy()
        np.testing.assert_allclose(upsampled(scores, size)[0], expected, atol=1e-12)


@quick
@given(seeds, st.integers(2, 40), grids, frames, st.sampled_from([0.0, 0.1, 4.0]))
def test_stretched(
    kernels: Any, seed: int, classes: int, grid: tuple[int, int], size: tuple[int, int], smooth: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(classes, *grid)).astype(np.float32)
    logits[rng.integers(classes)] += smooth
    check_labels(kernels.labels(logits, size), *upsampled(logits, size))


@quick
@given(
    seeds,
    st.integers(2, 12),
    frames,
    st.sampled_from([1, 4, 8]),
    modes,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_placed(
    kernels: Any, seed: int, classes: int, size: tuple[int, int], stride: int, mode: Any, grid: tuple[int, int]
) -> None:
    place = fit(size, (grid[0] * stride, grid[1] * stride), mode)
    logits = np.random.default_rng(seed).normal(size=(classes, *grid)).astype(np.float32)
    found = kernels.labels(logits, size, fit=place, ignore_index=254)
    check_labels(found, *upsampled(logits, size, place), ignore=254)


@pytest.mark.parametrize("classes", [100, 255, 256])
def test_many_classes(kernels: Any, classes: int) -> None:
    logits = np.random.default_rng(classes).normal(size=(classes, 9, 17)).astype(np.float32)
    found = kernels.labels(logits, (65, 130))
    check_labels(found, *upsampled(logits, (65, 130)))
    assert found.max() > classes - 20


@quick
@given(seeds, st.integers(2, 9), grids, st.sampled_from([1, 2, 4, 8]))
def test_exact_with_lowest_class_on_ties(
    kernels: Any, seed: int, classes: int, grid: tuple[int, int], scale: int
) -> None:
    # Small whole numbers and weights that are multiples of 1/16: no rounding anywhere, ties everywhere.
    logits = np.random.default_rng(seed).integers(-1, 2, size=(classes, *grid)).astype(np.float32)
    size = (grid[0] * scale, grid[1] * scale)
    np.testing.assert_array_equal(kernels.labels(logits, size), upsampled(logits, size)[0].argmax(axis=0))


def test_a_constant_field_and_one_sample(kernels: Any) -> None:
    logits = np.array([0.0, 3.0, 3.0, 1.0], np.float32)
    np.testing.assert_array_equal(kernels.labels(logits.reshape(4, 1, 1), (33, 47)), np.full((33, 47), 1))
    field = np.ascontiguousarray(np.broadcast_to(logits[:, None, None], (4, 6, 5)))
    np.testing.assert_array_equal(kernels.labels(field, (33, 47)), np.full((33, 47), 1))


def test_differs_from_float64_hardly_ever(kernels: Any) -> None:
    logits = np.random.default_rng(3).normal(size=(19, 24, 48)).astype(np.float32)
    wrong = kernels.labels(logits, (400, 720)) != upsampled(logits, (400, 720))[0].argmax(axis=0)
    assert wrong.sum() <= 2


@quick
@given(seeds, grids, frames, st.sampled_from([np.float32, np.float16]), st.booleans())
def test_not_finite(
    kernels: Any, seed: int, grid: tuple[int, int], size: tuple[int, int], dtype: Any, positive: bool
) -> None:
    # Of one sign at a time: where huge values of both signs cancel, the rest is rounding and any class may win.
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, *grid)).astype(dtype)
    huge = np.finfo(dtype).max
    for value in (np.inf, huge) if positive else (np.nan, -np.inf, -huge):
        logits[rng.random(logits.shape) < 0.15] = value
    level = np.zeros(size, np.uint8)
    found = kernels.labels(logits, size, confidence=level)
    check_labels(found, *upsampled(tame(logits), size))
    np.testing.assert_array_equal(found, kernels.labels(logits, size))


def test_both_infinities_and_nan_together_are_only_labels(kernels: Any) -> None:
    rng = np.random.default_rng(1)
    logits = rng.choice(np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0], np.float32), size=(4, 9, 9))
    level = np.zeros((50, 60), np.uint8)
    found = kernels.labels(logits, (50, 60), confidence=level)
    assert found.max() < 4
    np.testing.assert_array_equal(found, kernels.labels(logits, (50, 60)))


def test_nan_never_wins_over_a_number(kernels: Any) -> None:
    logits = np.array([np.nan, -50.0, -60.0], np.float32)[:, None, None] + np.zeros((3, 4, 4), np.float32)
    assert (kernels.labels(logits, (20, 20)) == 1).all()
    assert (kernels.labels(np.full_like(logits, np.nan), (20, 20)) == 0).all()
    allowed = np.array([False, False, True])
    assert (kernels.labels(np.full_like(logits, np.nan), (20, 20), allowed=allowed) == 2).all()


def test_infinity_wins_where_it_has_weight(kernels: Any) -> None:
    logits = np.zeros((2, 3, 3), np.float32)
    logits[1, 1, 1] = np.inf
    found = kernels.labels(logits, (24, 24))
    expected = np.zeros((24, 24), np.uint8)
    expected[4:20, 4:20] = 1  # The four cells around the middle sample.
    np.testing.assert_array_equal(found, expected)


@quick
@given(seeds, grids, frames)
def test_allowed(kernels: Any, seed: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(7, *grid)).astype(np.float32)
    allowed = rng.random(7) < 0.5
    allowed[rng.integers(7)] = True
    level = np.empty(size, np.uint8)
    found = kernels.labels(logits, size, allowed=allowed, confidence=level)
    scores, inside = upsampled(logits, size)
    assert allowed[found].all()
    check_labels(found, np.where(allowed[:, None, None], scores, -1e30), inside)
    shares = softmax(scores[allowed])
    assert np.abs(level - 255 * shares.max(axis=0)).max() <= 0.51


@quick
@given(seeds, st.integers(2, 60), grids, frames, st.sampled_from([0.3, 3.0, 12.0]), modes)
def test_confidence(
    kernels: Any, seed: int, classes: int, grid: tuple[int, int], size: tuple[int, int], spread: float, mode: Any
) -> None:
    logits = (np.random.default_rng(seed).normal(size=(classes, *grid)) * spread).astype(np.float32)
    place = fit(size, (grid[0] * 8, grid[1] * 8), mode)
    level = np.full(size, 77, np.uint8)
    found = kernels.labels(logits, size, fit=place, confidence=level)
    scores, inside = upsampled(logits, size, place)
    check_labels(found, scores, inside)
    expected = np.where(inside, 255 * softmax(scores).max(axis=0), 0)
    assert np.abs(level - expected).max() <= 0.51
    np.testing.assert_array_equal(found, kernels.labels(logits, size, fit=place))


@pytest.mark.parametrize("rivals", [1, 7])
def test_confidence_where_it_rounds_to_255(kernels: Any, rivals: int) -> None:
    lead = np.linspace(3, 10, 500, dtype=np.float32)[None].repeat(3, 0)
    logits = np.concatenate([np.zeros((rivals, 3, 500), np.float32), lead[None]])
    level = np.empty((6, 1500), np.uint8)
    assert (kernels.labels(logits, (6, 1500), confidence=level) == rivals).all()
    expected = 255 / (1 + rivals * np.exp(-upsampled(logits, (6, 1500))[0][-1]))
    assert np.abs(level - expected).max() <= 0.51
    assert level.min() < 245
    assert level.max() == 255


@quick
@given(seeds, grids, frames)
def test_probabilities(kernels: Any, seed: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    shares = softmax(np.random.default_rng(seed).normal(size=(6, *grid)) * 3).astype(np.float32)
    level = np.empty(size, np.uint8)
    found = kernels.labels(shares, size, kind="probabilities", confidence=level)
    scores, inside = upsampled(shares, size)
    check_labels(found, scores, inside)
    assert np.abs(level - 255 * scores.max(axis=0).clip(0, 1)).max() <= 0.51


def test_probabilities_out_of_range_are_cut(kernels: Any) -> None:
    level = np.empty((4, 4), np.uint8)
    kernels.labels(np.array([1.5, 0.0], np.float32).reshape(2, 1, 1), (4, 4), kind="probabilities", confidence=level)
    assert (level == 255).all()
    kernels.labels(np.array([-1.5, -2.0], np.float32).reshape(2, 1, 1), (4, 4), kind="probabilities", confidence=level)
    assert (level == 0).all()


@quick
@given(seeds, grids, frames, st.booleans())
def test_binary(kernels: Any, seed: int, grid: tuple[int, int], size: tuple[int, int], probabilities: bool) -> None:
    logits = np.random.default_rng(seed).normal(size=(1, *grid)).astype(np.float32)
    if probabilities:
        logits = 1 / (1 + np.exp(-logits))
    level = np.empty(size, np.uint8)
    found = kernels.labels(logits, size, kind="probabilities" if probabilities else "logits", confidence=level)
    score = upsampled(logits, size)[0][0]
    threshold = 0.5 if probabilities else 0.0
    clear = np.abs(score - threshold) > 1e-5
    np.testing.assert_array_equal(found[clear], (score > threshold)[clear])
    share = score if probabilities else 1 / (1 + np.exp(-score))
    assert np.abs(level - 255 * np.maximum(share, 1 - share)).max() <= 0.52


def test_binary_threshold_is_exclusive(kernels: Any) -> None:
    assert (kernels.labels(np.zeros((1, 2, 2), np.float32), (5, 5)) == 0).all()
    assert (kernels.labels(np.full((1, 2, 2), 0.5, np.float32), (5, 5), kind="probabilities") == 0).all()
    assert (kernels.labels(np.full((1, 2, 2), 1e-6, np.float32), (5, 5)) == 1).all()


def test_writes_into_out_and_accepts_views(kernels: Any) -> None:
    logits = np.random.default_rng(5).normal(size=(6, 8, 3)).astype(np.float32)
    out = np.empty((30, 40), np.uint8)
    view = logits.transpose(2, 0, 1)
    assert kernels.labels(view, (30, 40), out=out) is out
    np.testing.assert_array_equal(out, kernels.labels(np.ascontiguousarray(view), (30, 40)))


def test_crop_that_shows_nothing_and_thin_frames(kernels: Any) -> None:
    logits = np.ones((2, 4, 4), np.float32)
    nothing = Fit((6, 6), (32, 32), -100, 0, 32, 32)
    level = np.full((6, 6), 9, np.uint8)
    assert (kernels.labels(logits, (6, 6), fit=nothing, confidence=level) == 255).all()
    assert (level == 0).all()
    for size in ((1, 200), (200, 1), (1, 1)):
        assert (kernels.labels(logits, size) == 0).all()


@pytest.mark.parametrize(
    ("logits", "kwargs", "error", "words"),
    [
        (np.zeros((4, 4), np.float32), {}, ModelError, "logits are 4x4 float32, expected (classes, height, width)"),
        (np.zeros((1, 2, 4, 4), np.float32), {}, ModelError, "logits are 1x2x4x4 float32"),
        (np.zeros((2, 4, 4), np.int64), {}, ModelError, "logits are 2x4x4 int64"),
        (np.zeros((2, 0, 4), np.float32), {}, ModelError, "logits are 2x0x4"),
        (np.zeros((257, 2, 2), np.float32), {}, ModelError, "257 classes, expected at most 256"),
        ([[1.0]], {}, ModelError, "logits are list"),
        (None, {"size": (0, 5)}, ConfigError, "size is (0, 5), expected (height, width)"),
        (None, {"size": 7}, ConfigError, "size is 7"),
        (None, {"kind": "labels"}, ConfigError, "kind is 'labels', expected one of logits, probabilities"),
        (None, {"out": np.empty((8, 9), np.uint8)}, ConfigError, "out is 8x9 uint8, expected 8x8 uint8"),
        (None, {"out": np.empty((8, 8), np.int32)}, ConfigError, "out is 8x8 int32"),
        (None, {"out": np.empty((8, 16), np.uint8)[:, ::2]}, ConfigError, "not C-contiguous"),
        (None, {"confidence": np.empty((8, 8), np.float32)}, ConfigError, "confidence is 8x8 float32"),
        (None, {"allowed": np.ones(3, bool)}, ConfigError, "allowed is 3 bool, expected 2 bool"),
        (None, {"allowed": np.zeros(2, bool)}, ConfigError, "allowed rules out all 2 classes"),
        (None, {"ignore_index": 256}, ConfigError, "ignore_index is 256"),
        (None, {"fit": Fit((9, 9), (4, 4), 0, 0, 4, 4)}, ConfigError, "fit was made for a frame of (9, 9)"),
    ],
)
def test_rubbish(kernels: Any, logits: Any, kwargs: dict[str, Any], error: type[RtsegError], words: str) -> None:
    logits = np.zeros((2, 4, 4), np.float32) if logits is None else logits
    with pytest.raises(error) as caught:
        kernels.labels(logits, **{"size": (8, 8), **kwargs})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@quick
@given(seeds, grids, frames, modes)
def test_upsample_labels(kernels: Any, seed: int, grid: tuple[int, int], size: tuple[int, int], mode: Any) -> None:
    ids = np.random.default_rng(seed).integers(0, 250, grid).astype(np.uint8)
    place = fit(size, (grid[0] * 4, grid[1] * 4), mode)
    found = kernels.upsample_labels(ids, size, fit=place)
    y = ((2 * np.arange(size[0]) + 1) * place.height + 2 * size[0] * place.top) * grid[0]
    x = ((2 * np.arange(size[1]) + 1) * place.width + 2 * size[1] * place.left) * grid[1]
    row, column = y // (2 * size[0] * place.network[0]), x // (2 * size[1] * place.network[1])
    inside = ((row >= 0) & (row < grid[0]))[:, None] & (column >= 0) & (column < grid[1])
    expected = ids[row.clip(0, grid[0] - 1)][:, column.clip(0, grid[1] - 1)]
    np.testing.assert_array_equal(found, np.where(inside, expected, 255))


def test_upsample_labels_same_size_is_a_copy_and_stretches(kernels: Any) -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(kernels.upsample_labels(ids, (3, 4)), ids)
    np.testing.assert_array_equal(kernels.upsample_labels(ids, (6, 8)), ids.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ConfigError, match="labels are 3x4 int64, expected HxW uint8"):
        kernels.upsample_labels(ids.astype(np.int64), (6, 8))  # type: ignore[arg-type]
