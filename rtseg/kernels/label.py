"""Logits to labels: the exact argmax of the bilinear upsampling, without the upsampling.

Bilinear weights are zero or more and the same for every class. So where one class is the (lowest) best at the four
corners of a grid cell, it is the (lowest) best at every point of the cell, and the cell is filled; and a class that
some other class beats at all four corners cannot win inside. Only cells on a boundary need arithmetic, and there
only for the two or three classes that are left.

For the softmax the same argument bounds the confidence: exp is convex, so the sum of exp(logit - winner) inside a
cell is at most its largest value at the corners.
"""

from __future__ import annotations

import numpy as np

from rtseg.kernels.jit import jit
from rtseg.kernels.simd import (
    any_set,
    exp_negative,
    greater,
    load8,
    maximum,
    scatter8,
    select,
    splat,
    splat_class,
    store,
    store_u8,
    truncate,
)
from rtseg.kernels.typing import F32s, I32s, U8s

__all__ = ["LIMIT", "SHARE", "SOFTMAX", "label_cells", "nearest_rows"]

LIMIT = 1e30
"""Logits are used below this size, so that no sum or difference of them overflows."""
SOFTMAX, SHARE = 1, 2
"""Kinds of confidence: from logits, and the interpolated probability itself; 0 is none."""
SURE = 1.0 / 515.0
"""Where the other classes' exp(logit - winner) sum to less, 255 * confidence rounds to 255."""
FAINT = 10.5
"""Classes further than this, plus log(classes), below another one at all corners add less than 3e-5 to the softmax's
sum all together, a hundredth of a step of 255."""


@jit
def row_winners(
    scores: F32s, plane: int, width: int, row: int, classes: I32s, winner: I32s, best: F32s, doubt: F32s, kind: int
) -> bool:
    """The best class of each sample in a row; True where one is not a number or not below LIMIT."""
    base = row * width
    zero, one, limit = splat(np.float32(0)), splat(np.float32(1)), splat(np.float32(LIMIT))
    whole = width - width % 8
    wild = zero
    for x in range(0, whole, 8):
        top = load8(scores, classes[0] * plane + base + x)
        label = splat_class(classes[0])
        wild = select(greater(limit, maximum(top, zero - top)), wild, one)
        for k in range(1, classes.size):
            value = load8(scores, classes[k] * plane + base + x)
            wild = select(greater(limit, maximum(value, zero - value)), wild, one)
            better = greater(value, top)
            top = select(better, value, top)
            label = select(better, splat_class(classes[k]), label)
        store(best, x, top)
        store(winner, x, label)
    if any_set(greater(wild, zero)):
        return True
    for x in range(whole, width):
        best[x], winner[x] = np.float32(-np.inf), classes[0]
        for k in range(classes.size):
            score = scores[classes[k] * plane + base + x]
            if not abs(score) < np.float32(LIMIT):
                return True
            if score > best[x]:
                best[x], winner[x] = score, classes[k]
    if kind == SOFTMAX:
        doubt[:width] = -1.0  # The winner's own share.
        for k in range(classes.size):
            offset = classes[k] * plane + base
            for x in range(0, whole, 8):
                store(doubt, x, load8(doubt, x) + exp_negative(load8(scores, offset + x) - load8(best, x)))
            for x in range(whole, width):
                doubt[x] += np.exp(scores[offset + x] - best[x])
    return False


@jit
def keep_candidates(
    scores: F32s, corners: I32s, plane: int, classes: I32s, winners: I32s, kind: int, corner: F32s, kept: I32s
) -> int:
    """Collect the classes that can win inside a cell, or (softmax) weigh in; returns how many.

    `corner` receives their four corner scores in four blocks of `classes.size` rounded up to 8.
    """
    block = (classes.size + 7) // 8 * 8
    c0, c1, c2, c3 = corners[0], corners[1], corners[2], corners[3]
    margin = np.float32(FAINT + np.log(classes.size) if kind == SOFTMAX else 0.0)
    count = 0
    for k in range(classes.size):
        this = classes[k]
        offset = this * plane
        v0, v1, v2, v3 = scores[offset + c0], scores[offset + c1], scores[offset + c2], scores[offset + c3]
        hopeless = False
        for i in range(4):
            rival = winners[i]
            over = rival * plane
            d0, d1 = scores[over + c0] - v0, scores[over + c1] - v1
            d2, d3 = scores[over + c2] - v2, scores[over + c3] - v3
            hopeless |= min(min(d0, d1), min(d2, d3)) > margin
        if not hopeless:
            kept[count] = this
            corner[count] = v0
            corner[block + count] = v1
            corner[2 * block + count] = v2
            corner[3 * block + count] = v3
            count += 1
    return count


