"""Class colours: the street palette, published ones, users' colors.txt and classes.txt, the VOC colormap past the end.

The tables are data files in `rtseg/drawing/palettes/`, one `R G B name` line per class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.meanings import match, means
from rtseg.errors import ConfigError, nearest
from rtseg.packages.spec import ModelSpec

__all__ = [
    "PALETTES",
    "Palette",
    "is_foreign",
    "published",
    "read_classes",
    "read_colors",
    "resolve_palette",
    "voc_colormap",
]

ENTRIES = 256
NAMED = 12
"""Classes named in a line for the user."""
PALETTES = {
    "street": "street",
    "camvid": "camvid",
    "cityscapes": "cityscapes",
    "voc": "voc",
    "pascal-voc": "voc",
    "ade20k": "ade20k",
    "ade": "ade20k",
    "coco-stuff": "coco-stuff",
    "cocostuff": "coco-stuff",
}
"""Names that the user may type, and the data file each stands for. COCO-Stuff is the 171 contiguous train ids of the
164k version (80 things, then 91 stuff classes), not the 182 ids with gaps. `street` is vivid and told apart by the
colour-blind: tools/street_palette.py says how well."""
DATA_SETS = tuple(dict.fromkeys(stem for stem in PALETTES.values() if stem != "street"))

FOLDER = Path(__file__).with_name("palettes")
Row = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """A colour for each of the 256 possible labels.

    `colors` (256, 3) uint8 BGR; `alpha` (256,) int16, 0 to 255, or -1 where the class has no alpha of its own and the
    global one applies. `note` is a line for the user on classes that got no colour by what they mean, else empty.
    """

    name: str
    colors: NDArray[np.uint8]
    alpha: NDArray[np.int16]
    note: str = ""


def voc_colormap(count: int = ENTRIES) -> list[Row]:
    """The first `count` (at most 256) colours (R, G, B) of the Pascal VOC devkit: the bits of the id, dealt out to the
    three channels from the most significant down. All 256 differ; the first is black."""
    colors = []
    for label in range(count):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= (label >> bit & 1) << (7 - bit // 3)
        colors.append(tuple(channels))
    return colors


def resolve_palette(palette: str | None, spec: ModelSpec) -> Palette:
    """The colours for a model's classes.

    `palette` is a name of PALETTES or a colors file. None takes the spec's own palette; where it has none, or just that
    of a data set, street scenes get the street palette, other classes the published one whose class names are the
    model's, else the VOC colormap. A palette that names its classes is applied by what names mean, by id where it
    names none of the model's. Classes that it lacks and ids past its end get VOC colours that are not in it.
    Errors: ConfigError.
    """
    if palette is not None:
        stem = PALETTES.get(palette.lower())
        if stem is not None:
            return _build(stem, *published(stem), spec)
        path = Path(palette)
        if not path.suffix and not path.exists():
            raise ConfigError(f"no palette '{palette}', and no file of that name: {nearest(palette, PALETTES)}")
        return _build(palette, *read_colors(path), spec, own=True)
    if not spec.palette or _of_data_set(spec) is not None:
        rows, names = published("street")
        found = match(spec.classes, names)
        if names.index("road") in found and 2 * sum(place is not None for place in found) >= len(found):
            return replace(_build("street", rows, names, spec), note="")
    if spec.palette:
        return _build(spec.name, list(spec.palette), spec.classes, spec)
    wanted = {name.lower() for name in spec.classes}
    for stem in DATA_SETS:
        rows, names = published(stem)
        if wanted == {name.lower() for name in names}:
            return _build(stem, rows, names, spec)
    return _build("voc", voc_colormap(), (), spec)


def is_foreign(spec: ModelSpec) -> bool:
    """Whether a spec's palette is that of a data set with other classes, or the VOC colormap: nobody's choice."""
    stem = _of_data_set(spec)
    if stem is None:
        return False
    names = published(stem)[1]
    return match(spec.classes, names) != list(range(len(spec.classes)))


def _of_data_set(spec: ModelSpec) -> str | None:
    """The published table that a spec's palette is the beginning of; the VOC colormap goes on past its classes."""
    colors = [row[:3] for row in spec.palette]
    if not colors or any(len(row) > 3 for row in spec.palette):
        return None
    for stem in DATA_SETS:
        rows = voc_colormap() if stem == "voc" else published(stem)[0]
        if colors == rows[: len(colors)]:
            return stem
    return None


