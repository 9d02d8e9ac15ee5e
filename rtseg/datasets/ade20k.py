"""ADE20K, the 150 classes of the scene parsing benchmark (Zhou et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Facts, Layout, missing_split
from rtseg.datasets._files import pair_up, read_image, read_mask
from rtseg.datasets._labels import IdMap
from rtseg.datasets._listing import LISTINGS
from rtseg.drawing.palette import published
from rtseg.errors import ConfigError

__all__ = ["FACTS", "LAYOUT"]

_palette, _classes = published("ade20k")
LICENSE = "BSD-3-Clause (annotations), images for research only"
FACTS = Facts("ade20k", _classes, tuple(_palette), 255, LICENSE, drives=False)
IDS = IdMap({0: 255, **{value: value - 1 for value in range(1, 151)}}, "1 to 150, or 0 for void")
FOLDERS = {"train": "training", "val": "validation"}


def root(folder: Path) -> Path | None:
    """The folder with images/training: the one given, or ADEChallengeData2016 in it."""
    for place in (folder, folder / "ADEChallengeData2016"):
        # With a list of classes of its own it is somebody's own data, for the layout `folders`.
        if any((place / listing).is_file() for listing in LISTINGS):
            continue
        if any((place / "images" / name).is_dir() for name in FOLDERS.values()) and (place / "annotations").is_dir():
            return place
    return None


def splits(folder: Path) -> list[str]:
    """train and val, where images are there."""
    place = root(folder)
    return [] if place is None else [name for name, own in FOLDERS.items() if (place / "images" / own).is_dir()]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split, in name order."""
    place = root(folder)
    if place is None:
        raise ConfigError(f"no ADE20K data in {folder}: expected {LAYOUT.wanted}")
    if split not in splits(folder):
        raise missing_split(place, split, splits(folder))
    own = FOLDERS[split]
    pairs, problems = pair_up(folder, place / "images" / own, place / "annotations" / own)
    return Dataset(
        FACTS,
        split,
        [str(image.relative_to(folder)) for image, _ in pairs],
        lambda index: read_image(pairs[index][0]),
        lambda index: IDS(read_mask(pairs[index][1]), str(pairs[index][1])),
        problems,
    )


LAYOUT = Layout(
    "ADEChallengeData2016 with images/training and annotations/training (and validation)",
    lambda folder: root(folder) is not None,
    splits,
    open_split,
)
