"""Which layout a folder has, what is said where it has none, and what every data set does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtseg.datasets import _dataset, class_pixels, open_dataset
from rtseg.errors import ConfigError
from rtseg.registry import DATASETS
from rtseg.training.data import Batches
from rtseg.training.transforms import Augmentation
from tests.datasets import pictures as make
from tests.training.camvid import write_camvid


def write_arrays(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 2, (4, 6, 8), dtype=np.uint8))
    return folder


WRITERS = {
    "cityscapes": make.write_cityscapes,
    "voc": make.write_voc,
    "ade20k": make.write_ade20k,
    "camvid": write_camvid,
    "arrays": write_arrays,
    "folders": make.write_folders,
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_layout_is_recognised(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    for split in ("train", "val"):
        found, named = open_dataset(tmp_path, split), open_dataset(tmp_path, split, name=name)
        assert found.names == named.names
        assert found.facts == named.facts
        image, label = found[0]
        assert image.dtype == label.dtype == np.uint8
        assert image.shape == (*label.shape, 3)
        assert image.flags.c_contiguous and label.flags.c_contiguous
        assert set(np.unique(label)) <= {*range(len(found.classes)), found.ignore_index}
        assert len(found.palette) == len(found.classes)
        pixels = class_pixels(found)
        void = sum(int((found.label(i) == found.ignore_index).sum()) for i in range(len(found)))
        assert pixels.sum() + void == sum(found.label(i).size for i in range(len(found)))
        assert len(open_dataset(tmp_path, split, limit=1)) == 1


def test_nothing_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(ConfigError) as error:
        open_dataset(tmp_path, "train")
    text = str(error.value)
    assert "(found leftImg8bit/, picture.png)" in text
    assert all(f"{name}: " in text for name in DATASETS)
    assert "\n" not in text
    with pytest.raises(
        ConfigError, match=r"holds no cityscapes data: expected leftImg8bit/.*; found leftImg8bit/, pic"
    ):
        open_dataset(tmp_path, "train", name="cityscapes")
    with pytest.raises(ConfigError, match=r"unknown data set 'cityscape': did you mean 'cityscapes'"):
        open_dataset(tmp_path, "train", name="cityscape")
    with pytest.raises(ConfigError, match=r"no folder .*absent"):
        open_dataset(tmp_path / "absent", "train")
    with pytest.raises(ConfigError, match=r"picture.png is a file, expected a folder"):
        open_dataset(tmp_path / "picture.png", "train")


def test_small_ones_are_kept_and_large_ones_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make.write_folders(tmp_path)
    dataset = open_dataset(folder, "train")
    first = dataset[0]
    assert dataset[0][0] is first[0]
    assert dataset.read(0)[0] is not first[0]
    monkeypatch.setattr(_dataset, "KEEP_BYTES", 4 * 6 * 8 * 4)
    dataset = open_dataset(folder, "train")
    assert dataset[0][0] is not dataset[0][0]
    assert np.array_equal(dataset[0][0], first[0])
    with pytest.raises(IndexError):
        dataset[4]
    assert len(list(dataset)) == 4


def test_bad_numbers(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path)
    with pytest.raises(ConfigError, match="the limit is 0 images"):
        open_dataset(folder, "train", limit=0)
    with pytest.raises(ConfigError, match="the fraction for val is 1"):
        open_dataset(folder, "train", fraction=1)


def test_batches_of_images_of_several_sizes(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path, count=4)
    make.write_image(folder / "images/02.png", 9, (30, 20))
    make.write_mask(folder / "masks/02.png", 2, size=(30, 20))
    (folder / "train.txt").write_text("00\n01\n02\n03\n")
    how = Augmentation(crop=(16, 16), scale=(1, 1))
    images, labels = Batches(open_dataset(folder, "train"), 4, how, seed=0)[0]
    assert images.shape == (4, 16, 16, 3)
    assert set(np.unique(labels)) == {0, 1, 2, 255}  # outside a small image it is this data set's void


def test_torch_is_not_needed() -> None:
    code = "import sys, rtseg.datasets.contact_sheet, rtseg.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
