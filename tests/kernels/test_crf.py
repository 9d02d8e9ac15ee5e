"""The dense CRF against the fully connected mean field written out in float64, and what it is known to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.errors import ConfigError, ModelError
from rtseg.geometry import Fit, fit
from rtseg.kernels import cpu
from rtseg.kernels.crf_settings import Crf
from rtseg.packages.spec import ModelSpec
from tests.kernels.reference import upsampled

STRONG = Crf(appearance=3.0, smoothness=1.0, theta_alpha=4.0, theta_beta=20.0, theta_gamma=1.5)


def log_softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    scores = scores - scores.max(0)
    return np.asarray(scores - np.log(np.exp(scores).sum(0)))


def dense(scores: NDArray[Any], picture: NDArray[Any], settings: Crf) -> NDArray[np.float64]:
    """Mean field over all pairs within the window as in Krähenbühl & Koltun (2011), equation 4, with N x N matrices."""
    classes, height, width = scores.shape
    place = np.stack(np.divmod(np.arange(height * width), width), 1).astype(float)
    colour = picture.reshape(3, -1).T.astype(float)
    step = place[:, None] - place
    square, unlike = (step**2).sum(-1), ((colour[:, None] - colour) ** 2).sum(-1)
    near = np.abs(step).max(-1) <= settings.radius
    appearance = np.exp(-square / (2 * settings.theta_alpha**2) - unlike / (2 * settings.theta_beta**2))
    smoothness = np.exp(-square / (2 * settings.theta_gamma**2))
    potts = 1 - np.eye(classes)
    pairs = np.zeros_like(appearance)
    for kernel, strength in ((appearance, settings.appearance), (smoothness, settings.smoothness)):
        kernel = kernel * near * (1 - np.eye(len(kernel)))
        norm = 1 / np.sqrt(kernel.sum(1) + 1e-6)
        pairs += strength * norm[:, None] * kernel * norm
    unary = scores.reshape(classes, -1).astype(float)
    result = log_softmax(unary)
    for _ in range(settings.iterations):
        penalty = potts @ (np.exp(result) @ pairs)
        # Potts' penalty is what the neighbours believe in other classes.
        result = log_softmax(unary - penalty)
    return result.reshape(scores.shape)


def case(shape: tuple[int, int, int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores, and a picture half of which is smooth."""
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0, 255, (3, *shape[1:]))
    picture[:, :, shape[2] // 2 :] = picture[:, :, shape[2] // 2 :] * 0.1 + 60
    return rng.normal(0, 2, shape).astype(np.float32), picture.astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((5, 9, 13), Crf(radius=13)),
        ((2, 7, 16), Crf(radius=16, iterations=1, theta_beta=40.0)),
        ((6, 12, 10), Crf(radius=12, iterations=10, appearance=6.0, smoothness=0.0, theta_beta=60.0)),
        ((4, 1, 5), Crf(radius=5, appearance=0.0, smoothness=3.0)),
        ((3, 20, 17), Crf(radius=3)),
        ((11, 12, 24), STRONG),
    ],
)
def test_it_is_the_mean_field_of_the_fully_connected_crf(shape: tuple[int, int, int], settings: Crf) -> None:
    scores, picture = case(shape)
    refined = cpu.crf(scores, picture, settings)
    expected = dense(scores, picture, settings)
    assert np.abs(refined - expected).max() < 1e-5
    assert np.abs(refined - log_softmax(scores)).max() > 0.05
    np.testing.assert_allclose(np.exp(refined).sum(0), 1, atol=1e-6)


def test_the_number_of_threads_changes_nothing() -> None:
    scores, picture = case((7, 33, 50))
    before = cpu.threads()
    results = []
    try:
        for count in (1, 2, 5):
            cpu.set_threads(count)
            results.append(cpu.crf(scores, picture, STRONG))
    finally:
        cpu.set_threads(before)
    assert all((result == results[0]).all() for result in results)


