"""Tiny images and masks in every layout; images are noise from a seed, so that no two are the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.drawing.palette import voc_colormap

SIZE = (6, 8)


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Write noise and return it, BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)
    return image


def write_mask(path: Path, *rows: int | tuple[int, int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Write a mask whose rows hold the given ids or (R, G, B), the last one down to the bottom; return it as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.array([rows[min(row, len(rows) - 1)] for row in range(size[0])], np.uint8)
    mask = np.repeat(values[:, None], size[1], axis=1)
    assert cv2.imwrite(str(path), mask[..., ::-1] if mask.ndim == 3 else mask)
    return mask


def write_indexed(path: Path, mask: np.ndarray, palette: list[tuple[int, ...]] | None = None) -> None:
    """Write ids as an indexed PNG with the colours of VOC, as its masks are, or with others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette([value for row in palette or voc_colormap() for value in row])
    picture.save(path)


def write_cityscapes(folder: Path) -> Path:
    """One image in train with label ids, one in val with train ids."""
    for index, (split, city) in enumerate((("train", "aachen"), ("val", "ulm"))):
        stem = f"{city}_000000_00001{index}"
        write_image(folder / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", index)
        base = folder / f"gtFine/{split}/{city}/{stem}_gtFine"
        write_mask(Path(f"{base}_labelIds.png"), 0, 7, 8, 26, 33)
    write_mask(Path(f"{base}_labelTrainIds.png"), 255, 0, 18)
    return folder


def write_voc(folder: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    """VOCdevkit/VOC2012 with the first name in train and the second in val, masks indexed."""
    root = folder / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for index, name in enumerate(names):
        write_image(root / f"JPEGImages/{name}.jpg", index)
        mask = np.zeros(SIZE, np.uint8)
        mask[1], mask[2] = 15, 255
        write_indexed(root / f"SegmentationClass/{name}.png", mask)
    (lists / "train.txt").write_text(f"{names[0]}\n")
    (lists / "val.txt").write_text(f"{names[1]}\n\n")
    (lists / "trainval.txt").write_text("\n".join(names))
    return folder


def write_ade20k(folder: Path) -> Path:
    """ADEChallengeData2016 with two images in train and one in val."""
    root = folder / "ADEChallengeData2016"
    for split, count in (("training", 2), ("validation", 1)):
        for index in range(count):
            write_image(root / f"images/{split}/ADE_{index}.jpg", index + 10 * count)
            write_mask(root / f"annotations/{split}/ADE_{index}.png", 0, 1, 150)
    return folder


def write_folders(folder: Path, count: int = 5) -> Path:
    """images/ and masks/ of three classes by id, named in classes.txt."""
    for index in range(count):
        write_image(folder / f"images/{index:02d}.png", index)
        write_mask(folder / f"masks/{index:02d}.png", 0, 1, 2, 255)
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    return folder
