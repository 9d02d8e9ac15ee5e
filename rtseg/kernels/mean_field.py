"""The dense CRF: its public functions, which `kernels.cpu` passes on, its steps, and the arrays kept between frames."""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.geometry import Fit
from rtseg.kernels import checks, tables
from rtseg.kernels.crf import CLASSES, average_rows, measure_rows, unary_rows, update_rows, weigh_rows
from rtseg.kernels.crf_settings import Crf, Solve
from rtseg.kernels.simd import LANES
from rtseg.kernels.threads import spread
from rtseg.kernels.typing import I32s
from rtseg.packages.spec import ModelSpec

__all__ = ["KERNELS", "average", "crf"]

KERNELS = (average_rows, measure_rows, weigh_rows, unary_rows, update_rows)
KINDS = ("logits", "probabilities")

LARGEST = 4 << 30
"""Bytes that the pairs' weights may take."""

_local = threading.local()
_NOTHING = np.empty(0, np.float32)


class Workspace:
    """Arrays for a grid of one size, used again by every frame; what lies outside the grid stays 0."""

    def __init__(self, classes: int, height: int, width: int, settings: Crf) -> None:
        self.key = (classes, height, width, settings)
        radius = settings.radius
        self.width = -(-width // LANES) * LANES
        self.wide, self.plane = self.width + 2 * radius, (height + 2 * radius) * (self.width + 2 * radius)
        steps = np.arange(-radius, radius + 1)
        dy, dx = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
        others = (dy != 0) | (dx != 0)
        square = ((dy * dy + dx * dx)[others]).astype(np.float64)
        self.shifts = (dy * self.wide + dx)[others].astype(np.int32)
        self.distance = (square / (2 * settings.theta_alpha**2)).astype(np.float32)
        self.near = np.exp(-square / (2 * settings.theta_gamma**2)).astype(np.float32)
        shape = (height + 2 * radius, self.wide)
        self.inside = np.zeros(shape, np.float32)
        self.interior = np.s_[..., radius : radius + height, radius : radius + width]
        self.inside[self.interior] = 1
        self.colours = np.zeros((3, *shape), np.float32)
        self.norms = np.zeros((2, self.plane), np.float32)
        size = 4 * height * self.width * self.shifts.size
        if size > LARGEST:
            raise ConfigError(
                f"crf: radius {radius} on a grid of {height}x{width} needs {size / 1e9:.0f} GB: use a smaller radius"
                " or upsample less"
            )
        self.weights = np.empty(height * self.width * self.shifts.size, np.float32)
        self.unary = np.zeros((classes, height, self.width), np.float32)
        filled = -(-classes // CLASSES) * CLASSES
        self.beliefs = [np.zeros(filled * self.plane, np.float32) for _ in range(2)]


def run(
    scores: NDArray[np.float32],
    picture: NDArray[np.float32],
    settings: Crf,
    box: tuple[int, int, int, int],
    allowed: I32s,
    shares: bool,
) -> NDArray[np.float32]:
    """Log-probabilities of the picture's cells in `box` (top, left, bottom, right), a view that the next call reuses.

    `scores` is CHW on the same grid or a coarser one, `allowed` 0 or 1 per class; `shares`: they are no logits.
    """
    top, left, bottom, right = box
    classes, grid_h, grid_w = scores.shape
    height, width, radius = bottom - top, right - left, settings.radius
    space: Workspace | None = getattr(_local, "space", None)
    if space is None or space.key != (classes, height, width, settings):
        space = _local.space = Workspace(classes, height, width, settings)
    np.multiply(
        picture[:, top:bottom, left:right],
        np.float32(1 / (np.sqrt(2) * settings.theta_beta)),
        out=space.colours[space.interior],
    )
    rows, row_share = tables.samples(grid_h, picture.shape[1], top, bottom)
    columns, column_share = tables.samples(grid_w, picture.shape[2], left, right)
    wide, plane, padded, shifts = space.wide, space.plane, space.width, space.shifts
    inside, weights, unary = space.inside.reshape(-1), space.weights, space.unary.reshape(-1)
    norm_a, norm_s = space.norms
    old, new = space.beliefs

    def prepare(first: int, last: int) -> None:
        measure_rows(
            space.colours.reshape(-1), inside, wide, padded, plane, shifts, space.distance, space.near, radius,
            weights, norm_a, norm_s, first, last,
        )  # fmt: skip
        unary_rows(
            scores.reshape(-1), grid_h, grid_w, rows.reshape(-1), row_share, columns.reshape(-1), column_share,
            allowed, shares, padded, unary, first, last,
        )  # fmt: skip
        update(first, last, True)

    def weigh(first: int, last: int) -> None:
        weigh_rows(
            wide, padded, shifts, space.near, radius, settings.appearance, settings.smoothness, weights, norm_a, norm_s,
            first, last,
        )  # fmt: skip

    def update(first: int, last: int, start: bool = False) -> None:
        update_rows(
            unary, old, weights, shifts, inside, classes, height, padded, wide, plane, radius, start, new, first, last
        )

    spread(prepare, height)
    spread(weigh, height)
    for turn in range(1, settings.iterations + 1):
        old, new = new, old if turn < settings.iterations else _NOTHING
        spread(update, height)
    return space.unary[:, :, :width]


def average(
    tensor: NDArray[Any], spec: ModelSpec, fit: Fit, grid: tuple[int, int], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Mean colour of the frame in each cell of a grid over the network's input, from the input that `preprocess` made.

    `tensor` is that input, `grid` (height, width) in cells; the result is 3xHxW float32 in 0…255, in the network's
    channel order. Only pixels that show the frame count; cells that hold none are 0.
    """
    height, width = fit.network
    planar = spec.layout == "NCHW"
    shape = (1, 3, height, width) if planar else (1, height, width, 3)
    checks.check_out("average", "tensor", tensor, shape, np.dtype(spec.dtype), optional=False)
    out = checks.check_out("average", "out", out, (3, *grid), np.float32)
    rows, columns = tables.covered(fit, grid)
    steps = np.array((width, 1, height * width) if planar else (3 * width, 3, 1), np.int32)
    pixels = tensor.astype(np.float32, copy=False).reshape(-1)
    affine = np.array([1.0] * 3 + [0.0] * 3)
    if spec.dtype != "uint8":
        affine = np.array([*spec.std, *spec.mean]) / (spec.scale or 1.0)
    affine = affine.astype(np.float32)

    def work(first: int, last: int) -> None:
        average_rows(
            pixels, width, steps, rows.reshape(-1), columns.reshape(-1), affine, out.reshape(-1), first, last
        )  # fmt: skip

    spread(work, grid[0])
    return out


def crf(
    logits: NDArray[Any],
    picture: NDArray[np.float32],
    settings: Crf,
    *,
    fit: Fit | None = None,
    kind: Literal["logits", "probabilities"] = "logits",
    out: NDArray[np.float32] | None = None,
    allowed: NDArray[np.bool_] | None = None,
    solve: Solve = run,
) -> NDArray[np.float32]:
    """Log-probabilities of the classes after `settings.iterations` steps of a dense CRF's mean field (see `Crf`).

    `logits` is (C, h, w) float32 or float16; `picture` 3xHxW float32 holds the colours (0…255) of the same grid, as
    `average` makes them, or of a finer one, to which the logits are interpolated as by `labels`. The result, `out` if
    given, is (C, H, W) float32. `fit` says which rectangle is the frame: cells that show none of it take no part, and
    are 0 (the same for all classes, so `labels` ignores them). Pairs reach `settings.radius` cells along each
    axis; with a radius that covers the grid this is the fully connected CRF. All cells are updated at once, starting
    from the softmax of the logits.

    A binary network's one class becomes two. Classes that are not `allowed` get next to no probability. For
    `kind="probabilities"` their logarithm (of at least 1e-12) is used. Values that are no numbers count as -1e4, others
    are cut to ±1e4. `solve` computes the mean field: on the CPU, or as `training.crf.solver` makes it, on a GPU.
    """
    scores = checks.check_logits("crf", logits)
    if kind not in KINDS:
        raise ConfigError(f"crf: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if scores.shape[0] == 1:
        scores = np.concatenate([1 - scores if kind == "probabilities" else np.zeros_like(scores), scores])
    classes, grid = scores.shape[0], (scores.shape[1], scores.shape[2])
    picture = checks.check_picture("crf", picture, grid)
    fine = (picture.shape[1], picture.shape[2])
    out = checks.check_out("crf", "out", out, (classes, *fine), np.float32)
    free = np.zeros(classes, np.int32)
    free[checks.check_allowed("crf", allowed, classes)] = 1
    rows, columns = (
        tuple(int(i) for i in np.flatnonzero(spans[:, 0] < spans[:, 1])[[0, -1]])
        for spans in tables.covered(fit or Fit(fine, fine, 0, 0, *fine), fine)
    )
    top, bottom, left, right = rows[0], rows[1] + 1, columns[0], columns[1] + 1
    refined = solve(scores, picture, settings, (top, left, bottom, right), free, kind == "probabilities")
    if (top, left, bottom, right) != (0, 0, *fine):
        out[:] = 0
    out[:, top:bottom, left:right] = refined
    return out
