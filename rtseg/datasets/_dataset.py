"""What every data set is once its folder is understood: names, metadata, and two functions that read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.frame import Image, Labels

__all__ = ["Dataset", "Draw", "Facts", "Layout", "class_pixels", "contents", "missing_split"]

KEEP_BYTES = 2_000_000_000
"""A split that takes less than this when decoded is kept in memory; larger ones are read each time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not depend on the split: class names, (R, G, B) per class, the label that is not a class, license, and
    whether images with neighbouring numbers may follow one another in time."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    ignore_index: int
    license: str
    drives: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ConfigError(f"data set {self.name} has {len(self.classes)} classes: expected 1 to 255")


@dataclass(frozen=True, slots=True)
class Draw:
    """How images are split into train and val where a folder has no lists: the share of val, and the seed."""

    fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ConfigError(f"the fraction for val is {self.fraction}: expected more than 0 and less than 1")

    def chosen(self, split: str, count: int) -> list[int]:
        """The indices of `count` samples that belong to `split`, ascending; val has one at least where two exist."""
        order = np.random.default_rng(self.seed).permutation(count).tolist()
        size = min(max(1, round(count * self.fraction)), count - 1)
        return sorted(order[:size] if split == "val" else order[size:])


class Dataset:
    """One split of labelled images; the same from any number of threads.

    `dataset[i]` is an image, HWC uint8 BGR, and its label map, HW uint8 train ids with `ignore_index` for void; sizes
    may differ from one to the next. A small split is decoded once and kept: do not write to what you get. `names` are
    files relative to the folder, `problems` lines on files that were left out. Errors: ConfigError naming the file.
    """

    def __init__(
        self,
        facts: Facts,
        split: str,
        names: Sequence[str],
        read_image: Callable[[int], Image],
        read_label: Callable[[int], Labels],
        problems: Sequence[str] = (),
    ) -> None:
        self.name, self.classes, self.palette = facts.name, facts.classes, facts.palette
        self.ignore_index, self.license = facts.ignore_index, facts.license
        self.facts, self.split, self.names, self.problems = facts, split, list(names), list(problems)
        self._read_image, self._read_label = read_image, read_label
        self._kept: dict[int, tuple[Image, Labels]] = {}

    @property
    def licence(self) -> str:
        """`license` by the name that it had in 0.1; deprecated."""
        warnings.warn("Dataset.licence is called license", DeprecationWarning, stacklevel=2)
        return self.license

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Labels]:
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        sample = self._kept.get(index)
        if sample is None:
            sample = self.read(index)
            if (sample[0].nbytes + sample[1].nbytes) * len(self.names) < KEEP_BYTES:
                self._kept[index] = sample
        return sample

    def read(self, index: int) -> tuple[Image, Labels]:
        """Image and label map from the disk, not kept."""
        image, label = self._read_image(index), self._read_label(index)
        if image.shape[:2] != label.shape:
            raise ConfigError(
                f"{self.names[index]} is {_size(image)} (height x width), its mask is {_size(label)}: they must agree"
            )
        return image, label

    def label(self, index: int) -> Labels:
        """The label map alone, without decoding the image."""
        sample = self._kept.get(index)
        return sample[1] if sample is not None else self._read_label(index)

    def first(self, limit: int | None) -> Dataset:
        """The first `limit` samples, or all of them."""
        return Dataset(self.facts, self.split, self.names[:limit], self._read_image, self._read_label, self.problems)


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which data sets lie on disk.

    `wanted` says in a phrase what is looked for. `fits` says whether a folder looks like it, `splits` which splits
    it has, `open` reads one; unusable files go to the data set's `problems`, a folder that cannot be used at all is
    a ConfigError.
    """

    wanted: str
    fits: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    open: Callable[[Path, str, Draw], Dataset]


def class_pixels(dataset: Dataset) -> NDArray[np.int64]:
    """Labelled pixels per class over a whole split, void left out, (classes,) int64; reads every label map."""
    counts = np.zeros(256, np.int64)
    for index in range(len(dataset)):
        counts += np.bincount(dataset.label(index).ravel(), minlength=256)
    return counts[: len(dataset.classes)]


def contents(folder: Path) -> str:
    """What lies in a folder, for messages: at most eight names, folders with a slash."""
    found = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir() if not p.name.startswith("."))
    return (", ".join(found[:8]) + f" and {len(found) - 8} more" * (len(found) > 8)) or "nothing"


def missing_split(folder: Path, split: str, splits: Sequence[str]) -> ConfigError:
    """The error for a split that is not there."""
    known = ", ".join(splits) if splits else "none"
    return ConfigError(f"no split '{split}' in {folder} (splits there: {known}; files there: {contents(folder)})")


def _size(array: NDArray[np.uint8]) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
