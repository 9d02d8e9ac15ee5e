"""Make the letters of legend and HUD, rtseg/drawing/fonts/*.npz, of a font: tools/make_font.py FONT.ttf OUT.npz

The one in the repository is of Roboto Medium (Debian's fonts-roboto-unhinted, version 2:0~20170802), which is under the
Apache License 2.0. Needs Pillow. The arrays in the file are described in rtseg/drawing/text.py.
"""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

EM, ABOVE, BELOW = 64, 62, 18
"""Pixels of an em, and of the rows over and under the baseline, which hold capital letters with accents."""
RANGES = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0x17F),  # Western and Central European
    (0x218, 0x21B),  # Romanian
    (0x384, 0x3CE),  # Greek
    (0x400, 0x45F),  # Cyrillic
    (0x490, 0x491),
    (0x2010, 0x2026),  # dashes, quotation marks, bullet, ellipsis
)
OTHERS = "€™−×÷≈≤≥µ°"
MISSING = "\ufffe"
"""No character, so that a font draws its sign for what it does not have."""


def characters(font: ImageFont.FreeTypeFont) -> list[str]:
    """Those of the ranges that have a shape in the font, or are a space."""
    wanted = {chr(code) for first, last in RANGES for code in range(first, last + 1)} | set(OTHERS)
    lacking = font.getmask(MISSING).getbbox(), bytes(font.getmask(MISSING))
    kept = []
    for letter in sorted(wanted):
        if unicodedata.category(letter)[0] == "C" or not unicodedata.name(letter, ""):
            continue
        mask = font.getmask(letter)
        if (mask.getbbox(), bytes(mask)) != lacking:
            kept.append(letter)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("font", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    font = ImageFont.truetype(str(args.font), EM, layout_engine=ImageFont.Layout.BASIC)
    cells, codes, left, width, advance = [], [], [], [], []
    for letter in characters(font):
        box = font.getbbox(letter, anchor="ls")
        wide = max(1, box[2] - box[0])
        cell = Image.new("L", (wide, ABOVE + BELOW))
        ImageDraw.Draw(cell).text((-box[0], ABOVE), letter, 255, font, anchor="ls")
        cells.append(np.asarray(cell))
        codes.append(ord(letter))
        left.append(box[0])
        width.append(wide)
        advance.append(font.getlength(letter))
    x_height = -font.getbbox("x", anchor="ls")[1]
    np.savez_compressed(
        args.out,
        sheet=np.concatenate(cells, axis=1),
        codes=np.array(codes, np.int32),
        left=np.array(left, np.int16),
        width=np.array(width, np.int16),
        advance=np.array(advance, np.float32),
        size=np.array([EM, ABOVE, x_height], np.int16),
    )
    print(f"{len(codes)} characters, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
