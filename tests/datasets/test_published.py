"""Cityscapes, VOC, ADE20K and CamVid from tiny copies: exact train ids, and errors that name the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.datasets import find_layout, open_dataset
from rtseg.drawing.palette import voc_colormap
from rtseg.errors import ConfigError
from tests.datasets import pictures as make
from tests.training.camvid import write_camvid


def column(folder: Path, split: str, index: int = 0) -> list[int]:
    """The first column of a label map: its rows."""
    return open_dataset(folder, split)[index][1][:, 0].tolist()


def test_cityscapes(tmp_path: Path) -> None:
    folder = make.write_cityscapes(tmp_path)
    dataset = open_dataset(folder, "train")
    assert (dataset.name, len(dataset.classes), dataset.ignore_index) == ("cityscapes", 19, 255)
    assert dataset.names == ["leftImg8bit/train/aachen/aachen_000000_000010_leftImg8bit.png"]
    image, label = dataset[0]
    assert np.array_equal(image, cv2.imread(str(folder / dataset.names[0])))
    assert label[:, 0].tolist() == [255, 0, 1, 13, 18, 18]  # void, road, sidewalk, car, bicycle
    assert [dataset.classes[i] for i in (0, 13, 18)] == ["road", "car", "bicycle"]
    assert column(folder, "val") == [255, 0, 18, 18, 18, 18]  # train ids as they are
    assert find_layout(folder).splits(folder) == ["train", "val"]


def test_every_id_of_cityscapes(tmp_path: Path) -> None:
    folder = make.write_cityscapes(tmp_path)
    stored = np.arange(34, dtype=np.uint8).reshape(2, 17)
    cv2.imwrite(str(folder / "gtFine/train/aachen/aachen_000000_000010_gtFine_labelIds.png"), stored)
    label = open_dataset(folder, "train").label(0).ravel().tolist()
    assert [stored for stored, train in enumerate(label) if train != 255] == [
        7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33
    ]  # fmt: skip
    assert [train for train in label if train != 255] == list(range(19))


def test_cityscapes_without_a_mask(tmp_path: Path) -> None:
    folder = make.write_cityscapes(tmp_path)
    (folder / "gtFine/train/aachen/aachen_000000_000010_gtFine_labelIds.png").unlink()
    with pytest.raises(ConfigError, match=r"000010_leftImg8bit.png has no mask: expected gtFine/.*_labelIds.png"):
        open_dataset(folder, "train")
    make.write_mask(folder / "gtFine/val/ulm/ulm_000000_000011_gtFine_labelTrainIds.png", 0, 19)
    with pytest.raises(ConfigError, match=r"labelTrainIds.png: id 19 at row 1, column 0 .* expected 0 to 18, or 255"):
        open_dataset(folder, "val")[0]


def test_voc_reads_indices_and_colours_alike(tmp_path: Path) -> None:
    folder = make.write_voc(tmp_path)
    assert find_layout(folder).splits(folder) == ["train", "val"]
    dataset = open_dataset(folder, "val")
    assert (dataset.name, len(dataset.classes), dataset.ignore_index) == ("voc", 21, 255)
    assert dataset.names == ["VOCdevkit/VOC2012/JPEGImages/b.jpg"]
    assert dataset.classes[15] == "person"
    assert column(folder, "val") == [0, 15, 255, 0, 0, 0]
    mask = folder / "VOCdevkit/VOC2012/SegmentationClass/b.png"
    colors = voc_colormap()
    make.write_mask(mask, colors[0], colors[15], colors[255], colors[20])
    assert column(folder, "val") == [0, 15, 255, 20, 20, 20]
    make.write_mask(mask, colors[0], (1, 2, 3))
    with pytest.raises(ConfigError, match=r"b.png: colour \(1, 2, 3\) \(R, G, B\) at row 1, column 0 is not a class"):
        column(folder, "val")
    assert column(folder / "VOCdevkit", "train") == column(folder / "VOCdevkit/VOC2012", "train")


def test_voc_with_the_masks_of_sbd(tmp_path: Path) -> None:
    folder = make.write_voc(tmp_path)
    root = folder / "VOCdevkit/VOC2012"
    make.write_mask(root / "SegmentationClassAug/a.png", 3)
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\nb\n")
    dataset = open_dataset(folder, "trainaug")
    assert [dataset.label(index)[1, 0] for index in range(2)] == [3, 15]
    assert column(folder, "train")[1] == 15
    assert find_layout(folder).splits(folder) == ["train", "val", "trainaug"]


def test_voc_list_of_what_is_not_there(tmp_path: Path) -> None:
    folder = make.write_voc(tmp_path)
    (folder / "VOCdevkit/VOC2012/JPEGImages/b.jpg").unlink()
    with pytest.raises(ConfigError, match=r"JPEGImages/b.jpg is missing: val.txt lists b"):
        open_dataset(folder, "val")
    with pytest.raises(ConfigError, match=r"no split 'test' in .* \(splits there: train, val; files there: ImageSets/"):
        open_dataset(folder, "test")


def test_ade20k(tmp_path: Path) -> None:
    folder = make.write_ade20k(tmp_path)
    dataset = open_dataset(folder, "train")
    assert (dataset.name, len(dataset), len(dataset.classes)) == ("ade20k", 2, 150)
    assert dataset.label(1)[:3, 0].tolist() == [255, 0, 149]
    assert dataset.classes[0] == "wall"
    assert column(folder / "ADEChallengeData2016", "val") == [255, 0, 149, 149, 149, 149]
    make.write_mask(folder / "ADEChallengeData2016/annotations/validation/ADE_0.png", 151)
    with pytest.raises(
        ConfigError, match=r"validation/ADE_0.png: id 151 at row 0, column 0 .* 1 to 150, or 0 for void"
    ):
        column(folder, "val")


def test_camvid(tmp_path: Path) -> None:
    folder = write_camvid(tmp_path / "camvid", train=3)
    dataset = open_dataset(folder, "train")
    assert (dataset.name, dataset.names[2], dataset.ignore_index) == ("camvid", "train/002.png", 11)
    stored = cv2.imread(str(folder / "trainannot/002.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(dataset.label(2), stored)
    (folder / "train/001.png").unlink()
    with pytest.raises(ConfigError, match=r"trainannot/001.png has no image: expected train/001.\*$"):
        open_dataset(folder, "train")
    assert len(open_dataset(folder, "train", strict=False)) == 2
    shutil.rmtree(folder / "val")
    with pytest.raises(ConfigError, match=r"no split 'val' .*splits there: train; files there: train/, trainannot/"):
        open_dataset(folder, "val")


@pytest.mark.data
def test_the_real_camvid(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "camvid", "val")
    assert len(dataset) == 101
    assert dataset[100][0].shape == (360, 480, 3)
