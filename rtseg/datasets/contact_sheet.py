"""A picture of a data set: images under their labels in a grid, with names, a legend and each class's share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.datasets.check import CheckedSplit
from rtseg.drawing.legend import BACKGROUND, Item, TextBoxes
from rtseg.drawing.palette import resolve_palette
from rtseg.errors import ConfigError
from rtseg.files import write_whole
from rtseg.frame import Image
from rtseg.kernels import cpu as kernels
from rtseg.packages.spec import ModelSpec

__all__ = ["check_target", "choose", "contact_sheet", "write_sheet"]

TILE = (240, 320)
COLUMNS = 4
TILES = 24
GAP = 6
TEXT = 13
ALPHA, VOID_ALPHA = 140, 200
"""Opacity of classes, and of void, which is painted black."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def contact_sheet(checked: Sequence[CheckedSplit], tiles: int = TILES) -> Image:
    """Up to `tiles` samples, HWC uint8 BGR: every class that occurs, where they suffice, and as many of each split."""
    dataset = checked[0].dataset
    spec = ModelSpec(name=dataset.name, classes=dataset.classes, palette=dataset.palette)
    colors = resolve_palette(None, spec).colors.copy()
    alpha = np.full(256, ALPHA, np.uint8)
    colors[dataset.ignore_index], alpha[dataset.ignore_index] = 0, VOID_ALPHA
    text = TextBoxes()
    drawn = [_tile(checked[part], index, colors, alpha, text) for part, index in choose(checked, tiles)]
    columns = min(COLUMNS, max(len(drawn), 1))
    width = COLUMNS * TILE[1] + (COLUMNS + 1) * GAP
    rows = math.ceil(len(drawn) / columns)
    step = TILE[0] + _line() + GAP
    header = _header(checked, colors, width, text)
    sheet = np.full((header.shape[0] + rows * step + GAP, width, 3), BACKGROUND, np.uint8)
    sheet[: header.shape[0]] = header
    for place, tile in enumerate(drawn):
        top, left = header.shape[0] + place // columns * step, GAP + place % columns * (TILE[1] + GAP)
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def choose(checked: Sequence[CheckedSplit], count: int) -> list[tuple[int, int]]:
    """(split, index) of the samples to show, in order: for each class, rarest first, one that shows it well, then
    as many evenly spaced ones of each split."""
    classes = len(checked[0].dataset.classes)
    places = [(part, i) for part, one in enumerate(checked) for i, seen in enumerate(one.seen) if seen is not None]
    if not places:
        return []
    counts = [one.counts()[:, :classes] for one in checked]
    pixels = np.stack([counts[part][index] for part, index in places])  # (samples, classes)
    share = pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
    images = (pixels > 0).sum(0)
    chosen: list[int] = []
    for index in np.argsort(images, kind="stable"):
        # A class that an image already chosen shows at half of its best is in sight.
        best = share[:, index].max()
        seen = bool(chosen) and share[chosen, index].max() >= best / 2
        if images[index] and not seen and len(chosen) < count:
            chosen.append(int(share[:, index].argmax()))
    for part in range(len(checked)):
        rest = [row for row, place in enumerate(places) if place[0] == part and row not in chosen]
        wanted = min((count - len(chosen)) // (len(checked) - part), len(rest))
        chosen += [rest[int((k + 0.5) * len(rest) / wanted)] for k in range(wanted)]
    return [places[row] for row in sorted(chosen)]


def check_target(path: Path) -> None:
    """ConfigError unless `path` names a picture in a folder that exists."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"the contact sheet {path} is not an image file: its name ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for the contact sheet: create it first")


def write_sheet(path: Path, sheet: Image) -> None:
    """Write the sheet so that its name never holds part of it. Errors: ConfigError, SinkError."""
    check_target(path)
    done, data = cv2.imencode(path.suffix.lower(), sheet)
    if not done:
        raise ConfigError(f"the contact sheet {path} cannot be encoded: its size is {sheet.shape[1]}x{sheet.shape[0]}")
    write_whole(path, data.tobytes())


def _line() -> int:
    return round(1.4 * TEXT) + 2 * (TEXT // 4)


def _tile(one: CheckedSplit, index: int, colors: NDArray[np.uint8], alpha: NDArray[np.uint8], text: TextBoxes) -> Image:
    """An image under its labels, fitted into a tile, and its name below."""
    image, label = one.dataset.read(index)
    overlay = kernels.blend(image, label, colors, alpha)
    factor = min(TILE[0] / overlay.shape[0], TILE[1] / overlay.shape[1])
    height, width = (max(1, round(side * factor)) for side in overlay.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    small = np.asarray(cv2.resize(overlay, (width, height), interpolation=how), np.uint8)
    tile = np.full((TILE[0] + _line(), TILE[1], 3), BACKGROUND, np.uint8)
    top, left = (TILE[0] - height) // 2, (TILE[1] - width) // 2
    tile[top : top + height, left : left + width] = small
    name = one.dataset.names[index]
    caption = text.box([Item(one.dataset.split), Item(name.rpartition("/")[2])], TEXT, TILE[1])
    if caption is not None:
        tile[TILE[0] : TILE[0] + caption.shape[0], : caption.shape[1]] = caption[: _line()]
    return tile


def _header(checked: Sequence[CheckedSplit], colors: NDArray[np.uint8], width: int, text: TextBoxes) -> Image:
    """The name of the data set, and its classes with the share of labelled pixels over all splits."""
    dataset = checked[0].dataset
    pixels = np.sum([one.counts().sum(0) for one in checked], axis=0)[: len(dataset.classes)]
    labelled = max(int(pixels.sum()), 1)
    counts = ", ".join(f"{one.dataset.split} {len(one.seen)} images" for one in checked)
    title = text.box([Item(f"{dataset.name}: {counts}")], TEXT + 5, width)
    items = [
        Item(f"{name} {100 * pixels[index] / labelled:.1f} %", _color(colors[index]))
        for index, name in enumerate(dataset.classes)
    ]
    legend = text.box([*items, Item("void", (0, 0, 0))], TEXT, width)
    parts = [part for part in (title, legend) if part is not None]
    header = np.full((sum(part.shape[0] for part in parts) + GAP, width, 3), BACKGROUND, np.uint8)
    top = 0
    for part in parts:
        header[top : top + part.shape[0], : part.shape[1]] = part
        top += part.shape[0]
    return header


def _color(row: NDArray[np.uint8]) -> tuple[int, int, int]:
    blue, green, red = row.tolist()
    return blue, green, red
