"""Text on pictures: where it lies, how wide it is, and that no version of OpenCV changes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.drawing import text
from rtseg.drawing.text import draw_text, text_width
from tests import without

WHITE = (255, 255, 255)


def drawn(
    words: str, px: int, origin: tuple[int, int] = (40, 100), size: tuple[int, int] = (150, 700)
) -> NDArray[np.uint8]:
    """A line of white text on black, one channel."""
    image = np.zeros((*size, 3), np.uint8)
    draw_text(image, words, origin, px, WHITE)
    assert (image[:, :, 0] == image[:, :, 2]).all()
    return image[:, :, 0]


def box(picture: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is visible, the ends not included."""
    rows, columns = np.nonzero(picture > 96)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


@pytest.mark.parametrize("px", [11, 13, 16, 24, 48, 96])
def test_letters_stand_on_the_baseline_and_are_as_wide_as_measured(px: int) -> None:
    top, bottom, left, right = box(drawn("Hxn", px))
    assert bottom == 100
    assert abs((100 - top) - 0.711 * px) <= 1.1, "capital letters"
    assert 40 <= left < 40 + 0.15 * px + 1
    assert 40 + text_width("Hxn", px) - 0.15 * px - 2 < right <= 40 + text_width("Hxn", px)
    top, bottom, *_ = box(drawn("x", px))
    assert (100 - top) == max(1, round(34 * px / 64)), "the upper edge of small letters is between two pixels"
    assert box(drawn("gjp", px))[1] > 100 + 0.1 * px


@pytest.mark.parametrize("px", [11, 24])
def test_strokes_are_crisp(px: int) -> None:
    """A stem reaches full white somewhere, and beyond a pixel beside it nothing is grey."""
    stem = drawn("l", px)[100 - px // 2]
    lit = np.nonzero(stem)[0]
    assert stem.max() >= 200
    assert np.count_nonzero(stem) <= round(0.11 * px) + 2
    assert lit.max() - lit.min() == len(lit) - 1


def test_a_line_is_the_letters_one_after_the_other() -> None:
    words = "p50 24.8 ms"
    assert text_width("", 20) == 0
    assert not drawn("", 20).any()
    assert abs(sum(text._advance(letter) for letter in words) * 20 / 64 - text_width(words, 20)) <= 1
    assert text_width("MMMM", 40) > 3 * text_width("iiii", 40)
    assert text_width("8888", 24) == text_width("1111", 24), "figures that change must not move what follows them"


@pytest.mark.parametrize("words", ["–", "…", "é", "ß", "Ł", "Ж", "Ω", "°", "µ", "€"])
def test_letters_beyond_ascii_are_in_the_font(words: str) -> None:
    assert text._font().glyphs.keys() >= set(words)
    assert drawn(words, 24).any()
    assert (drawn(words, 24) != drawn("e", 24)).any()


def test_colour_is_blended_by_coverage() -> None:
    image = np.full((40, 60, 3), (10, 100, 200), np.uint8)
    draw_text(image, "H", (10, 30), 30, (200, 100, 50))
    assert (image[:, :, 1] == 100).all()
    assert image[:, :, 0].min() == 10 and image[:, :, 0].max() == 200
    assert image[:, :, 2].min() == 50 and image[:, :, 2].max() == 200
    between = (image[:, :, 0] > 10) & (image[:, :, 0] < 200)
    share = (image[between][:, 0] - 10.0) / 190
    assert np.abs(200 - 150 * share - image[between][:, 2]).max() <= 1


@pytest.mark.parametrize("origin", [(-30, 10), (95, 20), (10, -3), (10, 60), (-500, 0), (500, 500), (0, 0)])
def test_what_is_outside_of_the_picture_is_left_out(origin: tuple[int, int]) -> None:
    whole = drawn("Wide", 40, (600 + origin[0], 600 + origin[1]), (1300, 1300))
    assert (drawn("Wide", 40, origin, (50, 100)) == whole[600:650, 600:700]).all()


def test_letters_that_the_font_lacks() -> None:
    assert not text._font().glyphs.keys() >= set("道")
    assert text_width("道", 24) > 10
    picture = drawn("道", 24)
    assert picture.any()
    if hasattr(cv2, "FontFace"):
        assert (picture != drawn("路", 24)).any(), "OpenCV 5 has Chinese letters"


def test_no_version_of_opencv_changes_a_pixel(tmp_path: Path) -> None:
    code = """
import hashlib, numpy as np
from rtseg.drawing.text import draw_text, text_width
image = np.zeros((150, 700, 3), np.uint8)
draw_text(image, WORDS, (40, 100), 24, (255, 255, 255))
print(hashlib.sha256(image[:, :, 0].tobytes()).hexdigest(), text_width(WORDS, 24))
"""
    words = "SignSymbol é – 24.8 ms…"
    told = without.run(f"WORDS = {words!r}\n{code}", tmp_path, older_opencv=True).split()
    assert told == [hashlib.sha256(drawn(words, 24).tobytes()).hexdigest(), str(text_width(words, 24))]
    box_only = without.run(f"WORDS = '道路'\n{code}", tmp_path, older_opencv=True).split()
    assert box_only != without.run(f"WORDS = ''\n{code}", tmp_path, older_opencv=True).split()


def test_legend_and_hud_are_drawn_without_what_only_opencv_5_has(tmp_path: Path) -> None:
    code = """
import numpy as np
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Hud, Renderer
from rtseg.packages.spec import ModelSpec
from rtseg.drawing.view import View
spec = ModelSpec(name="toy", classes=("road", "道路"))
renderer = Renderer(spec, resolve_palette(None, spec), View(legend=True, hud=True))
labels = (np.arange(240 * 320) % 2).astype(np.uint8).reshape(240, 320)
picture = renderer.draw(np.zeros((240, 320, 3), np.uint8), labels, Hud())
print((picture == 255).any())
"""
    assert without.run(code, tmp_path, older_opencv=True) == "True\n"
