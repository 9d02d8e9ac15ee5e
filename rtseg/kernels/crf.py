"""Mean field of a dense CRF whose pairs are cut to a window: a sum over neighbours, vectorised over the cells of a row.

Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (2011), with the pairs
of Teichmann & Cipolla, "Convolutional CRFs for Semantic Segmentation" (2018). Under Potts compatibility a class's
energy falls by what its neighbours believe in it: log q(i, c) = unary(i, c) + sum over j of weight(i, j) * q(j, c).

Beliefs, colours and normalisers lie in planes with a border of `radius` zeros, rows filled up to eights, so that no
neighbour needs a test: what lies outside has the normaliser 0, and so no weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rtseg.kernels.jit import jit
from rtseg.kernels.simd import exp_negative, load8, maximum, splat, store
from rtseg.kernels.typing import F32s, I32s

__all__ = ["CLASSES", "average_rows", "measure_rows", "unary_rows", "update_rows", "weigh_rows"]

CLASSES = 4
"""Classes whose sums are kept in registers together: planes are filled up to a multiple of this."""
LIMIT = 1e4
"""Scores are cut to this size; the softmax of anything further apart is 0 or 1 anyway."""
NOTHING = 1e-16
"""Kernels and beliefs below this are 0: products of them would be denormal numbers, which are slow."""
FAINTEST = 1e-6
"""Added to a cell's sum of neighbours before its root is divided by: a cell unlike all others is left alone."""


@jit
def average_rows(
    tensor: F32s, width: int, steps: I32s, rows: I32s, columns: I32s, affine: F32s, out: F32s, first: int, last: int
) -> None:
    """Mean colours of the grid rows `first` to `last`, cell (y, x) being the pixels rows[y]… by columns[x]….

    `rows` and `columns` hold a first and a last pixel per cell, equal where the cell holds nothing (its mean is 0).
    """
    grid_h, grid_w = rows.size // 2, columns.size // 2
    total = np.empty(width, np.float32)
    for y in range(first, last):
        top, bottom = rows[2 * y], rows[2 * y + 1]
        for channel in range(3):
            total[:] = 0
            for row in range(top, bottom):
                base, step = channel * steps[2] + row * steps[0], steps[1]
                if step == 1:
                    for x in range(width):
                        total[x] += tensor[base + x]
                else:
                    for x in range(width):
                        total[x] += tensor[base + x * step]
            for cell in range(grid_w):
                left, right = columns[2 * cell], columns[2 * cell + 1]
                mean = np.float32(0)
                if top < bottom and left < right:
                    for x in range(left, right):
                        mean += total[x]
                    mean = mean / np.float32((bottom - top) * (right - left)) * affine[channel] + affine[3 + channel]
                out[(channel * grid_h + y) * grid_w + cell] = mean


@jit
def measure_rows(
    colours: F32s,
    inside: F32s,
    wide: int,
    width: int,
    plane: int,
    shifts: I32s,
    distance: F32s,
    near: F32s,
    radius: int,
    weights: F32s,
    norm_a: F32s,
    norm_s: F32s,
    first: int,
    last: int,
) -> None:
    """The appearance kernel of every pair of the rows `first` to `last`, and both kernels' normalisers.

    `colours` are three planes divided by θβ√2, `distance` is d²/2θα² and `near` exp(-d²/2θγ²) per neighbour.
    """
    count = shifts.size
    zero, nothing = splat(np.float32(0)), splat(np.float32(NOTHING))
    for y in range(first, last):
        for x in range(0, width, 8):
            here = (y + radius) * wide + radius + x
            blue, green, red = load8(colours, here), load8(colours, plane + here), load8(colours, 2 * plane + here)
            base = (y * width + x) * count
            sum_a = sum_s = zero
            for k in range(count):
                there = here + shifts[k]
                b, g = load8(colours, there) - blue, load8(colours, plane + there) - green
                r = load8(colours, 2 * plane + there) - red
                present = load8(inside, there)
                pair = exp_negative(zero - (b * b + g * g + r * r) - splat(distance[k]))
                pair = maximum(pair - nothing, zero) * present
                store(weights, base + 8 * k, pair)
                sum_a = sum_a + pair
                sum_s = sum_s + splat(near[k]) * present
            store(norm_a, here, sum_a)
            store(norm_s, here, sum_s)
        base = (y + radius) * wide + radius
        for x in range(width):
            share = inside[base + x]
            norm_a[base + x] = share / np.sqrt(norm_a[base + x] + np.float32(FAINTEST))
            norm_s[base + x] = share / np.sqrt(norm_s[base + x] + np.float32(FAINTEST))


@jit
def weigh_rows(
    wide: int,
    width: int,
    shifts: I32s,
    near: F32s,
    radius: int,
    strength_a: float,
    strength_s: float,
    weights: F32s,
    norm_a: F32s,
    norm_s: F32s,
    first: int,
    last: int,
) -> None:
    """Turn the appearance kernel into the weight of every pair: both kernels, normalised, times their strengths."""
    count = shifts.size
    for y in range(first, last):
        for x in range(0, width, 8):
            here = (y + radius) * wide + radius + x
            own_a = load8(norm_a, here) * splat(np.float32(strength_a))
            own_s = load8(norm_s, here) * splat(np.float32(strength_s))
            base = (y * width + x) * count
            for k in range(count):
                there = here + shifts[k]
                pair = load8(weights, base + 8 * k) * own_a * load8(norm_a, there)
                store(weights, base + 8 * k, pair + splat(near[k]) * own_s * load8(norm_s, there))


