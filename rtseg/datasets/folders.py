"""Plain folders of images and of masks with the same names, as ids or colours."""

from __future__ import annotations

from pathlib import Path

from rtseg.datasets._dataset import Dataset, Draw, Layout, missing_split
from rtseg.datasets._files import is_indexed, pair_up, read_image, read_mask
from rtseg.datasets._listing import read_listing
from rtseg.datasets._places import deal, dealt_splits, places
from rtseg.errors import ConfigError
from rtseg.frame import Labels
from rtseg.image_file import SUFFIXES

__all__ = ["LAYOUT"]


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder or below it."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def splits(folder: Path) -> list[str]:
    """The splits that the folders name, else those of the lists, else the two that are drawn."""
    found = places(folder, holds_images)
    return dealt_splits(folder) if "" in found else [name for name in ("train", "val", "test") if name in found]


def open_split(folder: Path, split: str, draw: Draw) -> Dataset:
    """One split, in name order; its classes are those of `dataset.yaml` or `classes.txt` in the folder."""
    found = places(folder, holds_images)
    if not found:
        raise ConfigError(f"no folders of images and masks in {folder}: expected {LAYOUT.wanted}")
    place = found.get("") or found.get(split)
    if place is None:
        raise missing_split(folder, split, splits(folder))
    listing = read_listing(folder)
    pairs, problems = pair_up(folder, *place)
    if "" in found:
        names = [image.relative_to(place[0]).with_suffix("").as_posix() for image, _ in pairs]
        chosen, more = deal(folder, split, names, draw)
        pairs, problems = [pairs[index] for index in chosen], problems + more

    def read_label(index: int) -> Labels:
        path = pairs[index][1]
        # Where classes have colours, the palette of an indexed PNG holds them; its indices may be in any order.
        by_color = listing.masks == "colors" or (listing.masks is None and listing.colors is not None)
        return listing.label(read_mask(path, indexed_as_colors=by_color and is_indexed(path)), str(path))

    return Dataset(
        listing.facts,
        split,
        [str(image.relative_to(folder)) for image, _ in pairs],
        lambda index: read_image(pairs[index][0], upright=True),
        read_label,
        problems,
    )


LAYOUT = Layout(
    "images/ and masks/ (or labels/, annotations/), with <split>/ in or above them or none",
    lambda folder: bool(places(folder, holds_images)),
    splits,
    open_split,
)
