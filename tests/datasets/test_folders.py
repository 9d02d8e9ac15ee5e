"""Folders of one's own: ids and colours, listings, splits given and drawn, and mistakes named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.datasets import find_layout, open_dataset
from rtseg.errors import ConfigError
from tests.datasets import pictures as make

COLORS = "0 0 255 sky\n128 64 128 road\n0 0 0 void\n255 0 0 car\n"


def test_ids_with_names(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path / "mine")
    train, val = (open_dataset(folder, split) for split in ("train", "val"))
    assert (train.name, train.classes, train.ignore_index) == ("mine", ("sky", "road", "car"), 255)
    assert (len(train), len(val)) == (4, 1)
    assert sorted(train.names + val.names) == [f"images/{i:02d}.png" for i in range(5)]
    assert train.label(0)[:, 0].tolist() == [0, 1, 2, 255, 255, 255]
    assert open_dataset(folder, "train").names == train.names
    assert len(open_dataset(folder, "val", fraction=0.4)) == 2
    drawn = {open_dataset(folder, "val", seed=seed).names[0] for seed in range(8)}
    assert len(drawn) > 1


def test_colours_with_names(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path, count=2)
    (folder / "classes.txt").write_text(COLORS)
    make.write_mask(folder / "masks/00.png", (0, 0, 255), (128, 64, 128), (255, 0, 0), (0, 0, 0))
    # An indexed picture of the same colours, whose indices mean nothing.
    mask = np.full(make.SIZE, 1, np.uint8)
    mask[0] = 0
    make.write_indexed(folder / "masks/01.png", mask, [(255, 0, 0), (128, 64, 128)])
    (folder / "train.txt").write_text("00\n01\n")
    dataset = open_dataset(folder, "train")
    assert dataset.classes == ("sky", "road", "car")
    assert dataset.palette == ((0, 0, 255), (128, 64, 128), (255, 0, 0))
    assert dataset.label(0)[:, 0].tolist() == [0, 1, 2, 255, 255, 255]
    assert dataset.label(1)[:, 0].tolist() == [2, 1, 1, 1, 1, 1]
    picture = cv2.imread(str(folder / "masks/00.png"))
    picture[4, 5] = (9, 8, 7)
    cv2.imwrite(str(folder / "masks/00.png"), picture)
    with pytest.raises(
        ConfigError, match=r"masks/00.png: colour \(7, 8, 9\) \(R, G, B\) at row 4, column 5 is not a class"
    ):
        dataset.label(0)


@pytest.mark.parametrize("key", ["license", "licence"])
def test_dataset_yaml(key: str, tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path, count=1)
    (folder / "split.txt").write_text("00 validation\n")
    (folder / "dataset.yaml").write_text(
        f"name: yard\n{key}: CC0-1.0\nignore: [9, [1, 1, 1]]\n"
        "classes: [grass, {name: animal, id: [11, 12], color: [255, 0, 0]}, {name: path, id: 2}]\n"
    )
    make.write_mask(folder / "masks/00.png", 0, 11, 12, 2, 9)
    dataset = open_dataset(folder, "val")
    with pytest.warns(DeprecationWarning, match="called license"):
        assert dataset.licence == dataset.license
    assert (dataset.name, dataset.license, dataset.classes) == ("yard", "CC0-1.0", ("grass", "animal", "path"))
    assert dataset.label(0)[:, 0].tolist() == [0, 1, 1, 2, 255, 255]
    make.write_mask(folder / "masks/00.png", 0, 255)
    with pytest.raises(ConfigError, match=r"00.png: id 255 at row 1, .* expected 0, 2, 9, 11 to 12 \(.*dataset.yaml\)"):
        dataset.label(0)
    (folder / "dataset.yaml").write_text("classes: [a, b]\nignored: 3\n")
    with pytest.raises(ConfigError, match=r"dataset.yaml: .*unknown field `ignored`"):
        open_dataset(folder, "val")
    (folder / "dataset.yaml").write_text("classes: [a, {name: b, id: 0}]\n")
    with pytest.raises(ConfigError, match=r"dataset.yaml: id 0 stands for two classes"):
        open_dataset(folder, "val")


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_binary_masks_need_no_listing(tmp_path: Path, values: tuple[int, int]) -> None:
    folder = make.write_folders(tmp_path, count=2)
    (folder / "classes.txt").unlink()
    for index in range(2):
        make.write_mask(folder / f"masks/{index:02d}.png", *values)
    dataset = open_dataset(folder, "train")
    assert dataset.classes == ("background", "object")
    assert dataset.label(0)[:, 0].tolist() == [0, 1, 1, 1, 1, 1]
    mask = dataset.names[0].replace("images", "masks")
    make.write_mask(folder / mask, 0, 1, 255)
    with pytest.raises(ConfigError, match=r"holds 0 or 1 and, at row 2, column 0, 255: name the classes and say"):
        dataset.label(0)
    make.write_mask(folder / mask, 0, 7)
    with pytest.raises(ConfigError, match=r"id 7 at row 1, column 0 .*no dataset.yaml or classes.txt was found"):
        dataset.label(0)


@pytest.mark.parametrize("pattern", ["{kind}/{split}", "{split}/{kind}"])
def test_splits_by_folder(tmp_path: Path, pattern: str) -> None:
    for index, split in enumerate(("training", "valid")):
        make.write_image(tmp_path / pattern.format(kind="images", split=split) / "deep/a.jpg", index)
        make.write_mask(tmp_path / pattern.format(kind="labels", split=split) / "deep/a_mask.png", 0, 1)
    assert find_layout(tmp_path).splits(tmp_path) == ["train", "val"]
    dataset = open_dataset(tmp_path, "val")
    assert dataset.names == [pattern.format(kind="images", split="valid") + "/deep/a.jpg"]
    assert dataset.label(0)[1, 1] == 1
    with pytest.raises(ConfigError, match=r"no split 'test' .*splits there: train, val"):
        open_dataset(tmp_path, "test")


def test_lists_of_names(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path)
    (folder / "train.txt").write_text("03\n01.png\n")
    assert find_layout(folder).splits(folder) == ["train"]
    assert open_dataset(folder, "train").names == ["images/03.png", "images/01.png"]
    (folder / "train.txt").write_text("03\n33\n")
    with pytest.raises(ConfigError, match=r"train.txt lists 33, which is not there or has no mask"):
        open_dataset(folder, "train")
    (folder / "split.txt").write_text("03 trian\n")
    with pytest.raises(ConfigError, match=r"split.txt: expected `NAME train`.*found '03 trian'"):
        open_dataset(folder, "train")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path, count=3)
    (folder / "train.txt").write_text("00\n01\n02\n")
    dataset = open_dataset(folder, "train")
    make.write_mask(folder / "masks/01.png", 0, 1, 3)
    with pytest.raises(
        ConfigError, match=r"masks/01.png: id 3 at row 2, column 0 is not a class: expected 0 to 2, 255"
    ):
        dataset[1]
    make.write_mask(folder / "masks/01.png", 0, size=(6, 9))
    with pytest.raises(ConfigError, match=r"images/01.png is 6x8 \(height x width\), its mask is 6x9"):
        dataset[1]
    (folder / "images/02.png").write_bytes(b"not an image")
    with pytest.raises(ConfigError, match=r"images/02.png cannot be decoded"):
        dataset[2]
    (folder / "masks/00.png").unlink()
    (folder / "masks/02.png").unlink()
    with pytest.raises(
        ConfigError, match=r"images/00.png has no mask: expected masks/00.png \(and 3 more: `rtseg data"
    ):
        open_dataset(folder, "train")
    left = open_dataset(folder, "train", strict=False)
    assert left.names == ["images/01.png"]
    assert len(left.problems) == 4