@jit
def score_at(scores: F32s, place: int, shares: bool) -> Any:
    """A logit, or the logarithm of a probability, cut to LIMIT; what is no number counts as the least."""
    score = scores[place]
    if shares:
        score = np.log(score if score > np.float32(1e-12) else np.float32(1e-12))
    if not score > np.float32(-LIMIT):
        score = np.float32(-LIMIT)
    return min(score, np.float32(LIMIT))


@jit
def unary_rows(
    scores: F32s,
    grid_h: int,
    grid_w: int,
    rows: I32s,
    row_share: F32s,
    columns: I32s,
    column_share: F32s,
    allowed: I32s,
    shares: bool,
    width: int,
    unary: F32s,
    first: int,
    last: int,
) -> None:
    """Scores at the cells of the rows `first` to `last`, interpolated where the grid is finer than the scores'.

    `rows` and `columns` hold two samples per cell, the shares are the second one's. Classes that are not allowed have
    the least score.
    """
    size, height = columns.size // 2, rows.size // 2
    for c in range(allowed.size):
        for y in range(first, last):
            upper, lower = (c * grid_h + rows[2 * y]) * grid_w, (c * grid_h + rows[2 * y + 1]) * grid_w
            down, target = row_share[y], (c * height + y) * width
            for x in range(size):
                value = np.float32(-LIMIT)
                if allowed[c] != 0:
                    left, right, along = columns[2 * x], columns[2 * x + 1], column_share[x]
                    value = score_at(scores, upper + left, shares)
                    if along != 0:
                        value += (score_at(scores, upper + right, shares) - value) * along
                    if down != 0:
                        under = score_at(scores, lower + left, shares)
                        if along != 0:
                            under += (score_at(scores, lower + right, shares) - under) * along
                        value += (under - value) * down
                unary[target + x] = value


@jit
def update_rows(
    unary: F32s,
    beliefs: F32s,
    weights: F32s,
    shifts: I32s,
    inside: F32s,
    classes: int,
    height: int,
    width: int,
    wide: int,
    plane: int,
    radius: int,
    start: bool,
    new: F32s,
    first: int,
    last: int,
) -> None:
    """One step of the mean field for the rows `first` to `last`: messages, then the softmax; without messages at first.

    `new` receives the beliefs; an empty one: `unary` is overwritten with the log-probabilities instead.
    """
    count = shifts.size
    zero, nothing = splat(np.float32(0)), splat(np.float32(NOTHING))
    energy = np.empty((classes + CLASSES - 1) // CLASSES * CLASSES * 8, np.float32)
    total = np.empty(8, np.float32)
    for y in range(first, last):
        for x in range(0, width, 8):
            here = (y + radius) * wide + radius + x
            if start:
                for c in range(classes):
                    store(energy, 8 * c, load8(unary, (c * height + y) * width + x))
            else:
                base = (y * width + x) * count
                for c in range(0, classes, CLASSES):
                    q0 = c * plane + here
                    q1, q2, q3 = q0 + plane, q0 + 2 * plane, q0 + 3 * plane
                    sum0 = sum1 = sum2 = sum3 = zero
                    for k in range(count):
                        weight, shift = load8(weights, base + 8 * k), shifts[k]
                        sum0 = sum0 + weight * load8(beliefs, q0 + shift)
                        sum1 = sum1 + weight * load8(beliefs, q1 + shift)
                        sum2 = sum2 + weight * load8(beliefs, q2 + shift)
                        sum3 = sum3 + weight * load8(beliefs, q3 + shift)
                    store(energy, 8 * c, sum0)
                    store(energy, 8 * c + 8, sum1)
                    store(energy, 8 * c + 16, sum2)
                    store(energy, 8 * c + 24, sum3)
                for c in range(classes):
                    store(energy, 8 * c, load8(energy, 8 * c) + load8(unary, (c * height + y) * width + x))
            most = load8(energy, 0)
            for c in range(1, classes):
                most = maximum(most, load8(energy, 8 * c))
            added = zero
            if new.size > 0:
                for c in range(classes):
                    share = maximum(exp_negative(load8(energy, 8 * c) - most) - nothing, zero)
                    store(energy, 8 * c, share)
                    added = added + share
                scale = load8(inside, here) / added
                for c in range(classes):
                    store(new, c * plane + here, load8(energy, 8 * c) * scale)
            else:
                for c in range(classes):
                    added = added + exp_negative(load8(energy, 8 * c) - most)
                store(total, 0, added)
                for i in range(8):
                    total[i] = np.log(total[i])
                most = most + load8(total, 0)
                for c in range(classes):
                    store(unary, (c * height + y) * width + x, load8(energy, 8 * c) - most)