@jit
def solve_cell(
    corner: F32s,
    block: int,
    kept: I32s,
    count: int,
    line: F32s,
    y_first: int,
    y_last: int,
    y_weight: F32s,
    x_first: int,
    x_last: int,
    x_weight: F32s,
    width: int,
    out: U8s,
    confidence: U8s,
    kind: int,
) -> None:
    """Label a cell's pixels. May write up to seven pixels beyond its right side, which later cells overwrite."""
    zero, one, bias, full = (
        splat(np.float32(0)),
        splat(np.float32(1)),
        splat(np.float32(0.5)),
        splat(np.float32(255)),
    )
    for y in range(y_first, y_last):
        share = splat(y_weight[y])
        for k in range(0, count, 8):
            left, right = load8(corner, k), load8(corner, block + k)
            left = left + (load8(corner, 2 * block + k) - left) * share
            right = right + (load8(corner, 3 * block + k) - right) * share
            store(line, k, left)
            store(line, block + k, right - left)
        for x in range(x_first, x_last, 8):
            weight = load8(x_weight, x)
            best = splat(line[0]) + splat(line[block]) * weight
            label = splat_class(kept[0])
            for k in range(1, count):
                value = splat(line[k]) + splat(line[block + k]) * weight
                better = greater(value, best)
                best = select(better, value, best)
                label = select(better, splat_class(kept[k]), label)
            position = y * width + x
            room = width - x
            if room >= 8:
                store_u8(out, position, label)
            else:
                scatter8(out, position, label, room)
            if kind == 0:
                continue
            if kind == SOFTMAX:
                total = zero
                for k in range(count):
                    total = total + exp_negative(splat(line[k]) + splat(line[block + k]) * weight - best)
                level = one / total
            else:
                level = zero - maximum(zero - maximum(best, zero), zero - one)
            level = truncate(level * full + bias)
            if room >= 8:
                store_u8(confidence, position, level)
            else:
                scatter8(confidence, position, level, room)


@jit
def fill(target: U8s, value: int, y_first: int, y_last: int, x_first: int, x_last: int, width: int) -> None:
    """Set a rectangle to one value."""
    for y in range(y_first, y_last):
        target[y * width + x_first : y * width + x_last] = value


@jit
def label_cells(
    scores: F32s,
    grid_h: int,
    grid_w: int,
    classes: I32s,
    y_start: I32s,
    y_weight: F32s,
    x_start: I32s,
    x_weight: F32s,
    width: int,
    out: U8s,
    confidence: U8s,
    kind: int,
    first: int,
    last: int,
) -> bool:
    """Label the frame rows of the cell rows `first` to `last`; True, and nothing of use, where a score is wild."""
    plane = grid_h * grid_w
    block = (classes.size + 7) // 8 * 8
    winner = np.empty((2, grid_w), np.int32)
    best = np.empty((2, grid_w), np.float32)
    doubt = np.zeros((2, grid_w), np.float32)
    known = np.full(2, -1, np.int32)  # Which grid row each half of the buffers holds.
    corner = np.zeros(4 * block, np.float32)
    line = np.empty(2 * block, np.float32)
    kept = np.empty(classes.size, np.int32)
    corners = np.empty(4, np.int32)
    winners = np.empty(4, np.int32)
    for cell_y in range(first, last):
        y_first, y_last = y_start[cell_y], y_start[cell_y + 1]
        if y_first == y_last:
            continue
        above, below = max(cell_y - 1, 0), min(cell_y, grid_h - 1)
        for row in (above, below):
            half = row & 1
            if known[half] != row:
                if row_winners(scores, plane, grid_w, row, classes, winner[half], best[half], doubt[half], kind):
                    return True
                known[half] = row
        upper, lower = winner[above & 1], winner[below & 1]
        doubt_upper, doubt_lower = doubt[above & 1], doubt[below & 1]
        run_first, run_class = x_start[0], -1  # Neighbouring cells of one class are filled together.
        for cell_x in range(grid_w + 1):
            x_first, x_last = x_start[cell_x], x_start[cell_x + 1]
            if x_first == x_last:
                continue
            x0, x1 = max(cell_x - 1, 0), min(cell_x, grid_w - 1)
            this = upper[x0]
            plain = upper[x1] == this and lower[x0] == this and lower[x1] == this
            if plain and kind != 0:
                uncertain = max(max(doubt_upper[x0], doubt_upper[x1]), max(doubt_lower[x0], doubt_lower[x1]))
                plain = kind == SOFTMAX and uncertain < np.float32(SURE)
            if plain and this == run_class:
                continue
            if run_class >= 0:
                fill(out, run_class, y_first, y_last, run_first, x_first, width)
                if kind != 0:
                    fill(confidence, 255, y_first, y_last, run_first, x_first, width)
            run_first, run_class = x_first, this if plain else -1
            if plain:
                continue
            corners[0], corners[1] = above * grid_w + x0, above * grid_w + x1
            corners[2], corners[3] = below * grid_w + x0, below * grid_w + x1
            winners[0], winners[1], winners[2], winners[3] = upper[x0], upper[x1], lower[x0], lower[x1]
            count = keep_candidates(scores, corners, plane, classes, winners, kind, corner, kept)
            solve_cell(
                corner, block, kept, count, line, y_first, y_last, y_weight, x_first, x_last, x_weight, width,
                out, confidence, kind,
            )  # fmt: skip
        if run_class >= 0:
            fill(out, run_class, y_first, y_last, run_first, x_start[grid_w + 1], width)
            if kind != 0:
                fill(confidence, 255, y_first, y_last, run_first, x_start[grid_w + 1], width)
    return False


@jit
def nearest_rows(
    source: U8s, grid_w: int, rows: I32s, columns: I32s, out: U8s, ignore: int, first: int, last: int
) -> None:
    """Copy the nearest label to each pixel of the frame rows `first` to `last`."""
    width = columns.size
    for y in range(first, last):
        row = rows[y]
        here = y * width
        if row < 0:
            out[here : here + width] = ignore
        elif y > first and rows[y - 1] == row:
            out[here : here + width] = out[here - width : here]
        else:
            for x in range(width):
                out[here + x] = source[row * grid_w + columns[x]] if columns[x] >= 0 else ignore
