"""`.npy` pairs: images.npy and labels.npy, or folders of one file per image; memory-mapped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.datasets._arrays import Array, image_of, label_channels, label_of, open_array
from rtseg.datasets._dataset import Dataset, Draw, Layout, missing_split
from rtseg.datasets._listing import channel_listing, read_listing
from rtseg.datasets._places import SPLIT_NAMES, deal, dealt_splits, places
from rtseg.errors import ConfigError
from rtseg.frame import Labels

__all__ = ["LAYOUT"]

STACKS = (("images", "labels"), ("images", "masks"), ("x", "y"), ("X", "Y"), ("X", "y"))
PREFIX = re.compile(r"^(x|y|images?|img|labels?|masks?)_", re.IGNORECASE)


def holds_arrays(folder: Path) -> bool:
    """Whether there is a .npy file in a folder."""
    return any(folder.glob("*.npy"))


def stacks(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Files of all images and all labels for each split, "" where the folder has no splits."""
    found: dict[str, tuple[Path, Path]] = {}
    for first, second in STACKS:
        names = {"": (f"{first}.npy", f"{second}.npy")}
        for word, split in SPLIT_NAMES.items():
            for pattern in (f"{word}/{{}}.npy", f"{word}_{{}}.npy", f"{{}}_{word}.npy"):
                images, labels = pattern.format(first), pattern.format(second)
                if (folder / images).is_file() and (folder / labels).is_file():
                    names[split] = (images, labels)
        for split, (images, labels) in names.items():
            if (folder / images).is_file() and (folder / labels).is_file():
                found.setdefault(split, (folder / images, folder / labels))
    return found if found.keys() == {""} else {split: pair for split, pair in found.items() if split}


def singles(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of one .npy per image and per label map; both are `folder` itself where x_*.npy lie beside y_*.npy."""
    found = places(folder, holds_arrays)
    if not found and any(folder.glob("[xX]_*.npy")) and any(folder.glob("[yY]_*.npy")):
        return {"": (folder, folder)}
    return found


def splits(folder: Path) -> list[str]:
    """The splits that names of files or folders give, else those of the lists, else the two that are drawn."""
    found = stacks(folder) or singles(folder)
    if "" in found:
        return dealt_splits(folder)
    return [name for name in ("train", "val", "test") if name in found]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split, in the order of the array or of the file names."""
    for find, read in ((stacks, _open_stack), (singles, _open_singles)):
        found = find(folder)
        if found:
            place = found.get("") or found.get(split)
            if place is None:
                raise missing_split(folder, split, splits(folder))
            images, labels, names, problems = read(folder, *place)
            chosen = range(len(names))
            if "" in found:
                indices, more = deal(folder, split, [Path(name).with_suffix("").as_posix() for name in names], draw)
                chosen, problems = indices, problems + more  # type: ignore[assignment]
            return _dataset(folder, split, [(images[i], labels[i], names[i]) for i in chosen], problems)
    raise ConfigError(f"no .npy pairs in {folder}: expected {LAYOUT.wanted}")


Item = tuple[Path, int | None]
"""A file, and the place in it of one sample; None for the whole file."""
Opened = tuple[list[Item], list[Item], list[str], list[str]]


def _open_stack(folder: Path, images: Path, labels: Path) -> Opened:
    counts = [open_array(path).shape[0] for path in (images, labels)]
    if counts[0] != counts[1]:
        raise ConfigError(f"{images} holds {counts[0]} images, {labels.name} {counts[1]} label maps: they must agree")
    name = str(images.relative_to(folder))
    items: list[list[Item]] = [[(path, index) for index in range(counts[0])] for path in (images, labels)]
    return items[0], items[1], [f"{name}[{index}]" for index in range(counts[0])], []


def _open_singles(folder: Path, images: Path, labels: Path) -> Opened:
    same = images == labels
    found = {PREFIX.sub("", path.stem): path for path in sorted(images.glob("[xX]_*.npy" if same else "*.npy"))}
    rest = {PREFIX.sub("", path.stem): path for path in sorted(labels.glob("[yY]_*.npy" if same else "*.npy"))}
    problems = [f"{path.relative_to(folder)} has no labels" for key, path in found.items() if key not in rest]
    problems += [f"{path.relative_to(folder)} has no image" for key, path in rest.items() if key not in found]
    keys = [key for key in found if key in rest]
    names = [str(found[key].relative_to(folder)) for key in keys]
    return [(found[key], None) for key in keys], [(rest[key], None) for key in keys], names, problems


def _dataset(folder: Path, split: str, samples: list[tuple[Item, Item, str]], problems: list[str]) -> Dataset:
    arrays: dict[Path, Array] = {}

    def array(item: Item) -> Array:
        path, index = item
        if index is None:
            return open_array(path)
        if path not in arrays:
            arrays[path] = open_array(path)
        sample: Array = arrays[path][index]
        return sample

    def where(item: Item) -> str:
        return str(item[0]) if item[1] is None else f"{item[0]}[{item[1]}]"

    def size(index: int) -> tuple[int, int]:
        shape: tuple[int, ...] = array(samples[index][0]).shape
        if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
            return shape[1], shape[2]
        return shape[0], shape[1]

    listing = read_listing(folder)
    if samples:
        channels = label_channels(array(samples[0][1]), size(0))
        if channels > 1:
            listing = channel_listing(folder, channels)

    def read_image(index: int) -> NDArray[np.uint8]:
        item = samples[index][0]
        return image_of(array(item), where(item), bgr=listing.channels == "BGR")

    def read_label(index: int) -> Labels:
        item = samples[index][1]
        return label_of(array(item), size(index), where(item), listing)

    return Dataset(listing.facts, split, [name for _, _, name in samples], read_image, read_label, problems)


LAYOUT = Layout(
    "images.npy and labels.npy (or x.npy and y.npy), or images/*.npy and labels/*.npy, with splits in their names",
    lambda folder: bool(stacks(folder) or singles(folder)),
    splits,
    open_split,
)
