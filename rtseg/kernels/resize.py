"""Frame to tensor in one pass: each output row is a weighted sum of frame rows, then of that line's pixels."""

from __future__ import annotations

import numpy as np

from rtseg.kernels.jit import jit
from rtseg.kernels.simd import convert_u8, fetch4, lane, lanes0, lanes1, lanes2, load4, splat, store
from rtseg.kernels.typing import F32s, I32s, U8s

__all__ = ["resize_rows"]


@jit
def sum_rows(image: U8s, position: int, stride: int, weights: F32s, count: int, line: F32s, size: int) -> None:
    """line[:size] = the weighted sum of `count` frame rows from byte `position` on."""
    x = 0
    while x + 32 <= size:
        weight = splat(weights[0])
        a, b = convert_u8(image, position + x) * weight, convert_u8(image, position + x + 8) * weight
        c, d = convert_u8(image, position + x + 16) * weight, convert_u8(image, position + x + 24) * weight
        for k in range(1, count):
            weight = splat(weights[k])
            here = position + k * stride + x
            a = a + convert_u8(image, here) * weight
            b = b + convert_u8(image, here + 8) * weight
            c = c + convert_u8(image, here + 16) * weight
            d = d + convert_u8(image, here + 24) * weight
        store(line, x, a)
        store(line, x + 8, b)
        store(line, x + 16, c)
        store(line, x + 24, d)
        x += 32
    for rest in range(x, size):
        total = np.float32(image[position + rest]) * weights[0]
        for k in range(1, count):
            total += np.float32(image[position + k * stride + rest]) * weights[k]
        line[rest] = total


@jit
def resize_rows(
    image: U8s,
    frame_w: int,
    y_first: int,
    y_last: int,
    y_start: I32s,
    y_count: I32s,
    y_weight: F32s,
    x_first: int,
    x_last: int,
    x_start: I32s,
    x_weight: F32s,
    width: int,
    out: F32s,
    steps: I32s,
    affine: F32s,
    first: int,
    last: int,
) -> None:
    """Write network rows `first` to `last`.

    `y_first:y_last` and `x_first:x_last` are where the frame lies; the weights are flat, as many per pixel as the
    longest needs. `steps` is the distance in `out` between rows, pixels and the planes of B, G and R; `affine` four
    factors, four summands and the border's three values.
    """
    stride = frame_w * 3
    deep = y_weight.size // max(1, y_last - y_first)
    wide = x_weight.size // max(1, x_last - x_first)
    row_step, step, blue, green, red = steps[0], steps[1], steps[2], steps[3], steps[4]
    begin, size = 0, 0
    if x_last > x_first:  # The part of a frame row that the columns need.
        begin = x_start[0]
        size = min(frame_w, x_start[x_last - x_first - 1] + wide) - begin
    line = np.zeros((size + wide + 2) * 3, np.float32)  # Zeros after the end, for weights of zero and a fourth lane.
    factor, summand = load4(affine, 0), load4(affine, 4)
    for y in range(first, last):
        base = y * row_step
        inside = y_first <= y < y_last
        left = x_first if inside else width
        for x in range(left):
            for plane in range(3):
                out[base + x * step + steps[2 + plane]] = affine[8 + plane]
        if not inside:
            continue
        for x in range(x_last, width):
            for plane in range(3):
                out[base + x * step + steps[2 + plane]] = affine[8 + plane]
        row = y - y_first
        sum_rows(
            image, (y_start[row] * frame_w + begin) * 3, stride, y_weight[row * deep : (row + 1) * deep],
            y_count[row], line, size * 3,
        )  # fmt: skip
        place = base + x_first * step
        x = 0
        if step == 1:
            while x + 4 <= x_last - x_first:
                p, q, r, s = x_start[x], x_start[x + 1], x_start[x + 2], x_start[x + 3]
                p, q, r, s = (p - begin) * 3, (q - begin) * 3, (r - begin) * 3, (s - begin) * 3
                w = x * wide
                a, b = load4(line, p) * fetch4(x_weight, w), load4(line, q) * fetch4(x_weight, w + wide)
                c, d = (
                    load4(line, r) * fetch4(x_weight, w + 2 * wide),
                    load4(line, s) * fetch4(x_weight, w + 3 * wide),
                )
                for k in range(1, wide):
                    w += 1
                    a = a + load4(line, p + 3 * k) * fetch4(x_weight, w)
                    b = b + load4(line, q + 3 * k) * fetch4(x_weight, w + wide)
                    c = c + load4(line, r + 3 * k) * fetch4(x_weight, w + 2 * wide)
                    d = d + load4(line, s + 3 * k) * fetch4(x_weight, w + 3 * wide)
                a, b = a * factor + summand, b * factor + summand
                c, d = c * factor + summand, d * factor + summand
                store(out, place + x + blue, lanes0(a, b, c, d))
                store(out, place + x + green, lanes1(a, b, c, d))
                store(out, place + x + red, lanes2(a, b, c, d))
                x += 4
        while x < x_last - x_first:
            here = (x_start[x] - begin) * 3
            total = load4(line, here) * fetch4(x_weight, x * wide)
            for k in range(1, wide):
                total = total + load4(line, here + 3 * k) * fetch4(x_weight, x * wide + k)
            total = total * factor + summand
            out[place + x * step + blue] = lane(total, 0)
            out[place + x * step + green] = lane(total, 1)
            out[place + x * step + red] = lane(total, 2)
            x += 1