def test_an_earlier_frame_leaves_no_trace() -> None:
    scores, picture = case((5, 18, 21))
    first = cpu.crf(scores, picture, STRONG)
    cpu.crf(*case((5, 18, 21), seed=1), STRONG)
    np.testing.assert_array_equal(cpu.crf(scores, picture, STRONG), first)


def test_with_no_pair_weights_the_scores_stay() -> None:
    scores, picture = case((4, 10, 11))
    refined = cpu.crf(scores, picture, Crf(appearance=0.0, smoothness=0.0))
    np.testing.assert_allclose(refined, log_softmax(scores), atol=2e-6)


def test_a_wrong_cell_among_right_ones_is_put_right_where_the_picture_is_even() -> None:
    scores = np.zeros((2, 15, 15), np.float32)
    scores[0], scores[:, 7, 7] = 2.0, (0.0, 1.0)
    even = np.full((3, 15, 15), 90, np.float32)
    assert cpu.crf(scores, even, STRONG).argmax(0).sum() == 0
    marked = even.copy()
    marked[:, 7, 7] = 250
    kept = cpu.crf(scores, marked, Crf(appearance=3.0, smoothness=0.0, theta_beta=20.0))
    assert kept.argmax(0).sum() == 1 and kept[:, 7, 7].argmax() == 1


def test_without_an_edge_in_the_picture_the_result_is_symmetric_smoothing() -> None:
    scores = np.zeros((2, 9, 20), np.float32)
    scores[0, :, :10], scores[1, :, 10:] = 1.0, 1.0
    refined = cpu.crf(scores, np.full((3, 9, 20), 40, np.float32), STRONG)
    np.testing.assert_allclose(refined[0], refined[1][:, ::-1], atol=1e-5)
    assert (refined.argmax(0) == scores.argmax(0)).all()
    sure = np.exp(refined[0, 4])
    assert (np.diff(sure[4:16]) < 0).all()


def test_an_edge_in_the_picture_draws_the_boundary_to_itself() -> None:
    scores = np.zeros((2, 12, 24), np.float32)
    scores[0, :, :10], scores[1, :, 10:] = 1.0, 1.0
    picture = np.full((3, 12, 24), 30, np.float32)
    picture[:, :, 12:] = 200
    labels = cpu.crf(scores, picture, Crf(iterations=10, appearance=8.0, smoothness=0.0, theta_beta=10.0)).argmax(0)
    assert (labels == (np.arange(24) >= 12)).all()


def test_finer_pictures_get_interpolated_scores() -> None:
    scores, _ = case((5, 6, 7))
    picture = case((1, 12, 21))[1]
    expected = dense(upsampled(scores, (12, 21))[0], picture, STRONG)
    assert np.abs(cpu.crf(scores, picture, STRONG) - expected).max() < 1e-5


