"""`rtseg.Segmenter` and the pool: images in, results out, errors in a line, one thread at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtseg
from rtseg.backends.null import NullBackend
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.synthetic import SyntheticSource

MODEL = "unet-fast0-camvid"
IMAGE = SyntheticSource("drive", size=(90, 160)).scene.render(0)[0]


@pytest.fixture(scope="module")
def segment() -> Any:
    with rtseg.Segmenter(MODEL, backend="openvino", short_side=96) as opened:
        yield opened


def test_labels_are_those_of_the_host_segmenter(segment: rtseg.Segmenter) -> None:
    with HostSegmenter(rtseg.open_backend("openvino", MODEL), short_side=96) as expected:
        np.testing.assert_array_equal(segment(IMAGE), expected(IMAGE))
    assert segment(IMAGE).dtype == np.uint8 and segment(IMAGE).shape == (90, 160)
    assert repr(segment).startswith("<Segmenter unet-fast0-camvid on openvino cpu ")


def test_a_result_holds_what_was_asked_for_and_agrees_with_itself(segment: rtseg.Segmenter) -> None:
    result = segment.result(IMAGE, needs={"labels", "overlay", "areas", "confidence"}, alpha=0.7)
    labels, areas, overlay = result.labels, result.areas, result.overlay
    assert labels is not None and areas is not None and overlay is not None and result.confidence is not None
    counts = np.bincount(labels.ravel(), minlength=len(result.classes))
    np.testing.assert_allclose(areas, counts / labels.size)
    np.testing.assert_array_equal(overlay, rtseg.draw(IMAGE, labels, segment.spec, alpha=0.7))
    only = segment.result(IMAGE, needs="areas")
    assert only.labels is None and only.overlay is None and only.areas is not None


def test_a_backend_as_in_0_1_and_its_members(segment: rtseg.Segmenter) -> None:
    with rtseg.Segmenter(NullBackend()) as old:
        tensor, place = old.preprocess(IMAGE)
        old.backend.submit(tensor)
        labels, _ = old.labels(old.backend.collect(), place)
        assert labels is not None and labels.shape == (90, 160)
        assert old.areas(labels, None).sum() == pytest.approx(1)
        with pytest.warns(DeprecationWarning, match="place"):
            assert old.fit((90, 160)) == old.place((90, 160))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "the image is None, which cv2.imread returns for a file that it cannot read"),
        (np.zeros((0, 5, 3), np.uint8), "the image is empty .0x5x3."),
        (np.zeros((4, 4), np.uint8), "cv2.cvtColor.image, cv2.COLOR_GRAY2BGR."),
        (np.zeros((4, 4, 4), np.uint8), "got 4x4x4: give three channels in BGR order"),
        (np.zeros((4, 4, 3), np.float32), "an image is uint8 .0 to 255., got float32"),
        ("street.jpg", "got str"),
    ],
)
def test_what_is_no_image_is_said(segment: rtseg.Segmenter, image: Any, message: str) -> None:
    for call in (segment, segment.result, lambda each: rtseg.draw(each, np.zeros((4, 4), np.uint8), segment.spec)):
        with pytest.raises(rtseg.ConfigError, match=message):
            call(image)


def test_a_view_of_an_image_is_as_good_as_its_copy(segment: rtseg.Segmenter) -> None:
    flipped = IMAGE[:, ::-1]
    np.testing.assert_array_equal(segment(flipped), segment(np.ascontiguousarray(flipped)))


def test_drawing_what_does_not_fit_is_said(segment: rtseg.Segmenter) -> None:
    labels = np.zeros((90, 160), np.uint8)
    with pytest.raises(rtseg.ConfigError, match="labels are uint8 10x10, expected uint8 90x160"):
        rtseg.draw(IMAGE, labels[:10, :10], segment.spec)
    with pytest.raises(rtseg.ConfigError, match="did you mean 'mask'"):
        rtseg.draw(IMAGE, labels, segment.spec, visualize="maks")
    with pytest.raises(rtseg.ModelError, match="did you mean 'Road'"):
        rtseg.draw(IMAGE, labels, segment.spec, hide=["Raod"])
    assert rtseg.draw(IMAGE, labels, segment.spec, visualize=("split",)).shape == (90, 320, 3)
    np.testing.assert_array_equal(rtseg.draw(IMAGE, labels, segment.spec, hide=["Sky"]), IMAGE)


class Slow(NullBackend):
    """A backend that waits until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def collect(self) -> Any:
        self.entered.set()
        assert self.go.wait(20)
        return super().collect()


