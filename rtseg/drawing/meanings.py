"""Which of one data set's classes are which of another's: `pavement` is `sidewalk`, `Tree` is `vegetation`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["match", "means"]

FILE = Path(__file__).with_name("palettes") / "meanings.txt"
ENDINGS = ("other", "stuff")


def match(classes: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """For each of `classes` the index of the one of `names` that is or means it, or comes nearest; None without one.

    No name is given to two classes: first to a class of that name, then to one that means the same, then to one that it
    is the nearest for, lower ids first.
    """
    found: list[int | None] = [None] * len(classes)
    free = set(range(len(names)))
    keys = [_spelt(name) for name in names]
    exact = [name.lower() for name in names]
    meanings = [_meaning(key) for key in keys]

    def deal(index: int, wanted: Sequence[str], known: Sequence[str]) -> None:
        for name in wanted:
            place = next((place for place in sorted(free) if known[place] == name), None)
            if found[index] is None and place is not None:
                found[index] = place
                free.discard(place)

    for index, name in enumerate(classes):
        deal(index, [name.lower()], exact)
    for index, name in enumerate(classes):
        deal(index, [_spelt(name)], keys)
    for index, name in enumerate(classes):
        deal(index, [_meaning(_spelt(name))], meanings)
    for index, name in enumerate(classes):
        deal(index, [_meaning(near) for near in _table()[1].get(_meaning(_spelt(name)), ())], meanings)
    return found


def means(first: str, second: str) -> bool:
    """Whether two class names mean the same."""
    return _meaning(_spelt(first)) == _meaning(_spelt(second))


def _spelt(name: str) -> str:
    """A class name without what spellings differ in."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    while len(words) > 1 and words[-1] in ENDINGS:
        words.pop()
    return "".join(words) or name.lower()


def _meaning(key: str) -> str:
    """The first name of a name's line, or the name itself."""
    return _table()[0].get(key, key)


@lru_cache(1)
def _table() -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Of the names in the file the meaning, and of the meanings the nearest others."""
    meanings: dict[str, str] = {}
    nearest: dict[str, tuple[str, ...]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        same, near = (
            [_spelt(name) for name in part.split(",") if name.strip()] for part in (line + ";").split(";")[:2]
        )
        for name in same:
            meanings.setdefault(name, same[0])
        nearest[same[0]] = tuple(near)
    return meanings, nearest
