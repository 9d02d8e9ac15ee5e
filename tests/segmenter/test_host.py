"""Images in, labels out: the network's size, exactness against float64, ignored classes, mixed sizes."""

from __future__ import annotations

import numpy as np
import pytest

from rtseg.backends.null import NULL_SPEC, NullBackend
from rtseg.errors import ModelError
from rtseg.geometry import Fit
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.host import HostSegmenter
from tests.kernels.reference import check_labels, upsampled

SPEC = ModelSpec(name="toy", classes=("road", "car", "sky", "tree", "pole"), short_side=64, multiple=8, output_stride=8)
RNG = np.random.default_rng(3)


def noise(tensor: np.ndarray) -> np.ndarray:
    height, width = tensor.shape[2] // 8, tensor.shape[3] // 8
    return np.random.default_rng(height * 1000 + width).standard_normal((5, height, width)).astype(np.float32)


def image(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("frame", [(108, 192), (191, 108), (64, 64), (33, 250), (480, 360)])
@pytest.mark.parametrize("mode", ["letterbox", "stretch", "crop"])
def test_labels_are_the_argmax_of_the_upsampled_scores_of_the_frames_rectangle(
    frame: tuple[int, int], mode: str
) -> None:
    segmenter = HostSegmenter(NullBackend(spec=SPEC, answer=noise), mode=mode)  # type: ignore[arg-type]
    labels = segmenter(image(*frame))
    place = segmenter.place(frame)
    scores, inside = upsampled(noise(np.empty((1, 3, *place.network))), frame, place)
    check_labels(labels, scores, inside)


def test_the_network_follows_the_frame_and_nothing_is_stretched() -> None:
    segmenter = HostSegmenter(NullBackend(spec=SPEC))
    place = segmenter.place((1080, 1920))
    assert place.network == (64, 120)
    assert place == Fit((1080, 1920), (64, 120), 0, 3, 64, 114)
    assert segmenter.place((1920, 1080)).network == (120, 64)
    assert HostSegmenter(NullBackend(spec=SPEC), short_side=100).place((100, 100)).network == (96, 96)


def test_sizes_that_do_not_suit_the_model_name_the_nearest_one() -> None:
    with pytest.raises(ModelError, match="multiples of 8; the nearest is 96x200"):
        HostSegmenter(NullBackend(spec=SPEC), size=(99, 199))
    with pytest.raises(ModelError, match="fixed input size 64x128, not 64x64"):
        HostSegmenter(NullBackend(spec=ModelSpec(name="f", classes=("a", "b"), size=(64, 128))), size=(64, 64))


def test_an_ignored_class_cannot_win_and_the_runner_up_does() -> None:
    backend = NullBackend(spec=SPEC, answer=noise)
    labels = HostSegmenter(backend, ignore=["Car", "tree"])(image(64, 64))
    assert set(np.unique(labels)) == {0, 2, 4}
    scores, inside = upsampled(noise(np.empty((1, 3, 64, 64))), (64, 64))
    scores[[1, 3]] = -1e9
    check_labels(labels, scores, inside)


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (["cra"], "no class 'cra' in model toy: did you mean 'car'"),
        (list(SPEC.classes), "every class of toy is ignored"),
    ],
)
def test_wrong_classes_to_ignore(ignore: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        HostSegmenter(NullBackend(spec=SPEC), ignore=ignore)


def test_confidence_is_the_winners_softmax() -> None:
    segmenter = HostSegmenter(NullBackend(spec=SPEC, answer=noise))
    tensor, place = segmenter.preprocess(image(64, 64))
    labels, confidence = segmenter.labels(noise(tensor), place, confidence=True)
    scores, _ = upsampled(noise(tensor), (64, 64))
    best = np.exp(scores - scores.max(0)).sum(0)
    assert confidence is not None
    assert np.abs(confidence.astype(float) - 255 / best).max() < 1
    assert labels.shape == confidence.shape


def test_sizes_may_change_from_image_to_image() -> None:
    segmenter = HostSegmenter(NullBackend(spec=NULL_SPEC))
    for size in [(40, 60), (60, 40), (31, 97), (40, 60)]:
        labels = segmenter(image(*size))
        assert labels.shape == size
        assert labels[0, 0] == 0
        assert labels[-1, -1] == 3


def test_results_that_are_kept_are_not_overwritten() -> None:
    segmenter = HostSegmenter(NullBackend(spec=SPEC, answer=noise))
    first = segmenter(image(64, 64))
    copy = first.copy()
    second = segmenter(image(72, 64))
    third = segmenter(image(64, 64))
    assert not np.shares_memory(first, third)
    np.testing.assert_array_equal(first, copy)
    assert second.shape == (72, 64)