def test_a_second_thread_is_told_what_to_do() -> None:
    backend = Slow()
    with rtseg.Segmenter(backend) as segment, ThreadPoolExecutor(1) as pool:
        first = pool.submit(segment, IMAGE)
        assert backend.entered.wait(20)
        with pytest.raises(rtseg.BackendError, match="at work in another thread: give each thread its own"):
            segment(IMAGE)
        backend.go.set()
        assert first.result(20).shape == (90, 160)
        assert segment(IMAGE).shape == (90, 160)  # and it goes on


def test_a_pool_gives_each_thread_its_own_and_the_same_labels(segment: rtseg.Segmenter) -> None:
    images = [np.roll(IMAGE, 7 * shift, axis=1) for shift in range(8)]
    with rtseg.SegmenterPool(MODEL, 2, backend="openvino", short_side=96) as pool:
        pool.warm_up((90, 160))
        with pool.take() as one, pool.take() as two:
            for each in (one, two):
                assert list(each.backend._compiled) == [each.place((90, 160)).network]  # type: ignore[attr-defined]
        with ThreadPoolExecutor(4) as workers:
            found = list(workers.map(pool, images))
        for image, labels in zip(images, found, strict=True):
            np.testing.assert_array_equal(labels, segment(image))
        with pool.take() as one, pool.take() as two:
            assert one is not two
            with pytest.raises(rtseg.BackendError, match=r"came free within 0\.01 s"), pool.take(timeout=0.01):
                pass
    with pytest.raises(rtseg.BackendError, match="this SegmenterPool is closed"), pool.take():
        pass
    with pytest.raises(rtseg.ConfigError, match="a pool of 0 segmenters"):
        rtseg.SegmenterPool(MODEL, 0)
    with pytest.raises(rtseg.ConfigError, match="give its name, folder or file"):
        rtseg.SegmenterPool(NullBackend(), 2)  # type: ignore[arg-type]  # which two would share


def test_one_name_is_as_good_as_a_list_of_it(segment: rtseg.Segmenter) -> None:
    result = segment.result(IMAGE, needs=("labels", "overlay"), visualize="mask")
    assert result.labels is not None and result.overlay is not None
    np.testing.assert_array_equal(
        result.overlay, rtseg.draw(IMAGE, result.labels, segment.spec, visualize=["mask"], hide="Bicyclist")
    )
    assert (result.overlay != segment.result(IMAGE, needs="overlay").overlay).any()
    with rtseg.Segmenter(MODEL, backend="openvino", size="96x128", ignore="Road") as roadless:
        assert roadless.place((90, 160)).network == (96, 128)
        assert segment.spec.class_id("Road") in segment(IMAGE)
        assert segment.spec.class_id("Road") not in roadless(IMAGE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "streetch"}, "unknown fit 'streetch': did you mean 'stretch'"),
        ({"size": (96,)}, r"size is .96,., expected .height, width. or 'HxW'"),
        ({"size": (96.0, 128.0)}, "expected .height, width."),
        ({"size": "96"}, "size '96' is not HEIGHTxWIDTH"),
    ],
)
def test_settings_that_do_not_exist_are_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(rtseg.ConfigError, match=message):
        rtseg.Segmenter(NullBackend(), **settings)


def test_ways_of_drawing_that_do_not_exist_are_said(segment: rtseg.Segmenter) -> None:
    with pytest.raises(rtseg.ConfigError, match="unknown view 'maks': did you mean 'mask'"):
        segment.result(IMAGE, needs="overlay", visualize="maks")
    with pytest.raises(rtseg.ConfigError, match=r"alpha is '0\.5', expected 0 to 1"):
        segment.result(IMAGE, needs="overlay", alpha="0.5")  # type: ignore[arg-type]
    with pytest.raises(rtseg.ConfigError, match="labels are a NumPy array, HW uint8, got list"):
        rtseg.draw(IMAGE, segment(IMAGE).tolist(), segment.spec)


def test_a_pool_that_is_closed_lets_what_is_at_work_finish() -> None:
    pool = rtseg.SegmenterPool(MODEL, 2, backend="openvino", short_side=96)
    with pool.take() as busy:
        pool.close()
        assert busy(IMAGE).shape == (90, 160)
    with pytest.raises(rtseg.BackendError, match="closed"):
        busy(IMAGE)
    pool.close()  # a second time does nothing


def test_files_and_folders_are_models_too() -> None:
    folder = Path(rtseg.__file__).parents[1] / "engines" / MODEL
    for model in (folder, folder / "model.onnx"):
        with rtseg.Segmenter(model, backend="openvino", short_side=96) as segment:
            assert segment.spec.classes[3] == "Road"
    with pytest.raises(rtseg.ModelError, match="did you mean"):
        rtseg.Segmenter("unet-fast0-camvd")
