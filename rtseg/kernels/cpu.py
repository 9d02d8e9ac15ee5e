"""The kernels on the CPU: frame to tensor, logits to labels, labels onto the frame. This file is the definition.

All functions may be called from several Python threads at once; results do not depend on the number of threads.
Arrays to write to (`out`, `confidence`) are C-contiguous; read arrays with gaps are accepted and copied.
Wrong shapes and types are one-line errors: ModelError for logits, ConfigError for everything else.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.geometry import Fit
from rtseg.geometry import fit as make_fit
from rtseg.kernels import checks, label, mean_field, paint, resize, tables
from rtseg.kernels.crf_settings import Crf
from rtseg.kernels.mean_field import average, crf
from rtseg.kernels.threads import set_threads, spread, threads
from rtseg.kernels.typing import U16s
from rtseg.packages.spec import ModelSpec

__all__ = [
    "areas",
    "average",
    "blend",
    "contours",
    "crf",
    "is_cold",
    "labels",
    "preprocess",
    "set_threads",
    "threads",
    "upsample_labels",
    "warm_up",
]

KINDS = ("logits", "probabilities")
WIDEST_LINE = 99
_NOTHING = np.empty(0, np.uint8)
_local = threading.local()


def _scratch(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 array of this thread, the same one while the shape stays."""
    kept: NDArray[np.float32] | None = getattr(_local, "tensor", None)
    if kept is None or kept.shape != shape:
        kept = _local.tensor = np.empty(shape, np.float32)
    return kept


def preprocess(
    image: NDArray[np.uint8],
    spec: ModelSpec,
    fit: Fit,
    out: NDArray[Any] | None = None,
    *,
    antialias: bool = True,
) -> NDArray[Any]:
    """Turn a frame into the network's input tensor: resize, colour order, scale, mean and std, layout, type.

    `image` is HxWx3 uint8 BGR of size `fit.frame`; the result, `out` if given, is 1x3xHxW or 1xHxWx3 (`spec.layout`)
    of size `fit.network` in `spec.dtype`. Resizing is bilinear with half-pixel centres; when shrinking, `antialias`
    widens the triangle as Pillow and `torch.nn.functional.interpolate(antialias=True)` do, in float32 without rounding
    between the passes. A uint8 tensor holds the resized pixels, rounded and not normalised. What the frame does not
    cover is the mean colour: 0 in a float tensor, round(mean / scale) cut to 0…255 in a uint8 one, whose network
    normalises by itself.
    """
    image = checks.check_image("preprocess", image)
    if image.shape[:2] != fit.frame:
        raise ConfigError(f"preprocess: image is {image.shape[0]}x{image.shape[1]}, but fit was made for {fit.frame}")
    height, width = fit.network
    planar = spec.layout == "NCHW"
    shape = (1, 3, height, width) if planar else (1, height, width, 3)
    out = checks.check_out("preprocess", "out", out, shape, np.dtype(spec.dtype))
    tensor = out if spec.dtype == "float32" else _scratch(shape)
    plane, step = (height * width, 1) if planar else (1, 3)
    places = (2 * plane, plane, 0) if spec.channels == "RGB" else (0, plane, 2 * plane)
    steps = np.array((width * step, step, *places), np.int32)
    rows, columns = tables.taps(fit, antialias)
    affine, pixels, flat = tables.affine(spec), image.reshape(-1), tensor.reshape(-1)
    y_weight, x_weight = rows.weight.reshape(-1), columns.weight.reshape(-1)

    def work(first: int, last: int) -> None:
        resize.resize_rows(
            pixels, image.shape[1], rows.first, rows.last, rows.start, rows.count, y_weight, columns.first,
            columns.last, columns.start, x_weight, width, flat, steps, affine, first, last,
        )  # fmt: skip
        if tensor is not out:
            part = np.s_[:, :, first:last] if planar else np.s_[:, first:last]
            np.copyto(out[part], tensor[part], casting="unsafe")

    spread(work, height)
    return out


