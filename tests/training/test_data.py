"""CamVid in memory, batches as a function of the step, and bad folders named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.errors import ConfigError
from rtseg.training.data import CAMVID, Batches, CamVid
from rtseg.training.transforms import Augmentation
from tests.training.camvid import write_camvid

HOW = Augmentation(crop=(32, 48), label_stride=2, scale=(0.8, 1.5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid", train=5)


def test_camvid_is_described_once() -> None:
    assert len(CAMVID.classes) == len(CAMVID.palette) == CAMVID.ignore_index == 11
    assert CAMVID.classes[3] == "Road"
    assert CAMVID.palette[3] == (128, 64, 128)


def test_reads_images_and_labels_in_name_order(folder: Path) -> None:
    dataset = CamVid(folder, "train")
    assert dataset.names == ["000", "001", "002", "003", "004"]
    assert dataset.images[0].shape == (48, 64, 3)
    assert np.array_equal(dataset.labels[2], cv2.imread(str(folder / "trainannot/002.png"), cv2.IMREAD_UNCHANGED))
    assert len(CamVid(folder, "train", limit=2)) == 2


def test_class_pixels_leave_void_out(folder: Path) -> None:
    dataset = CamVid(folder, "train")
    pixels = dataset.class_pixels()
    assert pixels.sum() == 5 * 48 * (64 - 3)
    assert pixels[8] == sum(int((label == 8).sum()) for label in dataset.labels) > 0
    assert pixels[1] == 0


def test_batches_depend_on_the_step_alone(folder: Path) -> None:
    dataset = CamVid(folder, "train")
    one, other = (Batches(dataset, 2, HOW, seed=3) for _ in range(2))
    assert one.steps == 2
    expected = [one[step] for step in range(4)]
    for step in (3, 0, 2, 1):
        for found, wanted in zip(other[step], expected[step], strict=True):
            assert np.array_equal(found, wanted)
    images, labels = expected[0]
    assert images.shape == (2, 32, 48, 3)
    assert labels.shape == (2, 16, 24)
    assert not np.array_equal(expected[0][0], expected[2][0])  # the next epoch shows other crops
    assert not np.array_equal(Batches(dataset, 2, HOW, seed=4)[0][0], images)


def test_an_epoch_shows_each_image_once(folder: Path) -> None:
    dataset = CamVid(folder, "train")
    for index, image in enumerate(dataset.images):
        image[:] = 40 * index + 20  # a plain grey tells them apart
    plain = Augmentation(
        crop=(8, 8), scale=(2.0, 2.0), rotation=0, gamma=(1, 1), gain=(1, 1), offset=0, white_balance=0,
        saturation=(1, 1), blur=0, noise=0,
    )  # fmt: skip
    batches = Batches(dataset, 1, plain, seed=0)
    for epoch in range(2):
        shown = [int(batches[step][0][0, 4, 4, 0]) for step in range(5 * epoch, 5 * epoch + 5)]
        assert sorted(shown) == [20, 60, 100, 140, 180]


def test_bad_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no PNG images in .*nothing"):
        CamVid(tmp_path / "nothing", "train")
    with pytest.raises(ConfigError, match="a batch of 9 from 5 images"):
        Batches(CamVid(folder, "train"), 9, HOW, seed=0)
    label = folder / "trainannot/001.png"
    cv2.imwrite(str(label), np.full((48, 64), 12, np.uint8))
    with pytest.raises(ConfigError, match=r"trainannot/001.png holds label 12, expected 0 to 11"):
        CamVid(folder, "train")
    cv2.imwrite(str(label), np.zeros((48, 60), np.uint8))
    with pytest.raises(ConfigError, match=r"trainannot/001.png is \(48, 60\)"):
        CamVid(folder, "train")
    label.unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*001.png"):
        CamVid(folder, "train")


@pytest.mark.data
def test_the_real_data(data_dir: Path) -> None:
    dataset = CamVid(data_dir / "camvid", "val")
    assert len(dataset) == 101
    assert dataset.images[0].shape == (360, 480, 3)
    assert (dataset.class_pixels() > 0).all()
