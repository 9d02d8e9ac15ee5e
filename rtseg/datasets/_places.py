"""Where a custom folder keeps images and masks, and how they are assigned to splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rtseg.datasets._dataset import Draw, missing_split
from rtseg.datasets._files import listed_names
from rtseg.errors import ConfigError

__all__ = ["SPLIT_NAMES", "deal", "dealt_splits", "places"]

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Names of folders that are splits, and what they are called here."""
IMAGES = ("images", "image", "imgs", "x", "X")
MASKS = ("masks", "mask", "labels", "label", "annotations", "y", "Y")
LIST = "split.txt"
Place = tuple[Path, Path]


def places(folder: Path, holds: Callable[[Path], bool]) -> dict[str, Place]:
    """The folders of images and masks of each split, "" where the folder has no splits; empty if there are none.

    Looked for are images/ and masks/, images/<split>/ and masks/<split>/, and <split>/images/ and <split>/masks/;
    `holds` says whether a folder of images holds files of the requested kind.
    """
    both = _pair(folder)
    if both is not None:
        found = {
            SPLIT_NAMES[name]: (both[0] / name, both[1] / name)
            for name in SPLIT_NAMES
            if (both[0] / name).is_dir() and holds(both[0] / name)
        }
        return found or ({"": both} if holds(both[0]) else {})
    result: dict[str, Place] = {}
    for name, split in SPLIT_NAMES.items():
        pair = _pair(folder / name)
        if pair is not None and holds(pair[0]):
            result[split] = pair
    return result


def dealt_splits(folder: Path) -> list[str]:
    """The splits of a folder whose images lie together: those of split.txt or the lists, else train and val."""
    if (folder / LIST).is_file():
        named = {split for _, split in _assignments(folder / LIST)}
        return [name for name in ("train", "val", "test") if name in named]
    return [name for name in ("train", "val", "test") if (folder / f"{name}.txt").is_file()] or ["train", "val"]


def deal(folder: Path, split: str, names: Sequence[str], draw: Draw) -> tuple[list[int], list[str]]:
    """The indices in `names` (paths below the folder of images, without suffix) of the samples of `split`.

    By split.txt (`NAME SPLIT` per line), by <split>.txt (one name per line), else drawn. Returned beside them are
    lines about listed names that are not there. Errors: ConfigError for a split that nothing names.
    """
    if split not in dealt_splits(folder):
        raise missing_split(folder, split, dealt_splits(folder))
    if (folder / LIST).is_file():
        path = folder / LIST
        wanted = [name for name, own in _assignments(path) if own == split]
    elif (folder / f"{split}.txt").is_file():
        path = folder / f"{split}.txt"
        wanted = listed_names(path)
    else:
        return draw.chosen(split, len(names)), []
    known = {name: index for index, name in enumerate(names)}
    chosen: list[int] = []
    problems: list[str] = []
    for name in wanted:
        index = known.get(name, known.get(Path(name).with_suffix("").as_posix()))
        if index is None:
            problems.append(f"{path.name} lists {name}, which is not there or has no mask")
        else:
            chosen.append(index)
    return chosen, problems


def _assignments(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for line in listed_names(path):
        name, _, split = line.rpartition(" ")
        if not name or split not in SPLIT_NAMES:
            raise ConfigError(f"{path}: expected `NAME train`, `NAME val` or `NAME test`, found '{line}'")
        pairs.append((name.strip(), SPLIT_NAMES[split]))
    return pairs


def _pair(folder: Path) -> Place | None:
    images = next((folder / name for name in IMAGES if (folder / name).is_dir()), None)
    masks = next((folder / name for name in MASKS if (folder / name).is_dir()), None)
    return (images, masks) if images is not None and masks is not None else None
