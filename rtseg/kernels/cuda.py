"""The kernels on a GPU: the twins of `rtseg.kernels.cpu`, which is the definition.

`Kernels` takes and returns NumPy arrays: it is what the twin tests run, on a GPU and, by a library that g++ makes of
the same kernels.cu, without one. A pipeline whose frames stay on the device makes its launches with
`rtseg.kernels.launch` instead, once, and replays them. Nothing here imports a GPU package: `Device` is the seam.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.geometry import Fit
from rtseg.kernels import checks, cpu
from rtseg.kernels import launch as plans
from rtseg.kernels.launch import Drawing, Launch, Picture, Plane
from rtseg.kernels.pixels import Matrix, PixelFormat
from rtseg.packages.spec import ModelSpec

__all__ = ["Device", "Kernels", "Memory"]

Bytes = NDArray[np.uint8]


class Memory(Protocol):
    """A buffer on the device; it is free when nothing refers to it any more."""

    @property
    def address(self) -> int:
        """Where it begins: a multiple of 16."""


class Device(Protocol):
    """Where kernels run. Calls take effect in order."""

    def upload(self, array: NDArray[Any]) -> Memory:
        """A copy of a contiguous array."""

    def empty(self, size: int) -> Memory:
        """A buffer of `size` bytes."""

    def download(self, memory: Memory, out: NDArray[Any]) -> None:
        """Fill a contiguous array from the beginning of a buffer."""

    def launch(self, launch: Launch) -> None:
        """Start a kernel."""


class Kernels:
    """The functions of `rtseg.kernels.cpu` on `device`: the same names, arguments, results and errors.

    `by_pixel` labels with the kernel that fits any geometry, where the one that works by tiles is usual.
    """

    def __init__(self, device: Device, *, by_pixel: bool = False) -> None:
        self.device, self.by_pixel = device, by_pixel

    def preprocess(
        self, image: Bytes, spec: ModelSpec, fit: Fit, out: NDArray[Any] | None = None, *, antialias: bool = True
    ) -> NDArray[Any]:
        image = checks.check_image("preprocess", image)
        if image.shape[:2] != fit.frame:
            raise ConfigError(
                f"preprocess: image is {image.shape[0]}x{image.shape[1]}, but fit was made for {fit.frame}"
            )
        return self.preprocess_picture(image, "bgr8", spec, fit, out, antialias=antialias)

    def preprocess_picture(
        self,
        image: Bytes,
        pixels: PixelFormat,
        spec: ModelSpec,
        fit: Fit,
        out: NDArray[Any] | None = None,
        *,
        antialias: bool = True,
        chroma: Bytes | None = None,
        matrix: Matrix = "bt601",
        full_range: bool = False,
    ) -> NDArray[Any]:
        """`preprocess` of a frame in any pixel format: that of the BGR frame which `rtseg.kernels.pixels` makes of it.

        `image` is HxWx3 (bgr8, rgb8), HxWx4 (bgra8) or HxW (mono8, and the luma of nv12) uint8, `chroma` of nv12
        (H + 1) // 2 x (W + 1) // 2 x 2. Rows may lie further apart than they are long.
        """
        shape = (1, 3, *fit.network) if spec.layout == "NCHW" else (1, *fit.network, 3)
        out = checks.check_out("preprocess", "out", out, shape, np.dtype(spec.dtype))
        made = plans.preprocess_tables(fit, antialias)
        table, rows = self.device.upload(made.data), self.device.upload(_rows(image))
        below = None if chroma is None else self.device.upload(_rows(chroma))
        result = self.device.empty(out.nbytes)
        picture = Picture(
            pixels,
            Plane(rows.address, image.strides[0]),
            Plane(below.address, chroma.strides[0]) if below is not None and chroma is not None else None,
            matrix,
            full_range,
        )
        self.device.launch(plans.preprocess(spec, fit, picture, made, table.address, result.address))
        self.device.download(result, out)
        return out

    def labels(
        self,
        logits: NDArray[Any],
        size: tuple[int, int],
        *,
        fit: Fit | None = None,
        kind: Literal["logits", "probabilities"] = "logits",
        out: Bytes | None = None,
        confidence: Bytes | None = None,
        allowed: NDArray[np.bool_] | None = None,
        ignore_index: int = 255,
    ) -> Bytes:
        checks.check_logits("labels", logits)
        if kind not in cpu.KINDS:
            raise ConfigError(f"labels: kind is {kind!r}, expected one of {', '.join(cpu.KINDS)}")
        count, *grid = logits.shape
        fit = checks.check_frame("labels", size, fit, (grid[0], grid[1]))
        ignore_index = checks.check_id("labels", "ignore_index", ignore_index)
        classes = checks.check_allowed("labels", allowed, max(count, 2))
        out = checks.check_out("labels", "out", out, size, np.uint8)
        if confidence is not None:
            checks.check_out("labels", "confidence", confidence, size, np.uint8)
        self._label(logits, fit, classes, kind == "probabilities", out, confidence, None, ignore_index)
        return out

    def labels_and_overlay(
        self,
        logits: NDArray[Any],
        image: Bytes,
        *,
        fill: tuple[Bytes, Bytes] | None = None,
        line: tuple[Bytes, Bytes] | None = None,
        thickness: int = 2,
        fit: Fit | None = None,
        kind: Literal["logits", "probabilities"] = "logits",
        confidence: Bytes | None = None,
        allowed: NDArray[np.bool_] | None = None,
        ignore_index: int = 255,
    ) -> tuple[Bytes, Bytes]:
        """`labels` and, in the same launch, `blend` with the colours and opacities `fill` and `contours` with `line`.

        Returns labels and overlay; contours are at most `plans.FUSED_THICKNESS` pixels.
        """
        image = checks.check_image("labels", image)
        size = (image.shape[0], image.shape[1])
        checks.check_logits("labels", logits)
        fit = checks.check_frame("labels", size, fit, (logits.shape[1], logits.shape[2]))
        classes = checks.check_allowed("labels", allowed, max(logits.shape[0], 2))
        out, overlay = np.empty(size, np.uint8), np.empty_like(image)
        view = (image, overlay, fill, line, thickness)
        self._label(logits, fit, classes, kind == "probabilities", out, confidence, view, ignore_index)
        return out, overlay

    def _label(
        self,
        logits: NDArray[Any],
        fit: Fit,
        classes: NDArray[np.int32],
        shares: bool,
        out: Bytes,
        confidence: Bytes | None,
        view: tuple[Bytes, Bytes, Any, Any, int] | None,
        ignore_index: int,
    ) -> None:
        made = plans.label_tables(fit, (logits.shape[1], logits.shape[2]))
        table, scores = self.device.upload(made.data), self.device.upload(np.ascontiguousarray(logits))
        result, width = self.device.empty(out.nbytes), fit.frame[1]
        level = None if confidence is None else self.device.empty(out.nbytes)
        canvas = None if view is None else _Canvas(self.device, *view)
        launch = plans.labels(
            scores.address,
            (logits.shape[0], logits.shape[1], logits.shape[2]),
            logits.dtype,
            fit,
            made,
            table.address,
            classes=classes,
            shares=shares,
            labels=Plane(result.address, width),
            confidence=None if level is None else Plane(level.address, width),
            drawing=None if canvas is None else canvas.drawing,
            ignore_index=ignore_index,
            by_pixel=self.by_pixel,
        )
        self.device.launch(launch)
        self.device.download(result, out)
        if level is not None and confidence is not None:
            self.device.download(level, confidence)
        if canvas is not None:
            canvas.download()

    def upsample_labels(
        self,
        label_map: Bytes,
        size: tuple[int, int],
        *,
        fit: Fit | None = None,
        out: Bytes | None = None,
        ignore_index: int = 255,
    ) -> Bytes:
        label_map = checks.check_labels("upsample_labels", label_map)
        grid = (label_map.shape[0], label_map.shape[1])
        fit = checks.check_frame("upsample_labels", size, fit, grid)
        ignore_index = checks.check_id("upsample_labels", "ignore_index", ignore_index)
        out = checks.check_out("upsample_labels", "out", out, size, np.uint8)
        made = plans.nearest_tables(fit, grid)
        table, source = self.device.upload(made.data), self.device.upload(label_map)
        result = self.device.empty(out.nbytes)
        self.device.launch(
            plans.nearest(
                Plane(source.address, grid[1]),
                fit,
                made,
                table.address,
                labels=Plane(result.address, size[1]),
                ignore_index=ignore_index,
            )
        )
        self.device.download(result, out)
        return out

    def blend(self, image: Bytes, labels: Bytes, colors: Bytes, alpha: Bytes, out: Bytes | None = None) -> Bytes:
        image = checks.check_image("blend", image)
        labels = checks.check_labels("blend", labels, image.shape[:2])
        checks.check_colors("blend", colors, alpha)
        out = checks.check_out("blend", "out", out, image.shape, np.uint8)
        return self._paint(labels, (image, out, (colors, alpha), None, 0))

    def contours(
        self,
        image: Bytes,
        labels: Bytes,
        colors: Bytes,
        alpha: Bytes,
        out: Bytes | None = None,
        *,
        thickness: int = 2,
    ) -> Bytes:
        image = checks.check_image("contours", image)
        labels = checks.check_labels("contours", labels, image.shape[:2])
        checks.check_colors("contours", colors, alpha)
        out = checks.check_out("contours", "out", out, image.shape, np.uint8)
        if not isinstance(thickness, int) or not 1 <= thickness <= cpu.WIDEST_LINE:
            raise ConfigError(f"contours: thickness is {thickness!r}, expected 1 to {cpu.WIDEST_LINE} pixels")
        return self._paint(labels, (image, out, None, (colors, alpha), thickness))

    def _paint(self, labels: Bytes, view: tuple[Bytes, Bytes, Any, Any, int]) -> Bytes:
        source, canvas = self.device.upload(labels), _Canvas(self.device, *view)
        height, width = labels.shape
        self.device.launch(plans.paint(Plane(source.address, width), (height, width), canvas.drawing))
        return canvas.download()

    def areas(self, labels: Bytes, classes: int, ignore_index: int = 255) -> NDArray[np.float64]:
        labels = checks.check_labels("areas", labels)
        if not isinstance(classes, int) or not 1 <= classes <= checks.MOST_CLASSES:
            raise ConfigError(f"areas: classes is {classes!r}, expected 1 to {checks.MOST_CLASSES}")
        ignore_index = checks.check_id("areas", "ignore_index", ignore_index)
        source, counter = self.device.upload(labels), self.device.empty(4 * 256)
        height, width = labels.shape
        for launch in plans.areas(Plane(source.address, width), (height, width), counter.address):
            self.device.launch(launch)
        counts = np.empty(256, np.uint32)
        self.device.download(counter, counts)
        fractions: NDArray[np.float64] = counts[:classes] / labels.size
        fractions[ignore_index:][:1] = 0.0
        return fractions


for _name in ("preprocess", "labels", "upsample_labels", "blend", "contours", "areas"):
    getattr(Kernels, _name).__doc__ = getattr(cpu, _name).__doc__


class _Canvas:
    """An image, its overlay and their colours on the device."""

    def __init__(self, device: Device, image: Bytes, out: Bytes, fill: Any, line: Any, thickness: int) -> None:
        self._device, self._out = device, out
        self._image, self._overlay = device.upload(image), device.empty(image.nbytes)
        self._colors = [None if pair is None else device.upload(plans.pigments(*pair)) for pair in (fill, line)]
        areas, lines = (0 if memory is None else memory.address for memory in self._colors)
        pitch = image.strides[0]
        self.drawing = Drawing(
            Plane(self._image.address, pitch), Plane(self._overlay.address, pitch), areas, lines, thickness
        )

    def download(self) -> Bytes:
        self._device.download(self._overlay, self._out)
        return self._out


def _rows(image: Bytes) -> Bytes:
    """The bytes of an image from its first to the end of its last row's pitch, one row of the result per row."""
    height, pitch = image.shape[0], image.strides[0]
    length = int(np.prod(image.shape[1:]))
    rows = np.zeros((height, pitch), np.uint8)
    rows[:, :length] = np.ascontiguousarray(image).reshape(height, length)
    return rows
