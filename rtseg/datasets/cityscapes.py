"""Cityscapes, fine annotations: 2048x1024 street images, 19 train ids (Cordts et al. 2016)."""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Facts, Layout, missing_split
from rtseg.datasets._files import read_image, read_mask
from rtseg.datasets._labels import IdMap
from rtseg.drawing.palette import published
from rtseg.frame import Labels

__all__ = ["FACTS", "LAYOUT"]

_palette, _classes = published("cityscapes")
FACTS = Facts("cityscapes", _classes, tuple(_palette), 255, "Cityscapes: non-commercial, no redistribution")
TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of the 19 classes, in the order of their train ids (labels.py of cityscapesScripts); of its 34 ids the
others are void."""
LABEL_IDS = IdMap(
    {**dict.fromkeys((*range(34), 255), 255), **{stored: train for train, stored in enumerate(TRAINED)}},
    "the label ids 0 to 33",
)
TRAIN_IDS = IdMap({value: value for value in (*range(19), 255)}, "0 to 18, or 255 for void")


def splits(folder: Path) -> list[str]:
    """Splits that have images and annotations; the public annotations of test are blank and left out."""
    return [
        name
        for name in ("train", "val")
        if (folder / "leftImg8bit" / name).is_dir() and (folder / "gtFine" / name).is_dir()
    ]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split; `*_labelTrainIds.png` where it is there, else `*_labelIds.png`."""
    if split not in splits(folder):
        raise missing_split(folder, split, splits(folder))
    images: list[Path] = []
    masks: list[Path] = []
    problems: list[str] = []
    for path in sorted((folder / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")):
        stem = path.name.removesuffix("_leftImg8bit.png")
        base = folder / "gtFine" / split / path.parent.name
        choices = [base / f"{stem}_gtFine_labelTrainIds.png", base / f"{stem}_gtFine_labelIds.png"]
        mask = next((choice for choice in choices if choice.is_file()), None)
        if mask is None:
            problems.append(f"{path.relative_to(folder)} has no mask: expected {choices[1].relative_to(folder)}")
        else:
            images.append(path)
            masks.append(mask)

    def read_label(index: int) -> Labels:
        path = masks[index]
        return (TRAIN_IDS if path.name.endswith("TrainIds.png") else LABEL_IDS)(read_mask(path), str(path))

    names = [str(path.relative_to(folder)) for path in images]
    return Dataset(FACTS, split, names, lambda index: read_image(images[index]), read_label, problems)


LAYOUT = Layout(
    "leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_labelIds.png",
    lambda folder: (folder / "leftImg8bit").is_dir() and (folder / "gtFine").is_dir(),
    splits,
    open_split,
)
