"""A folder of labelled images: recognised by its layout, and one split of it opened."""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Layout, contents
from rtseg.errors import ConfigError
from rtseg.registry import DATASETS, load

__all__ = ["find_layout", "open_dataset"]


def open_dataset(
    folder: str | Path,
    split: str,
    *,
    name: str | None = None,
    limit: int | None = None,
    fraction: float = 0.2,
    seed: int = 0,
    strict: bool = True,
) -> Dataset:
    """One split (`train`, `val`, `test`, …) of the data set in `folder`.

    `name` is a name of DATASETS; None recognises the layout. `limit` takes the first images only. Where a folder has
    no splits of its own, val gets `fraction` of the images, drawn with `seed`. Unless `strict` is false, a file
    without its counterpart is an error; else it is left out and listed in `problems`. Errors: ConfigError.
    """
    folder = Path(folder)
    layout = find_layout(folder, name)
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit is {limit} images: expected 1 at least")
    dataset = layout.open(folder, split, Draw(fraction, seed))
    if strict and dataset.problems:
        more = len(dataset.problems) - 1
        rest = f" (and {more} more: `rtseg data check {folder}` lists them)" if more else ""
        raise ConfigError(f"{folder}: {dataset.problems[0]}{rest}")
    if strict and not len(dataset):
        raise ConfigError(f"split '{split}' in {folder} has no images")
    return dataset if limit is None else dataset.first(limit)


def find_layout(folder: str | Path, name: str | None = None) -> Layout:
    """The layout of a folder, or the one called `name` if the folder has it.

    Errors: ConfigError that says what was looked for and what is there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}" if not folder.exists() else f"{folder} is a file, expected a folder")
    if name is not None:
        layout: Layout = load(DATASETS, name, "data set")
        if not layout.fits(folder):
            raise ConfigError(f"{folder} holds no {name} data: expected {layout.wanted}; found {contents(folder)}")
        return layout
    layouts: dict[str, Layout] = {known: load(DATASETS, known, "data set") for known in DATASETS}
    for layout in layouts.values():
        if layout.fits(folder):
            return layout
    wanted = "; ".join(f"{known}: {layout.wanted}" for known, layout in layouts.items())
    raise ConfigError(f"no data set recognised in {folder} (found {contents(folder)}); looked for {wanted}")
