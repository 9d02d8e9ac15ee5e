"""Batches as a function of the step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtseg.datasets import open_dataset
from rtseg.errors import ConfigError
from rtseg.training.data import CAMVID, Batches
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


def test_batches_depend_on_the_step_alone(folder: Path) -> None:
    dataset = open_dataset(folder, "train", name="camvid")
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
    dataset = open_dataset(folder, "train", name="camvid")
    for index in range(5):  # small enough to be kept: a plain grey tells them apart
        dataset[index][0][:] = 40 * index + 20
    plain = Augmentation(
        crop=(8, 8), scale=(2.0, 2.0), rotation=0, gamma=(1, 1), gain=(1, 1), offset=0, white_balance=0,
        saturation=(1, 1), blur=0, noise=0,
    )  # fmt: skip
    batches = Batches(dataset, 1, plain, seed=0)
    for epoch in range(2):
        shown = [int(batches[step][0][0, 4, 4, 0]) for step in range(5 * epoch, 5 * epoch + 5)]
        assert sorted(shown) == [20, 60, 100, 140, 180]


def test_a_batch_larger_than_the_set_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="a batch of 9 from 5 images"):
        Batches(open_dataset(folder, "train", name="camvid"), 9, HOW, seed=0)
