"""Which classes a custom folder has: `dataset.yaml` or `classes.txt`, else two classes, background and object.

`classes.txt`: one name per line, in id order, or `R G B name`. `dataset.yaml`:

    classes:
      - road                                        # id 0: the place in the list
      - {name: car, color: [64, 0, 128]}            # colours for masks of colours, and for pictures
      - {name: person, id: [11, 12]}                # ids other than the place
    ignore: [255, [0, 0, 0]]                        # ids and colours that are void; 255 unless given
    masks: ids                                      # or colors: how masks are read, where it is not plain
    channels: RGB                                   # order in .npy images (the default), or BGR
    name: my-data
    license: CC BY 4.0

A class called void, ignore, unlabelled or unlabeled is void.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from rtseg.datasets._dataset import Facts
from rtseg.datasets._labels import Color, ColorMap, IdMap, first_pixel
from rtseg.drawing.palette import read_classes, read_colors, voc_colormap
from rtseg.errors import ConfigError
from rtseg.frame import Image, Labels

__all__ = ["LISTINGS", "Listing", "binary_listing", "channel_listing", "read_listing"]

LISTINGS = ("dataset.yaml", "classes.txt")
VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
VOID = 255
NO_LIST = "no dataset.yaml or classes.txt was found, so masks hold 0 and 1 or 0 and 255"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class in dataset.yaml."""

    name: str
    id: int | list[int] | None = None
    color: tuple[int, int, int] | None = None


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of dataset.yaml."""

    classes: list[str | Entry]
    ignore: int | list[int | tuple[int, int, int]] | None = None
    masks: Literal["ids", "colors"] | None = None
    channels: Literal["RGB", "BGR"] = "RGB"
    name: str | None = None
    license: str = "unknown"


@dataclass(frozen=True, eq=False)
class Listing:
    """Facts of a data set, and how its masks become train ids.

    `colors` is None where no class has a colour, `masks` says which of the two a mask is read as, None leaves it to
    the mask. `binary`: there are two classes, nothing names their ids, and 255 may stand for 1.
    """

    facts: Facts
    ids: IdMap
    colors: ColorMap | None
    masks: str | None
    channels: str
    binary: bool
    expected: str

    def by_color(self, raw: Image) -> bool:
        """Whether a mask is to be read by colours."""
        if self.masks is not None:
            return self.masks == "colors"
        return self.colors is not None and raw.ndim == 3

    def label(self, raw: Image, where: str) -> Labels:
        """Train ids of a mask as stored, HW uint8. Errors: ConfigError naming `where`."""
        if self.by_color(raw):
            assert self.colors is not None, "checked where the listing is read"
            return self.colors(raw, where)
        if self.binary and raw.ndim == 2 and (raw == VOID).any():
            if (raw == 1).any():
                row, column = first_pixel(raw == VOID)
                raise ConfigError(
                    f"{where}: holds 0 or 1 and, at row {row}, column {column}, 255: name the classes and say "
                    "`ignore: 255` in dataset.yaml if 255 is void"
                )
            return self.ids((raw // VOID) if (raw % VOID == 0).all() else raw, where)
        return self.ids(raw, where)


def read_listing(folder: Path) -> Listing:
    """The listing of a folder; two classes where it has none. Errors: ConfigError with the file."""
    yaml, text = (folder / name for name in LISTINGS)
    if yaml.is_file():
        try:
            content = msgspec.yaml.decode(yaml.read_bytes())
            if isinstance(content, dict) and "license" not in content and "licence" in content:
                content["license"] = content.pop("licence")  # the key of 0.1
            return _listing(msgspec.convert(content, File), folder, str(yaml))
        except (msgspec.DecodeError, OSError) as exc:
            raise ConfigError(f"{yaml}: {' '.join(str(exc).split())}") from exc
    if text.is_file():
        return _listing(_from_text(text), folder, str(text))
    return binary_listing(folder)


def binary_listing(folder: Path) -> Listing:
    """Background and object, for masks of 0 and 1 or of 0 and 255."""
    return _listing(File(["background", "object"]), folder, NO_LIST)


def channel_listing(folder: Path, count: int) -> Listing:
    """The listing of a folder whose one-hot labels have `count` channels; the classes are numbered if none are named.

    Errors: ConfigError where the names are more or fewer.
    """
    if not any((folder / name).is_file() for name in LISTINGS):
        return _listing(File([f"class {index}" for index in range(count)]), folder, f"{count} channels")
    listing = read_listing(folder)
    if len(listing.facts.classes) != count:
        raise ConfigError(
            f"{folder} names {len(listing.facts.classes)} classes, its one-hot labels have {count} channels"
        )
    return listing


def _from_text(path: Path) -> File:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if line.strip() and not line.startswith("#")), "")
    words = first.replace(",", " ").split()
    if len(words) < 3 or not all(word.isdecimal() for word in words[:3]):
        return File(list(read_classes(path)))
    rows, names = read_colors(path)
    if len(names) != len(rows):
        raise ConfigError(f"{path}: colours without names: write a class name after each `R G B`")
    return File([Entry(name, color=(row[0], row[1], row[2])) for row, name in zip(rows, names, strict=True)])


def _listing(file: File, folder: Path, origin: str) -> Listing:
    """Give every class its train id, and each of its stored ids and colours that train id."""
    entries = [Entry(entry) if isinstance(entry, str) else entry for entry in file.classes]
    names: list[str] = []
    ids: dict[int, int] = {}
    colors: dict[Color, int] = {}
    for place, entry in enumerate(entries):
        void = entry.name.lower() in VOID_NAMES
        train = VOID if void else len(names)
        if not void:
            if entry.name.lower() in (name.lower() for name in names):
                raise ConfigError(f"{origin}: class '{entry.name}' is listed twice")
            names.append(entry.name)
        own = [place] if entry.id is None else [entry.id] if isinstance(entry.id, int) else entry.id
        for stored in own:
            _put(ids, stored, train, f"id {stored}", origin)
        if entry.color is not None:
            _put(colors, entry.color, train, f"colour {entry.color}", origin)
    if not 1 <= len(names) <= 255:
        raise ConfigError(f"{origin}: {len(names)} classes, expected 1 to 255")
    ignored = [file.ignore] if isinstance(file.ignore, int) else file.ignore or []
    for value in ignored:
        if isinstance(value, int):
            _put(ids, value, VOID, f"id {value}", origin)
        else:
            _put(colors, value, VOID, f"colour {value}", origin)
    plain = len(entries) == 2 == len(names) and all(entry.id is None for entry in entries) and file.ignore is None
    if file.ignore is None and not plain:
        ids.setdefault(VOID, VOID)
    if file.masks == "colors" and not colors:
        raise ConfigError(f"{origin}: masks are colours, but no class has a color")
    facts = Facts(
        file.name or folder.resolve().name,
        tuple(names),
        _palette(entries, len(names)),
        VOID,
        file.license,
    )
    allowed = f"{_ranges(ids)} ({origin})"
    color_map = ColorMap(colors, f"one of the {len(colors)} colours listed ({origin})") if colors else None
    masks = file.masks
    if masks is None and colors and all(red == green == blue for red, green, blue in colors):
        masks = "colors"  # a grey mask then holds colours too
    return Listing(facts, IdMap(ids, allowed), color_map, masks, file.channels, plain, allowed)


def _put(table: dict, key: object, train: int, what: str, origin: str) -> None:  # type: ignore[type-arg]
    if not all(0 <= value <= 255 for value in (key if isinstance(key, tuple) else (key,))):
        raise ConfigError(f"{origin}: {what} is out of range: expected 0 to 255")
    if table.setdefault(key, train) != train:
        raise ConfigError(f"{origin}: {what} stands for two classes")


def _palette(entries: list[Entry], count: int) -> tuple[Color, ...]:
    own = [entry.color for entry in entries if entry.name.lower() not in VOID_NAMES]
    return tuple(voc_colormap(count) if None in own else [color for color in own if color is not None])


def _ranges(ids: Mapping[int, int]) -> str:
    """Ids in words: `0 to 10, 255`."""
    parts: list[list[int]] = []
    for value in sorted(ids):
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
