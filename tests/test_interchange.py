"""Results in the forms that other libraries take, read back by those libraries."""

from __future__ import annotations

import numpy as np
import pytest

import rtseg

CLASSES = ("road", "car", "sky")
LABELS = np.array([[2, 2, 2, 255], [0, 1, 1, 255], [0, 0, 1, 0]], np.uint8)
IMAGE = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
RESULT = rtseg.Result(rtseg.Frame(0, 0, None, None, IMAGE), LABELS, classes=CLASSES)


def test_masks_by_class_name_without_the_unlabelled() -> None:
    masks = RESULT.masks()
    assert list(masks) == ["road", "car", "sky"]
    assert all(mask.dtype == np.bool_ for mask in masks.values())
    np.testing.assert_array_equal(masks["car"], LABELS == 1)
    assert sum(int(mask.sum()) for mask in masks.values()) == int((LABELS != 255).sum())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools with NumPy 2
def test_run_lengths_are_what_cocos_own_decoder_reads() -> None:
    from pycocotools import mask

    runs = RESULT.to_coco_rle()
    assert set(runs) == set(CLASSES)
    for name, run in runs.items():
        assert run["size"] == [3, 4] and isinstance(run["counts"], str)
        np.testing.assert_array_equal(mask.decode(run).astype(bool), RESULT.masks()[name])


def test_detections_of_supervision() -> None:
    confidence = np.full(LABELS.shape, 51, np.uint8)
    result = rtseg.Result(RESULT.frame, LABELS, confidence, classes=CLASSES)
    found = result.to_supervision()
    assert found.class_id.tolist() == [0, 1, 2] and found.data["class_name"].tolist() == list(CLASSES)
    np.testing.assert_array_equal(found.mask[1], LABELS == 1)
    assert found.xyxy[1].tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(found.confidence, 0.2)
    assert RESULT.to_supervision().confidence is None
    nothing = rtseg.Result(RESULT.frame, np.full((3, 4), 255, np.uint8), classes=CLASSES)
    assert len(nothing.to_supervision()) == 0


def test_pillow_gets_rgb() -> None:
    np.testing.assert_array_equal(np.asarray(RESULT.to_pil()), IMAGE[..., ::-1])
    drawn = rtseg.Result(RESULT.frame, LABELS, overlay=IMAGE[::-1].copy(), classes=CLASSES)
    np.testing.assert_array_equal(np.asarray(drawn.to_pil()), IMAGE[::-1, :, ::-1])


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = rtseg.Result(RESULT.frame, None, classes=CLASSES)
    for call in (bare.masks, bare.to_coco_rle, bare.to_supervision):
        with pytest.raises(rtseg.ConfigError, match="add 'labels' to needs"):
            call()
    for package, call, extra in (
        ("PIL", RESULT.to_pil, "pillow"),
        ("pycocotools", RESULT.to_coco_rle, "coco"),
        ("supervision", RESULT.to_supervision, "supervision"),
    ):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, hidden=package: None if name == hidden else True)
        with pytest.raises(rtseg.MissingExtra, match=rf"pip install 'rtseg\[{extra}\]'"):
            call()