def _build(name: str, rows: list[Row], names: tuple[str, ...], spec: ModelSpec, *, own: bool = False) -> Palette:
    """Lay rows of (R, G, B) or (R, G, B, A) out as the 256 entries of a Palette.

    In a user's `own` file a class that no name means takes the row of its id, if no other class does.
    """
    found = match(spec.classes, names)
    note = ""
    if any(place is not None for place in found):
        near = [
            f"{known} as {names[place]}"
            for known, place in zip(spec.classes, found, strict=True)
            if place is not None and not means(known, names[place])
        ]
        if own:
            taken = set(found)
            found = [
                i if place is None and i < len(rows) and i not in taken else place for i, place in enumerate(found)
            ]
        lacking = [known for known, place in zip(spec.classes, found, strict=True) if place is None]
        chosen = [None if place is None else rows[place] for place in found]
        told = [f"draws {_listed(near)}"] if near else []
        told += [f"has no colour for {_listed(lacking)}: they get colours of the VOC colormap"] if lacking else []
        note = f"palette {name} {' and '.join(told)}" if told else ""
    else:
        chosen = list(rows)
        if names:
            note = f"palette {name} names none of the classes of {spec.name}: its colours are given by id"
    spare = _spare({row[:3] for row in chosen if row is not None}, {row[:3] for row in rows})
    chosen += [None] * (ENTRIES - len(chosen))
    full = [next(spare) if row is None else row for row in chosen]
    colors = np.array([row[2::-1] for row in full], np.uint8)
    alpha = np.array([row[3] if len(row) == 4 else -1 for row in full], np.int16)
    return Palette(name, colors, alpha, note)


def read_colors(path: str | Path) -> tuple[list[Row], tuple[str, ...]]:
    """Read a colors file: `R G B [A]` per class, in id order, optionally with the class name after it.

    Commas and brackets are allowed, so that `(R, G, B)` lines do; `#` starts a comment; blank lines do not count.
    Returns the rows and the names (empty unless every row has one). Errors: ConfigError with file and line.
    """
    rows: list[Row] = []
    names: list[str] = []
    for number, line in enumerate(_lines(Path(path), "palette"), 1):
        text = re.sub(r"(^|\s)#.*", "", line)
        if not text.strip():
            continue
        words = [word for word in re.split(r"[\s,;()\[\]]+", text) if word]
        count = next((i for i, word in enumerate(words) if not re.match(r"[-+.]?\d", word)), len(words))
        values, name = words[:count], " ".join(words[count:])
        if count not in (3, 4) or not all(word.isascii() and word.isdecimal() for word in values):
            raise ConfigError(f"{path}:{number}: expected 'R G B' or 'R G B A', whole numbers, found '{line.strip()}'")
        row = tuple(int(word) for word in values)
        if max(row) > 255:
            raise ConfigError(f"{path}:{number}: a colour value is 0 to 255, found {max(row)}")
        rows.append(row)
        names.append(name)
    if not 1 <= len(rows) <= ENTRIES:
        raise ConfigError(f"{path}: {len(rows)} colours, expected 1 to {ENTRIES} lines of 'R G B [A]'")
    return rows, tuple(names) if all(names) else ()


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Read a classes file: one name per line, in id order. Errors: ConfigError with file and line.

    Blank lines at the end do not count; one between names is an error, since skipping it would shift the ids.
    """
    lines = [line.strip() for line in _lines(Path(path), "class name")]
    while lines and not lines[-1]:
        lines.pop()
    if not 1 <= len(lines) <= 255:
        raise ConfigError(f"{path}: {len(lines)} class names, expected 1 to 255, one per line")
    first: dict[str, int] = {}
    for number, name in enumerate(lines, 1):
        if not name:
            raise ConfigError(f"{path}:{number}: an empty line between class names: remove it or name the class")
        if name.lower() in first:
            raise ConfigError(f"{path}:{number}: class '{name}' is already on line {first[name.lower()]}")
        first[name.lower()] = number
    return tuple(lines)


def published(stem: str) -> tuple[list[Row], tuple[str, ...]]:
    """The rows and class names of a published table (a value of PALETTES).

    Each repetition of a colour is replaced by an unused VOC colour: as published, ADE20K gives one colour to two
    classes and COCO-Stuff eight colours to seventeen, and in a picture they could not be told apart. The first class
    keeps the published colour.
    """
    rows, names = read_colors(FOLDER / f"{stem}.txt")
    spare = _spare(set(rows))
    return [row if row not in rows[:index] else next(spare) for index, row in enumerate(rows)], names


def _listed(words: list[str]) -> str:
    """Some words, and how many more there are."""
    return ", ".join(words[:NAMED]) + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


def _spare(taken: set[Row], avoided: Set[Row] = frozenset()) -> Iterator[Row]:
    """VOC colours that are not taken, those to be `avoided` last and black last of all: it would look like no class."""
    first, *others = voc_colormap()
    ordered = sorted([*others, first], key=lambda row: (row in avoided, row == first))
    return (row for row in ordered if row not in taken)


def _lines(path: Path, kind: str) -> list[str]:
    """The lines of a small UTF-8 text file, a byte order mark removed."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as exc:
        raise ConfigError(f"{kind} file not found: {path}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{kind} file {path} is not UTF-8 text") from exc
    except OSError as exc:
        raise ConfigError(f"{kind} file {path} cannot be read: {exc.strerror or exc}") from exc
