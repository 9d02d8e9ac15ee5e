"""`.npy` pairs: ids, one-hot and binary labels, bytes and floats, one file or many, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.datasets import find_layout, open_dataset
from rtseg.errors import ConfigError

N, H, W = 5, 6, 8
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, H, W, 3), dtype=np.uint8)
IDS = RNG.integers(0, 3, (N, H, W), dtype=np.uint8)
ONE_HOT = (IDS[..., None] == np.arange(3)).astype(np.uint8)


def save(folder: Path, images: Any, labels: Any, names: tuple[str, str] = ("images", "labels")) -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, (images, labels), strict=True):
        np.save(folder / f"{name}.npy", array)
    return folder


def everything(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of train and val in the order of the array."""
    samples = {}
    for split in ("train", "val"):
        dataset = open_dataset(folder, split)
        samples |= {name: dataset[index] for index, name in enumerate(dataset.names)}
    ordered = [samples[f"images.npy[{index}]"] for index in range(N)]
    return np.stack([image for image, _ in ordered]), np.stack([label for _, label in ordered])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES, ONE_HOT),
        (IMAGES, ONE_HOT.transpose(0, 3, 1, 2).astype(np.float32)),
        (IMAGES / 255, ONE_HOT.astype(bool)),
        ((IMAGES / 255).astype(np.float32).transpose(0, 3, 1, 2), ONE_HOT.astype(np.int64)),
    ],
)
def test_one_hot_in_every_order(tmp_path: Path, images: Any, labels: Any) -> None:
    found, ids = everything(save(tmp_path, images, labels))
    assert np.array_equal(found, IMAGES[..., ::-1])  # RGB in the file
    assert np.array_equal(ids, IDS)
    dataset = open_dataset(tmp_path, "val")
    assert dataset.classes == ("class 0", "class 1", "class 2")
    assert len(dataset) == 1


@pytest.mark.parametrize("labels", [IDS, IDS[..., None], IDS.astype(np.int64), IDS.astype(np.float32)])
def test_ids_with_names(tmp_path: Path, labels: Any) -> None:
    (tmp_path / "dataset.yaml").write_text("classes: [a, b, c]\nchannels: BGR\n")
    found, ids = everything(save(tmp_path, IMAGES, labels))
    assert np.array_equal(found, IMAGES)
    assert np.array_equal(ids, IDS)


@pytest.mark.parametrize("labels", [IDS == 1, (IDS == 1) * 1.0, (IDS == 1)[..., None] * 255, (IDS == 1)[:, None] * 1])
def test_binary(tmp_path: Path, labels: Any) -> None:
    _, ids = everything(save(tmp_path, IMAGES, labels))
    assert np.array_equal(ids, (IDS == 1).astype(np.uint8))
    assert open_dataset(tmp_path, "train").classes == ("background", "object")


def test_grey_images_and_void_pixels(tmp_path: Path) -> None:
    labels = ONE_HOT.copy()
    labels[0, 1, 2] = 0
    found, ids = everything(save(tmp_path, IMAGES[..., 0], labels))
    assert np.array_equal(found, IMAGES[..., :1].repeat(3, axis=3))
    assert ids[0, 1, 2] == 255
    assert (ids == 255).sum() == 1


@pytest.mark.parametrize("names", [("train/x", "train/y"), ("train_images", "train_masks"), ("X_train", "y_train")])
def test_splits_by_name(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "train").mkdir()
    save(tmp_path, IMAGES, ONE_HOT, names)
    assert find_layout(tmp_path).splits(tmp_path) == ["train"]
    assert len(open_dataset(tmp_path, "train")) == N
    with pytest.raises(ConfigError, match="no split 'val'"):
        open_dataset(tmp_path, "val")


@pytest.mark.parametrize("folders", [("images", "labels"), ("images/train", "labels/train"), (".", ".")])
def test_one_file_per_image(tmp_path: Path, folders: tuple[str, str]) -> None:
    for folder, letter, arrays in zip(folders, "xy", (IMAGES, ONE_HOT), strict=True):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for index in range(N):
            np.save(tmp_path / folder / f"{letter}_{index:04d}.npy", arrays[index, : H - index])
    dataset = open_dataset(tmp_path, "train")
    last = int(dataset.names[-1][-5])
    assert len(dataset) == (N if "train" in folders[0] else 4)
    image, label = dataset[len(dataset) - 1]
    assert np.array_equal(image, IMAGES[last, : H - last, :, ::-1])
    assert np.array_equal(label, IDS[last, : H - last])
    (tmp_path / folders[1] / "y_0002.npy").unlink()
    with pytest.raises(ConfigError, match=r"x_0002.npy has no labels"):
        open_dataset(tmp_path, "train")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    def wrong(images: Any, labels: Any, text: str) -> None:
        save(tmp_path, images, labels)
        with pytest.raises(ConfigError, match=text):
            everything(tmp_path)

    wrong(IMAGES, ONE_HOT[:4], r"images.npy holds 5 images, labels.npy 4 label maps")
    wrong(
        IMAGES, IDS * 2, r"labels.npy\[\d\]: id \d at row \d, column \d is not a class.*no dataset.yaml or classes.txt"
    )
    wrong(IMAGES, IDS.astype(np.int64) - 1, r"id -1 at row")
    wrong(IMAGES, IDS * 0.5, r"id 0.5 at row")
    wrong(IMAGES.astype(np.int32), ONE_HOT, r"images.npy\[\d\]: an image of int32: expected uint8")
    wrong(IMAGES.astype(np.float32), ONE_HOT, r"floats from .*: expected 0 to 1, or uint8")
    wrong(IMAGES, np.ones_like(ONE_HOT), r"labels.npy\[\d\]: 3 classes at row 0, column 0")
    wrong(IMAGES, ONE_HOT * 0.7, r"at row 0, column 0: one-hot labels are 0 and 1")
    wrong(IMAGES, np.zeros((N, 4, 4), np.uint8), r"labels of shape \(4, 4\) for an image of 6x8")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    save(tmp_path, np.array([IMAGES, None], dtype=object), ONE_HOT)
    with pytest.raises(ConfigError, match=r"images.npy cannot be read: it holds pickled Python objects"):
        open_dataset(tmp_path, "train")
    (tmp_path / "images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ConfigError, match=r"images.npy cannot be read"):
        open_dataset(tmp_path, "train")
