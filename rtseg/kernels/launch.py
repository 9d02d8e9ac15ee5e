"""What the GPU kernels are launched with: tables, launch shapes and parameters. Numbers only, so testable anywhere.

A geometry's tables are worked out once (`preprocess_tables`, `label_tables`, `nearest_tables`), packed into one array
and uploaded; a launch names device addresses and never changes while its buffers stay, so that a whole frame can be
captured once and replayed. The structured types mirror the structs of kernels.cu, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.geometry import Fit
from rtseg.kernels import label, tables
from rtseg.kernels.frame_tables import Tables, label_tables, nearest_tables, preprocess_tables
from rtseg.kernels.pixels import Matrix, PixelFormat, yuv_numbers
from rtseg.kernels.typing import I32s
from rtseg.packages.spec import ModelSpec

__all__ = [
    "FUSED_THICKNESS",
    "KERNELS",
    "Drawing",
    "Launch",
    "Picture",
    "Plane",
    "Tables",
    "areas",
    "label_tables",
    "labels",
    "nearest",
    "nearest_tables",
    "paint",
    "pigments",
    "preprocess",
    "preprocess_tables",
]

ADDRESS, INT, FLOAT, BYTE = np.uint64, np.int32, np.float32, np.uint8


def _struct(*fields: tuple[Any, ...]) -> np.dtype[np.void]:
    return np.dtype(list(fields), align=True)


def _several(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


PREPROCESS = _struct(
    *_several(ADDRESS, "image chroma out x_start y_start y_count x_weight y_weight"),
    *_several(INT, "pitch chroma_pitch frame_w frame_h width height x_first x_last columns wide deep words vectors"),
    *_several(INT, "type planar swap"),
    ("factor", FLOAT, (3,)),
    ("summand", FLOAT, (3,)),
    ("border", FLOAT, (3,)),
    *_several(INT, "luma_zero luma u_blue u_green v_green v_red"),
)
TILE = _struct(
    *_several(ADDRESS, "labels confidence overlay image fill line"),
    *_several(INT, "height width labels_pitch confidence_pitch image_pitch overlay_pitch tile_h tile_w before after"),
    *_several(INT, "draw words ignore"),
)
SCORES = _struct(
    *_several(ADDRESS, "scores cell_y cell_x weight_y weight_x"),
    *_several(INT, "grid_h grid_w top bottom left right count kind binary shares split"),
    ("margin", FLOAT),
    ("classes", BYTE, (256,)),
)
LABELS = _struct(("tile", TILE), ("scores", SCORES))
NEAREST = _struct(("tile", TILE), *_several(ADDRESS, "source rows columns"), *_several(INT, "pitch item"))
PAINT = _struct(("tile", TILE), ("source", ADDRESS), ("pitch", INT))
AREAS = _struct(*_several(ADDRESS, "labels counts"), *_several(INT, "pitch height width words"))

KERNELS: Mapping[str, np.dtype[np.void]] = {
    "preprocess_bgr8": PREPROCESS,
    "preprocess_rgb8": PREPROCESS,
    "preprocess_bgra8": PREPROCESS,
    "preprocess_mono8": PREPROCESS,
    "preprocess_nv12": PREPROCESS,
    "label_tiles_f32": LABELS,
    "label_tiles_f16": LABELS,
    "label_pixels_f32": LABELS,
    "label_pixels_f16": LABELS,
    "upsample_labels": NEAREST,
    "paint_labels": PAINT,
    "draw_wide_contours": PAINT,
    "count_areas": AREAS,
    "clear_areas": AREAS,
}
"""Every kernel of kernels.cu and the type of its one parameter."""

ROW_THREADS, TILE_THREADS = 64, 256
TILE_WORDS, SAMPLES, MASKS = 1024, 1024, 4096
"""Room in shared memory, as in kernels.cu."""
TILES = ((16, 128), (16, 64), (8, 64), (8, 32))
"""Shapes of a tile, the best one first: 128 pixels are one 128-byte line of labels."""
MOST_SPLIT = 8
FUSED_THICKNESS = 8
"""The thickest contour whose window a tile's margin holds."""
BLEND, CONTOURS = 1, 2
TYPES = {"float32": 0, "float16": 1, "uint8": 2}
MAPS = ("uint8", "int32", "int64")
AREA_BLOCKS = 264
"""Blocks that count labels: two for each multiprocessor of an H100, and enough for smaller GPUs."""


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """A kernel's name, its grid and block (x, y, z), and its one parameter, a struct passed by value."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    params: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Plane:
    """Rows of bytes on the device: the address of the first and the distance between them, at least their length.

    The buffer holds pitch x rows bytes. Addresses and pitches that are multiples of 16 are fastest.
    """

    address: int
    pitch: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame on the device; `chroma`, `matrix` and `full_range` are for nv12 only."""

    pixels: PixelFormat
    plane: Plane
    chroma: Plane | None = None
    matrix: Matrix = "bt601"
    full_range: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """An overlay: `image` and `overlay` are BGR planes (they may be the same one), `fill` and `line` the addresses of
    `pigments` for areas and for contours, 0 for none; `thickness` is that of contours."""

    image: Plane
    overlay: Plane
    fill: int = 0
    line: int = 0
    thickness: int = 2


