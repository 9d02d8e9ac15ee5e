"""Labels onto pictures and into numbers: blending, contour lines, class areas. Whole numbers throughout, so exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtseg.kernels.jit import jit
from rtseg.kernels.simd import (
    all_same16,
    any_byte,
    copy_pixel,
    higher_bytes,
    load_bytes,
    load_u8,
    load_u16,
    lower_bytes,
    shift_right_8,
    splat_u16,
    store,
    store_u8,
)
from rtseg.kernels.typing import U8s, U16s

__all__ = ["BLOCK", "blend_pixels", "count_pixels", "draw_contours"]

BLOCK = 16
"""Pixels handled together where they share their label, as most do: 48 bytes, three vectors."""


@jit
def blend_pixel(image: U8s, label: int, paint: U16s, keep: U16s, out: U8s, place: int) -> None:
    """Blend the pixel whose first byte is at `place`."""
    share = keep[label * 4]
    for channel in range(3):
        value = np.uint32(image[place + channel]) * share + paint[label * 48 + channel] + 128
        out[place + channel] = (value + (value >> 8)) >> 8


@jit
def blend_pixels(image: U8s, labels: U8s, paint: U16s, keep: U16s, out: U8s, first: int, last: int) -> None:
    """Blend the pixels `first` to `last`.

    `paint` is alpha * colour, 48 values per class (16 pixels of BGR); `keep` is 255 - alpha, 4 times per class.
    Division by 255 is (t + t // 256) // 256 with t = x + 128: the nearest integer for every x up to 65,025.
    """
    half = splat_u16(np.uint16(128))
    mixed_paint, mixed_keep = np.empty(64, np.uint16), np.empty(64, np.uint16)
    whole = first + (last - first) // 16 * 16
    for pixel in range(first, whole, 16):
        if all_same16(labels, pixel):
            label = np.intp(labels[pixel])
            share = splat_u16(keep[label * 4])
            for part in range(0, 48, 16):
                value = load_u8(image, pixel * 3 + part) * share + load_u16(paint, label * 48 + part) + half
                store_u8(out, pixel * 3 + part, shift_right_8(value + shift_right_8(value)))
        else:
            for i in range(16):
                label = np.intp(labels[pixel + i])
                copy_pixel(mixed_paint, 3 * i, paint, label * 48)
                copy_pixel(mixed_keep, 3 * i, keep, label * 4)
            for part in range(0, 48, 16):
                value = load_u8(image, pixel * 3 + part) * load_u16(mixed_keep, part)
                value = value + load_u16(mixed_paint, part) + half
                store_u8(out, pixel * 3 + part, shift_right_8(value + shift_right_8(value)))
    for pixel in range(whole, last):
        blend_pixel(image, np.intp(labels[pixel]), paint, keep, out, pixel * 3)


@jit
def draw_contours(
    image: U8s,
    labels: U8s,
    height: int,
    width: int,
    paint: U16s,
    keep: U16s,
    before: int,
    after: int,
    out: U8s,
    first: int,
    last: int,
) -> None:
    """Copy rows `first` to `last`, blending pixels whose window is mixed.

    The window reaches `before` pixels up and left and `after` down and right. It is mixed where its lowest and its
    highest label differ, which are found for columns first and then along the row.
    """
    padded = (width + 15) // 16 * 16
    low, high = np.empty(padded + before + after, np.uint8), np.empty(padded + before + after, np.uint8)
    marks = np.empty(padded, np.uint8)
    for y in range(first, last):
        here = y * width
        out[here * 3 : (here + width) * 3] = image[here * 3 : (here + width) * 3]
        top, bottom = max(0, y - before), min(height - 1, y + after)
        for x in range(0, width, 16):
            if x + 16 <= width:
                least = most = load_bytes(labels, top * width + x)
                for row in range(top + 1, bottom + 1):
                    value = load_bytes(labels, row * width + x)
                    least, most = lower_bytes(least, value), higher_bytes(most, value)
                store(low, before + x, least)
                store(high, before + x, most)
            else:
                for place in range(x, width):
                    least_one = most_one = labels[top * width + place]
                    for row in range(top + 1, bottom + 1):
                        least_one = min(least_one, labels[row * width + place])
                        most_one = max(most_one, labels[row * width + place])
                    low[before + place], high[before + place] = least_one, most_one
        for side in range(before):
            low[side], high[side] = low[before], high[before]
        for side in range(before + width, padded + before + after):
            low[side], high[side] = low[before + width - 1], high[before + width - 1]
        for x in range(0, width, 16):
            least, most = load_bytes(low, x), load_bytes(high, x)
            for side in range(1, before + after + 1):
                least = lower_bytes(least, load_bytes(low, x + side))
                most = higher_bytes(most, load_bytes(high, x + side))
            spread = most - least
            if any_byte(spread):
                store(marks, x, spread)
                for place in range(x, min(x + 16, width)):
                    if marks[place] != 0:
                        blend_pixel(image, np.intp(labels[here + place]), paint, keep, out, (here + place) * 3)


@jit
def count_pixels(labels: U8s, first: int, last: int) -> NDArray[np.int64]:
    """Pixels per label among the pixels `first` to `last`."""
    counts = np.zeros(256, np.int64)
    pixel = first
    while pixel < last:
        if pixel + 16 <= last and all_same16(labels, pixel):
            counts[labels[pixel]] += 16
        else:
            for here in range(pixel, min(pixel + 16, last)):
                counts[labels[here]] += 1
        pixel += 16
    return counts
