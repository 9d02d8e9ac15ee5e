"""`rtseg data check`: read every file of a data set, count its classes, and list all that is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.datasets._dataset import Dataset
from rtseg.datasets.opening import find_layout, open_dataset
from rtseg.errors import ConfigError
from rtseg.image_file import quiet
from rtseg.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CheckedSplit", "check_data", "check_split", "print_check", "report"]


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of reading one sample: its size (height, width), pixels per label (256,), a digest of the image."""

    size: tuple[int, int]
    counts: NDArray[np.int64]
    digest: bytes


@dataclass(frozen=True, eq=False)
class CheckedSplit:
    """A split and what was found: per sample what was seen, None for one that cannot be read, and all problems."""

    dataset: Dataset
    seen: list[Seen | None]
    problems: list[str]

    def counts(self) -> NDArray[np.int64]:
        """Pixels per image and label, (images, 256) int64; zero for unreadable ones."""
        rows = [np.zeros(256, np.int64) if one is None else one.counts for one in self.seen]
        return np.stack(rows) if rows else np.zeros((0, 256), np.int64)


def check_data(
    folder: Path, *, name: str | None = None, split: str | None = None, progress: Console | None = None
) -> list[CheckedSplit]:
    """Read all splits of the data in `folder`, or one; `name` is a name of DATASETS, None recognises the layout.

    An image that occurs in two splits is a problem: a score on the one would say little. Errors: ConfigError where
    the folder as a whole, or every split of it, cannot be used.
    """
    layout = find_layout(folder, name)
    splits = [split] if split is not None else layout.splits(folder)
    if not splits:
        raise ConfigError(f"{folder} has no splits with images and masks: expected {layout.wanted}")
    checked: list[CheckedSplit] = []
    failures: list[ConfigError] = []
    for one in splits:
        try:
            checked.append(check_split(open_dataset(folder, one, name=name, strict=False), progress))
        except ConfigError as exc:
            failures.append(exc)
    if not checked:
        raise failures[0]
    checked[0].problems.extend(map(str, failures))
    _find_shared(checked)
    return checked


def check_split(dataset: Dataset, progress: Console | None = None) -> CheckedSplit:
    """Read every sample of a split."""

    def look(index: int) -> Seen | str:
        try:
            image, label = dataset.read(index)
        except ConfigError as exc:
            return str(exc)
        counts = np.bincount(label.ravel(), minlength=256)
        return Seen((label.shape[0], label.shape[1]), counts, hashlib.blake2b(image.tobytes(), digest_size=16).digest())

    with quiet(), ThreadPoolExecutor(min(4, os.cpu_count() or 1), "check") as pool:
        results = list(shown(pool.map(look, range(len(dataset))), len(dataset), f"reading {dataset.split}", progress))
    problems = [*dataset.problems, *(result for result in results if isinstance(result, str))]
    if not results:
        problems.append(f"split '{dataset.split}' has no images")
    return CheckedSplit(dataset, [None if isinstance(result, str) else result for result in results], problems)


def _find_shared(checked: list[CheckedSplit]) -> None:
    """Add a problem to a split for each of its images that an earlier split has too."""
    first: dict[bytes, tuple[str, str]] = {}
    for one in checked:
        for name, seen in zip(one.dataset.names, one.seen, strict=True):
            if seen is not None:
                split, other = first.setdefault(seen.digest, (one.dataset.split, name))
                if split != one.dataset.split:
                    one.problems.append(f"{name} is the same picture as {other} of {split}: keep it in one split")


def report(folder: Path, checked: list[CheckedSplit]) -> dict[str, Any]:
    """What was found, ready for JSON: shares are fractions of labelled pixels, void's of all pixels."""
    dataset = checked[0].dataset
    splits: dict[str, Any] = {}
    for one in checked:
        counts = one.counts()
        pixels, total = counts.sum(0), int(counts.sum())
        labelled = max(int(pixels[: len(dataset.classes)].sum()), 1)
        sizes = Counter(seen.size for seen in one.seen if seen is not None)
        splits[one.dataset.split] = {
            "images": len(one.seen),
            "readable": sum(sizes.values()),
            "sizes": {f"{height}x{width}": count for (height, width), count in sizes.most_common()},
            "void_share": float(pixels[dataset.ignore_index] / max(total, 1)),
            "classes": {
                name: {"share": float(pixels[index] / labelled), "images": int((counts[:, index] > 0).sum())}
                for index, name in enumerate(dataset.classes)
            },
            "problems": one.problems,
        }
    return {
        "folder": str(folder),
        "dataset": dataset.name,
        "license": dataset.license,
        "classes": len(dataset.classes),
        "ignore_index": dataset.ignore_index,
        "problems": sum(len(one.problems) for one in checked),
        "splits": splits,
    }


def print_check(found: dict[str, Any], console: Console) -> None:
    """Print a report for a person."""
    from rich.table import Table
    from rich.text import Text

    splits = found["splits"]
    title = f"{found['dataset']}: {found['classes']} classes, license {found['license']}, {found['folder']}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("split", "images", "void", "sizes (height x width)"):
        table.add_column(heading, justify="left" if heading.startswith("s") else "right")
    for name, split in splits.items():
        sizes = [f"{size} ({count})" if len(split["sizes"]) > 1 else size for size, count in split["sizes"].items()]
        text = ", ".join(sizes[:4]) + f" and {len(sizes) - 4} more" * (len(sizes) > 4)
        table.add_row(name, str(split["images"]), _percent(split["void_share"]), text)
    console.print(table)
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in splits:
        table.add_column(f"{name} pixels", justify="right")
        table.add_column(f"{name} images", justify="right")
    for index, name in enumerate(next(iter(splits.values()))["classes"]):
        cells = []
        for split in splits.values():
            entry = split["classes"][name]
            style = "" if entry["images"] else "yellow"
            cells += [Text(_percent(entry["share"]), style), Text(str(entry["images"]), style)]
        table.add_row(Text(f"{index:>3} {name}"), *cells)
    console.print(table)
    for name, split in splits.items():
        for problem in split["problems"]:
            console.print(Text(f"{name}: {problem}", style="red"), soft_wrap=True)
    count = found["problems"]
    console.print(f"{count} problem{'s' * (count != 1)}" if count else "no problems", highlight=False)


def _percent(share: float) -> str:
    return "-" if share == 0 else f"{100 * share:.2f} %"