def _aligned(*planes: Plane | None) -> bool:
    """Whether all rows begin at multiples of four bytes."""
    return all(plane is None or (plane.address | plane.pitch) % 4 == 0 for plane in planes)


def preprocess(spec: ModelSpec, fit: Fit, picture: Picture, made: Tables, table: int, out: int) -> Launch:
    """The launch that turns `picture` into the tensor at `out`; `table` is where `made.data` is on the device.

    The tensor is that of `cpu.preprocess`. `table` and `out` are multiples of 16.
    """
    params = np.zeros((), PREPROCESS)
    for name, offset in made.offsets.items():
        params[name] = table + offset
    rows, wide = made.arrays["y_weight"], made.arrays["x_weight"]
    shown = np.flatnonzero(made.arrays["x_start"] >= 0)
    plane, chroma = picture.plane, picture.chroma
    height, width = fit.network
    params["image"], params["pitch"], params["out"] = plane.address, plane.pitch, out
    if picture.pixels == "nv12":
        if chroma is None:
            raise ConfigError("preprocess: nv12 needs its chroma plane")
        params["chroma"], params["chroma_pitch"] = chroma.address, chroma.pitch
        numbers = yuv_numbers(picture.matrix, picture.full_range)
        for name, number in zip(("luma_zero", "luma", "u_blue", "u_green", "v_green", "v_red"), numbers, strict=True):
            params[name] = number
    params["frame_h"], params["frame_w"] = fit.frame
    params["height"], params["width"] = height, width
    if shown.size:
        params["x_first"], params["x_last"] = shown[0], shown[-1] + 1
    params["columns"], params["wide"], params["deep"] = wide.shape[1], wide.shape[0], rows.shape[1]
    params["words"], params["vectors"] = _aligned(plane, chroma), width % 4 == 0
    params["type"], params["planar"] = TYPES[spec.dtype], spec.layout == "NCHW"
    params["swap"] = spec.channels == "RGB"
    affine = tables.affine(spec)
    params["factor"], params["summand"], params["border"] = affine[0:3], affine[4:7], affine[8:11]
    grid = (-(-width // (4 * ROW_THREADS)), height, 1)
    return Launch(f"preprocess_{picture.pixels}", grid, (ROW_THREADS, 1, 1), params)


def pigments(colors: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """256 BGR colours and opacities as the kernels read them, 256x4 uint8."""
    return np.concatenate([colors, alpha[:, None]], 1)


def _reach(drawing: Drawing | None) -> tuple[int, int]:
    """How far a contour's window reaches up and left, and down and right."""
    if drawing is None or not drawing.line:
        return 0, 0
    return drawing.thickness // 2, (drawing.thickness + 1) // 2


def _tile(
    size: tuple[int, int],
    shape: tuple[int, int],
    drawing: Drawing | None,
    ignore: int = 255,
    labels: Plane | None = None,
    confidence: Plane | None = None,
    *others: Plane,
) -> NDArray[np.void]:
    tile = np.zeros((), TILE)
    if drawing is not None:
        tile["fill"], tile["line"] = drawing.fill, drawing.line
        tile["draw"] = (BLEND if drawing.fill else 0) | (CONTOURS if drawing.line else 0)
    planes: dict[str, Plane | None] = {"labels": labels, "confidence": confidence}
    if drawing is not None:
        planes |= {"image": drawing.image, "overlay": drawing.overlay}
    for name, plane in planes.items():
        if plane is not None:
            tile[name], tile[f"{name}_pitch"] = plane.address, plane.pitch
    tile["height"], tile["width"] = size
    tile["tile_h"], tile["tile_w"] = shape
    tile["before"], tile["after"] = _reach(drawing)
    tile["words"], tile["ignore"] = _aligned(*planes.values(), *others), ignore
    return tile


def _tiles(size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int]:
    return -(-size[1] // shape[1]), -(-size[0] // shape[0]), 1


def _check_thickness(where: str, drawing: Drawing | None) -> None:
    if drawing is not None and drawing.line and not 1 <= drawing.thickness <= FUSED_THICKNESS:
        raise ConfigError(
            f"{where}: thickness is {drawing.thickness}, expected 1 to {FUSED_THICKNESS} pixels in one launch with "
            "labels; draw thicker contours by a launch of their own"
        )


def _most(cell: I32s, length: int, before: int, after: int, grid: int) -> tuple[int, int]:
    """The most samples and cells of one axis that a tile of `length` pixels and its margin meet."""
    samples = cells = 0
    for first in range(0, cell.size, length):
        inside = cell[max(first - before, 0) // 4 * 4 : (first + length + after + 3) // 4 * 4]
        inside = inside[inside >= 0]
        if inside.size:
            low, high = int(inside[0]), int(inside[-1])
            samples = max(samples, min(high, grid - 1) - max(low - 1, 0) + 1)
            cells = max(cells, high - low + 1)
    return samples, cells


def _choose_tile(
    made: Tables, grid: tuple[int, int], classes: int, reach: tuple[int, int]
) -> tuple[tuple[int, int], int] | None:
    """The tile's shape and how many threads share a sample; None where no tile's samples and cells fit."""
    for shape in TILES:
        rows = _most(made.arrays["cell_y"], shape[0], *reach, grid[0])
        columns = _most(made.arrays["cell_x"], shape[1], *reach, grid[1])
        samples, cells = rows[0] * columns[0], rows[1] * columns[1]
        if samples <= SAMPLES and cells <= SAMPLES and cells * (-(-classes // 8)) <= MASKS:
            split = 1
            while split < MOST_SPLIT and 2 * split * samples <= TILE_THREADS and 4 * split <= classes:
                split *= 2
            return shape, split
    return None


def labels(
    scores: int,
    shape: tuple[int, int, int],
    dtype: Any,
    fit: Fit,
    made: Tables,
    table: int,
    *,
    classes: I32s,
    shares: bool = False,
    labels: Plane | None = None,
    confidence: Plane | None = None,
    drawing: Drawing | None = None,
    ignore_index: int = 255,
    by_pixel: bool = False,
) -> Launch:
    """The launch that labels a frame from the logits at `scores`, (C, h, w) float32 or float16, as `cpu.labels` does.

    `table`, a multiple of 16, is where `made.data` is on the device. `classes` are the ids that may win, ascending; a
    network of one class stands for two. `shares`: the scores are probabilities. What is None is not written; a
    `drawing` is made in the same launch. `by_pixel` forces the kernel that fits any geometry, which is otherwise used
    where it must be.
    """
    _check_thickness("labels", drawing)
    grid = (shape[1], shape[2])
    chosen = None if by_pixel else _choose_tile(made, grid, classes.size, _reach(drawing))
    tile, split = chosen or (TILES[0], 1)
    params = np.zeros((), LABELS)
    params["tile"] = _tile(fit.frame, tile, drawing, ignore_index, labels, confidence)
    part = params["scores"]
    for name, offset in made.offsets.items():
        part[name] = table + offset
    part["scores"], part["split"] = scores, split
    part["grid_h"], part["grid_w"] = grid
    for first, last, name in (("top", "bottom", "cell_y"), ("left", "right", "cell_x")):
        inside = np.flatnonzero(made.arrays[name] >= 0)
        part[first], part[last] = (inside[0], inside[-1] + 1) if inside.size else (0, 0)
    kind = 0 if confidence is None else label.SHARE if shares else label.SOFTMAX
    part["count"], part["kind"], part["shares"], part["binary"] = classes.size, kind, shares, shape[0] == 1
    part["margin"] = label.FAINT + np.log(classes.size) if kind == label.SOFTMAX else 0.0
    part["classes"][: classes.size] = classes
    name = f"label_{'tiles' if chosen else 'pixels'}_{'f16' if np.dtype(dtype) == np.float16 else 'f32'}"
    return Launch(name, _tiles(fit.frame, tile), (TILE_THREADS, 1, 1), params)


def nearest(
    source: Plane,
    fit: Fit,
    made: Tables,
    table: int,
    *,
    dtype: Any = np.uint8,
    labels: Plane | None = None,
    drawing: Drawing | None = None,
    ignore_index: int = 255,
) -> Launch:
    """The launch that brings a label map to the frame's size, as `cpu.upsample_labels` does, and draws.

    The map's values are of `dtype`: uint8, or int32 or int64, of which those that are no class become 255.
    """
    _check_thickness("upsample_labels", drawing)
    if np.dtype(dtype).name not in MAPS:
        raise ConfigError(f"upsample_labels: the label map is {np.dtype(dtype)}, expected {', '.join(MAPS)}")
    params = np.zeros((), NEAREST)
    params["tile"] = _tile(fit.frame, TILES[0], drawing, ignore_index, labels)
    params["source"], params["pitch"], params["item"] = source.address, source.pitch, np.dtype(dtype).itemsize
    for name, offset in made.offsets.items():
        params[name] = table + offset
    return Launch("upsample_labels", _tiles(fit.frame, TILES[0]), (TILE_THREADS, 1, 1), params)


def paint(labels: Plane, size: tuple[int, int], drawing: Drawing) -> Launch:
    """The launch that draws a label map over an image, as `cpu.blend` and `cpu.contours` do; contours of any width."""
    wide = bool(drawing.line) and drawing.thickness > FUSED_THICKNESS
    params = np.zeros((), PAINT)
    params["tile"] = _tile(size, TILES[0], drawing, 255, None, None, labels)
    params["source"], params["pitch"] = labels.address, labels.pitch
    if wide:
        return Launch("draw_wide_contours", (-(-size[1] // TILE_THREADS), size[0], 1), (TILE_THREADS, 1, 1), params)
    return Launch("paint_labels", _tiles(size, TILES[0]), (TILE_THREADS, 1, 1), params)


def areas(labels: Plane, size: tuple[int, int], counts: int) -> tuple[Launch, Launch]:
    """The launches that clear 256 uint32 at `counts` and then count the pixels of each label."""
    params = np.zeros((), AREAS)
    params["labels"], params["pitch"], params["counts"] = labels.address, labels.pitch, counts
    params["height"], params["width"] = size
    params["words"] = _aligned(labels)
    blocks = min(AREA_BLOCKS, -(-size[0] * -(-size[1] // 16) // TILE_THREADS))
    block = (TILE_THREADS, 1, 1)
    return Launch("clear_areas", (1, 1, 1), block, params), Launch("count_areas", (blocks, 1, 1), block, params)