def labels(
    logits: NDArray[Any],
    size: tuple[int, int],
    *,
    fit: Fit | None = None,
    kind: Literal["logits", "probabilities"] = "logits",
    out: NDArray[np.uint8] | None = None,
    confidence: NDArray[np.uint8] | None = None,
    allowed: NDArray[np.bool_] | None = None,
    ignore_index: int = 255,
) -> NDArray[np.uint8]:
    """Label every frame pixel with the argmax of the bilinearly upsampled logits, the lowest class on a tie.

    `logits` is (C, h, w) float32 or float16, 1 to 256 classes (with 256, label 255 is a class too); `size` the frame's
    (height, width). `fit` says which rectangle of the network's input the frame is; without it the logits are stretched
    over the frame. The upsampling is that of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`:
    half-pixel centres, repeated edges. Frame pixels outside the network's input get `ignore_index`. Labels differ from
    those of float64 arithmetic only where the two best scores differ by less than float32 resolves.

    One class, (1, h, w), is a binary network: label 1 where the logit is above 0 (the probability above 0.5), else 0.
    `allowed` is bool per class (two for a binary network): the others cannot win. `confidence`, HxW uint8, receives
    round(255 * p), 0 outside the network's input, where p is the winner's softmax over the allowed classes'
    interpolated logits, or for `kind="probabilities"` the winner's interpolated probability, cut to 0…1.

    Values that are no numbers count as -1e30 and others are cut to ±1e30 before interpolation: a NaN never wins over a
    number, +infinity wins wherever it has weight, and where all are NaN the lowest allowed class wins.
    """
    scores = checks.check_logits("labels", logits)
    if kind not in KINDS:
        raise ConfigError(f"labels: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if scores.shape[0] == 1:
        scores = np.concatenate([1 - scores if kind == "probabilities" else np.zeros_like(scores), scores])
    grid_h, grid_w = scores.shape[1:]
    fit = checks.check_frame("labels", size, fit, (grid_h, grid_w))
    ignore_index = checks.check_id("labels", "ignore_index", ignore_index)
    classes = checks.check_allowed("labels", allowed, scores.shape[0])
    out = checks.check_out("labels", "out", out, size, np.uint8)
    wanted = 0
    if confidence is not None:
        checks.check_out("labels", "confidence", confidence, size, np.uint8)
        wanted = label.SOFTMAX if kind == "logits" else label.SHARE
    rows, columns = tables.cells(fit, (grid_h, grid_w))
    target, level = out.reshape(-1), _NOTHING if confidence is None else confidence.reshape(-1)
    wild: list[bool] = []

    def work(first: int, last: int) -> None:
        wild.append(
            label.label_cells(
                scores.reshape(-1), grid_h, grid_w, classes, rows.start, rows.weight, columns.start, columns.weight,
                size[1], target, level, wanted, first, last,
            )
        )  # fmt: skip

    spread(work, grid_h + 1)
    if any(wild):
        # Rare, so the tame copy is made only now.
        most = np.nextafter(np.float32(label.LIMIT), np.float32(0))
        scores = np.clip(np.nan_to_num(scores, nan=-most, posinf=most, neginf=-most), -most, most)
        spread(work, grid_h + 1)
    top, bottom, left, right = rows.start[0], rows.start[-1], columns.start[0], columns.start[-1]
    for array, value in ((out, ignore_index), (confidence, 0)):
        if array is not None and (top, left, bottom, right) != (0, 0, *size):
            array[:top], array[bottom:] = value, value
            array[:, :left], array[:, right:] = value, value
    return out


def upsample_labels(
    label_map: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    fit: Fit | None = None,
    out: NDArray[np.uint8] | None = None,
    ignore_index: int = 255,
) -> NDArray[np.uint8]:
    """Bring the (h, w) uint8 labels of a network that returns a label map to the frame's (height, width).

    Each frame pixel takes the label in whose area its centre lies; `fit` and `ignore_index` are as for `labels`.
    """
    label_map = checks.check_labels("upsample_labels", label_map)
    fit = checks.check_frame("upsample_labels", size, fit, (label_map.shape[0], label_map.shape[1]))
    ignore_index = checks.check_id("upsample_labels", "ignore_index", ignore_index)
    out = checks.check_out("upsample_labels", "out", out, size, np.uint8)
    rows, columns = tables.nearest(fit, (label_map.shape[0], label_map.shape[1]))
    source, target = label_map.reshape(-1), out.reshape(-1)

    def work(first: int, last: int) -> None:
        label.nearest_rows(source, label_map.shape[1], rows, columns, target, ignore_index, first, last)

    spread(work, size[0])
    return out


@lru_cache(8)
def _pigments(colors: bytes, alpha: bytes) -> tuple[U16s, U16s]:
    """Per class alpha * colour for a block of pixels, and four times 255 - alpha."""
    opacity = np.frombuffer(alpha, np.uint8).astype(np.uint16)
    tint = np.frombuffer(colors, np.uint8).reshape(256, 3) * opacity[:, None]
    return np.tile(tint, paint.BLOCK).reshape(-1), np.repeat(255 - opacity, 4)


def blend(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Lay each pixel's class colour over the image: round((alpha * colour + (255 - alpha) * pixel) / 255), exactly.

    `image` is HxWx3 uint8 BGR, `labels` HxW uint8, `colors` 256x3 uint8 BGR, `alpha` 256 uint8 opacities per label
    (0 copies the pixel, 255 replaces it). `out` may be `image` itself.
    """
    image = checks.check_image("blend", image)
    labels = checks.check_labels("blend", labels, image.shape[:2])
    tint, keep = _pigments(*checks.check_colors("blend", colors, alpha))
    out = checks.check_out("blend", "out", out, image.shape, np.uint8)
    pixels, ids, target, width = image.reshape(-1), labels.reshape(-1), out.reshape(-1), image.shape[1]

    def work(first: int, last: int) -> None:
        paint.blend_pixels(pixels, ids, tint, keep, target, first * width, last * width)

    spread(work, image.shape[0])
    return out


def contours(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    out: NDArray[np.uint8] | None = None,
    *,
    thickness: int = 2,
) -> NDArray[np.uint8]:
    """Copy the image and draw lines where labels meet, each pixel in its own class's colour and opacity.

    Arguments are those of `blend`. A line is `thickness` pixels (1 to 99): a pixel is on it where the labels from
    thickness // 2 pixels up and left to (thickness + 1) // 2 down and right of it are not all the same.
    """
    image = checks.check_image("contours", image)
    labels = checks.check_labels("contours", labels, image.shape[:2])
    tint, keep = _pigments(*checks.check_colors("contours", colors, alpha))
    out = checks.check_out("contours", "out", out, image.shape, np.uint8)
    if not isinstance(thickness, int) or not 1 <= thickness <= WIDEST_LINE:
        raise ConfigError(f"contours: thickness is {thickness!r}, expected 1 to {WIDEST_LINE} pixels")
    before, after = thickness // 2, (thickness + 1) // 2
    pixels, ids, target, (height, width) = image.reshape(-1), labels.reshape(-1), out.reshape(-1), labels.shape

    def work(first: int, last: int) -> None:
        paint.draw_contours(pixels, ids, height, width, tint, keep, before, after, target, first, last)

    spread(work, height)
    return out


def areas(labels: NDArray[np.uint8], classes: int, ignore_index: int = 255) -> NDArray[np.float64]:
    """The fraction of all pixels that each of the first `classes` labels covers, float64.

    Pixels of `ignore_index` count among all pixels but for no class, so the sum may be below 1.
    """
    labels = checks.check_labels("areas", labels)
    if not isinstance(classes, int) or not 1 <= classes <= checks.MOST_CLASSES:
        raise ConfigError(f"areas: classes is {classes!r}, expected 1 to {checks.MOST_CLASSES}")
    ignore_index = checks.check_id("areas", "ignore_index", ignore_index)
    ids, width = labels.reshape(-1), labels.shape[1]
    counts: list[NDArray[np.int64]] = []
    spread(lambda first, last: counts.append(paint.count_pixels(ids, first * width, last * width)), labels.shape[0])
    fractions: NDArray[np.float64] = np.sum(counts, axis=0)[:classes] / labels.size
    fractions[ignore_index:][:1] = 0.0
    return fractions


_KERNELS: tuple[Any, ...] = (
    resize.resize_rows,
    label.label_cells,
    label.nearest_rows,
    paint.blend_pixels,
    paint.draw_contours,
    paint.count_pixels,
)


def is_cold(*, refine: bool = False) -> bool:
    """Whether a kernel has yet to be compiled on this machine, judged by the names of the cached files.

    Those of the CRF count only with `refine`.
    """
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    for kernel in (*_KERNELS, *(mean_field.KERNELS if refine else ())):
        folder, function = kernel.stats.cache_path, kernel.py_func
        name = f"{Path(inspect.getfile(function)).stem}.{function.__qualname__}-*.{version}.nbi"
        if not kernel.signatures and not (folder and any(Path(folder).glob(name))):
            return True
    return False


def warm_up(*, refine: bool = False) -> float:
    """Make every kernel ready by running it on a few pixels; returns the seconds it took. Those of the CRF on request.

    Cold, all are compiled (seconds); later starts on the same machine load them from Numba's on-disk cache. What is
    compiled does not depend on sizes, class counts or the model's types.
    """
    begin = time.perf_counter()
    size = (8, 16)
    image, scores = np.zeros((*size, 3), np.uint8), np.zeros((2, *size), np.float32)
    colors, alpha = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    spec, fit = ModelSpec(name="warm-up", classes=("all",)), make_fit(size, size)
    tensor = preprocess(image, spec, fit)
    if refine:
        crf(scores, average(tensor, spec, fit, size), Crf(radius=1))
    ids = labels(scores, size, confidence=np.empty(size, np.uint8))
    upsample_labels(ids, size)
    blend(image, ids, colors, alpha)
    contours(image, ids, colors, alpha)
    areas(ids, 2)
    return time.perf_counter() - begin