@pytest.mark.parametrize("place", [Fit((90, 160), (64, 96), 5, 0, 54, 96), Fit((90, 30), (64, 96), 0, 37, 64, 21)])
def test_cells_outside_the_frame_take_no_part(place: Fit) -> None:
    scores, picture = case((4, 8, 12))
    rows, columns = place.top // 8, place.left // 8
    inside = np.s_[:, rows : -(-(place.top + place.height) // 8), columns : -(-(place.left + place.width) // 8)]
    refined = cpu.crf(scores, picture, STRONG, fit=place)
    assert np.abs(refined[inside] - dense(scores[inside], picture[inside], STRONG)).max() < 1e-5
    refined[inside] = 0
    assert not refined.any()


def test_probabilities_binary_networks_and_half_precision() -> None:
    scores, picture = case((4, 9, 9))
    shares = np.exp(log_softmax(scores)).astype(np.float32)
    refined = cpu.crf(scores, picture, STRONG)
    np.testing.assert_allclose(cpu.crf(shares, picture, STRONG, kind="probabilities"), refined, atol=1e-5)
    both = np.stack([np.zeros_like(scores[0]), scores[0]])
    np.testing.assert_array_equal(cpu.crf(scores[:1], picture, STRONG), cpu.crf(both, picture, STRONG))
    half = scores.astype(np.float16)
    np.testing.assert_array_equal(cpu.crf(half, picture, STRONG), cpu.crf(half.astype(np.float32), picture, STRONG))


def test_classes_that_may_not_win_have_no_say() -> None:
    scores, picture = case((4, 9, 9))
    allowed = np.array([True, False, True, True])
    refined = cpu.crf(scores, picture, STRONG, allowed=allowed)
    np.testing.assert_allclose(refined[allowed], dense(scores[allowed], picture, STRONG), atol=1e-5)
    assert refined[1].max() < -1000


def test_values_that_are_no_numbers_count_as_little() -> None:
    scores, picture = case((3, 6, 9))
    wild = scores.copy()
    wild[0, 2, 3], wild[1, 2, 3], wild[2, 4, 4] = np.nan, -np.inf, np.inf
    refined = cpu.crf(wild, picture, STRONG)
    assert np.isfinite(refined).all()
    assert refined[:, 2, 3].argmax() == 2 and refined[2, 4, 4] > -1e-6


def test_the_result_goes_where_it_is_wanted() -> None:
    scores, picture = case((3, 8, 8))
    out = np.empty((3, 8, 8), np.float32)
    assert cpu.crf(scores, picture, STRONG, out=out) is out
    np.testing.assert_array_equal(out, cpu.crf(scores, picture, STRONG))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("mode", ["letterbox", "crop"])
def test_a_cells_colour_is_the_mean_of_the_frames_pixels_in_it(layout: str, dtype: str, mode: str) -> None:
    spec = ModelSpec(name="a", classes=("x",), layout=layout, dtype=dtype, channels="BGR")  # type: ignore[arg-type]
    frame = np.random.default_rng(2).integers(0, 255, (30, 44, 3), np.uint8)
    place = fit((30, 44), (32, 64), mode)  # type: ignore[arg-type]
    cells = cpu.average(cpu.preprocess(frame, spec, place), spec, place, (4, 8))
    # A spec that leaves the pixels as they are, whose border is no number.
    plain = ModelSpec(name="p", classes=("x",), channels="BGR", scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = cpu.preprocess(frame, plain, place)[0].astype(float)
    outside = np.ones((32, 64), bool)
    outside[max(0, place.top) : place.top + place.height, max(0, place.left) : place.left + place.width] = False
    pixels[:, outside] = np.nan
    for y in range(4):
        for x in range(8):
            block = pixels[:, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].reshape(3, -1)
            covered = block[:, ~np.isnan(block[0])]
            mean = covered.mean(1) if covered.size else np.zeros(3)
            np.testing.assert_allclose(
                cells[:, y, x], mean, atol={"float32": 1e-3, "float16": 0.2, "uint8": 0.5}[dtype]
            )


def test_wrong_arguments_are_named() -> None:
    scores, picture = case((3, 6, 9))
    with pytest.raises(ModelError, match="crf: logits are 6x9 float32"):
        cpu.crf(scores[0], picture, STRONG)
    with pytest.raises(ConfigError, match="crf: picture is 2x6x9 float32, expected 3xHxW float32"):
        cpu.crf(scores, picture[:2], STRONG)
    with pytest.raises(ConfigError, match="crf: picture is 3x5x9 float32, coarser than the scores' 6x9"):
        cpu.crf(scores, picture[:, :5], STRONG)
    with pytest.raises(ConfigError, match="crf: kind is 'labels'"):
        cpu.crf(scores, picture, STRONG, kind="labels")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="radius 32 on a grid of 600x800 needs 8 GB: use a smaller radius"):
        cpu.crf(np.zeros((1, 600, 800), np.float32), np.zeros((3, 600, 800), np.float32), Crf(radius=32))
