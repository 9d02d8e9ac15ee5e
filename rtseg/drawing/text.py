"""Text on pictures: how wide a line is, and drawing it; the same to the pixel with every version of OpenCV.

The letters are Roboto Medium's (fonts/, 64 pixels per em, grey levels), made smaller once for each size. Signs that it
lacks, as Chinese ones, are drawn by OpenCV where that can (from 5.0) and are a box where it cannot.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Image

__all__ = ["draw_text", "text_width"]

FONT = Path(__file__).with_name("fonts") / "roboto-medium.npz"
SMALL, SMALL_GAMMA = 16, 0.8
"""Below this many pixels per em strokes are thinner than a pixel and would be grey: the power of their coverage."""
PHASES = 4
"""Places between two pixels at which a letter may begin."""
BOX = 0.7
"""The em's share that a box for a letter that is not there takes with its gap."""
OPENCV_WEIGHT = 500


class _Glyph(NamedTuple):
    """Where a letter is in the sheet: its columns; pixels from the pen to them, and to the next letter's pen."""

    column: int
    width: int
    left: int
    advance: float


class _Font(NamedTuple):
    """`sheet` (rows, columns) of coverage, letters side by side; the baseline is under row `above`, sizes in pixels."""

    sheet: NDArray[np.uint8]
    em: int
    above: int
    x_height: int
    glyphs: dict[str, _Glyph]


@cache
def _font() -> _Font:
    with np.load(FONT, allow_pickle=False) as file:
        sheet, codes, width = file["sheet"], file["codes"], file["width"]
        em, above, x_height = (int(value) for value in file["size"])
        columns = np.cumsum(width) - width
        rows = zip(columns.tolist(), width.tolist(), file["left"].tolist(), file["advance"].tolist(), strict=True)
        glyphs = {chr(code): _Glyph(*row) for code, row in zip(codes.tolist(), rows, strict=True)}
    return _Font(sheet, em, above, x_height, glyphs)


def text_width(text: str, px: int) -> int:
    """Pixels that a line of text takes at `px` pixels per em; newlines and the like are boxes."""
    if _by_opencv(text):
        left, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), _opencv_face(), px, OPENCV_WEIGHT)
        return max(0, int(left + wide))
    return math.ceil(_advance(text) * px / _font().em)


def draw_text(image: Image, text: str, origin: tuple[int, int], px: int, color: tuple[int, int, int]) -> None:
    """Draw a line of text onto `image` (HxWx3 uint8): from (x, y) of the baseline's left end, `px` pixels per em.

    `color` is in the picture's order of channels. What is outside of the picture is left out.
    """
    if _by_opencv(text):
        cv2.putText(image, text, origin, color, _opencv_face(), px, OPENCV_WEIGHT)
        return
    cover, above = _line(text, px)
    top, left = origin[1] - above, origin[0] - _margin(px)
    first_row, first_column = max(0, -top), max(0, -left)
    part = image[max(0, top) : max(0, top + cover.shape[0]), max(0, left) : max(0, left + cover.shape[1])]
    share = cover[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1], None]
    mixed = np.subtract(np.array(color, np.float32), part, dtype=np.float32)
    mixed *= share
    mixed += part
    mixed += 0.5
    part[:] = mixed  # cut off, which with the half is rounding


def _by_opencv(text: str) -> bool:
    """Whether OpenCV has to draw the text, and can."""
    return hasattr(cv2, "FontFace") and not _font().glyphs.keys() >= set(text)


@cache
def _opencv_face() -> Any:
    return cv2.FontFace("sans")


def _advance(text: str) -> float:
    """Pixels of the sheet that a text takes."""
    font = _font()
    return sum(glyph.advance if (glyph := font.glyphs.get(letter)) else BOX * font.em for letter in text)


def _line(text: str, px: int) -> tuple[NDArray[np.float32], int]:
    """A text's coverage 0 to 1 and how many of its rows are over the baseline.

    It has a margin on both sides for what hangs over the text's ends.
    """
    above, below = _rows(px)[1:]
    margin = _margin(px)
    line = np.zeros((above + below, 2 * margin + text_width(text, px) + 1), np.float32)
    pen, scale = 0.0, px / _font().em
    for letter in text:
        at, phase = divmod(round(pen * scale * PHASES), PHASES)
        cut, left, advance = _cut(letter, px, phase)
        target = line[:, margin + at + left : margin + at + left + cut.shape[1]]
        np.maximum(target, cut, out=target)
        pen += advance
    return line, above


def _margin(px: int) -> int:
    return px // 3 + 2


@lru_cache(4096)
def _cut(letter: str, px: int, phase: int) -> tuple[NDArray[np.float32], int, float]:
    """A letter's coverage at a size, begun `phase` of PHASES of a pixel late.

    With it come the columns from the pen to it, and the pixels of the sheet to the next letter's pen.
    """
    font = _font()
    glyph = font.glyphs.get(letter)
    if glyph is None:
        sign, left = _box(font), 0
    else:
        sign, left = font.sheet[:, glyph.column : glyph.column + glyph.width], glyph.left
    step = font.em / px
    first = math.floor(left / step + phase / PHASES)
    last = math.ceil((left + sign.shape[1]) / step + phase / PHASES)
    begin = (np.arange(first, last) - phase / PHASES) * step - left
    cover = _rows(px)[0] @ sign.astype(np.float32) @ _shares(begin, step, sign.shape[1]).T
    return np.asarray(cover**SMALL_GAMMA if px < SMALL else cover, np.float32), first, _advance(letter)


def _box(font: _Font) -> NDArray[np.uint8]:
    """The sign for a letter that is not there, on the sheet's rows."""
    em, line = font.em, max(1, font.em // 12)
    sign = np.zeros((font.sheet.shape[0], round((BOX - 0.1) * em)), np.uint8)
    outer = sign[font.above - round(0.7 * em) : font.above, line:]
    outer[:] = 255
    outer[line:-line, line:-line] = 0
    return sign


@lru_cache(64)
def _rows(px: int) -> tuple[NDArray[np.float32], int, int]:
    """The matrix that makes the sheet's rows a size of `px`, and the rows that gives over and under the baseline.

    Small letters are made a whole number of rows high, so that their upper edges are sharp.
    """
    font = _font()
    scale = max(1, round(font.x_height * px / font.em)) / font.x_height
    above, below = math.ceil(font.above * scale), math.ceil((font.sheet.shape[0] - font.above) * scale)
    begin = font.above + (np.arange(above + below) - above) / scale
    return _shares(begin, 1 / scale, font.sheet.shape[0]) / np.float32(255), above, below


def _shares(begin: NDArray[Any], length: float, count: int) -> NDArray[np.float32]:
    """(len(begin), count): which share of each interval of `length` each of `count` pixels covers."""
    pixel = np.arange(count)
    covered = np.minimum(begin[:, None] + length, pixel + 1) - np.maximum(begin[:, None], pixel)
    return np.asarray(np.clip(covered, 0, 1) / length, np.float32)
