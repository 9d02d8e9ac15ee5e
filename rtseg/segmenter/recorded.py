"""A frame geometry on the GPU: its buffers, its launches, and the whole frame recorded as one CUDA graph per result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.buffers import unheld
from rtseg.drawing.colormap import ColorMap, ColorMaps, line_thickness
from rtseg.drawing.view import View
from rtseg.geometry import Fit
from rtseg.gpu.cuda import Arena, Device, Event, Memory, Stream
from rtseg.gpu.network import DeviceNetwork, ExecutionContext, Recorded
from rtseg.kernels import launch as plans
from rtseg.kernels.launch import FUSED_THICKNESS, Drawing, Launch, Picture, Plane
from rtseg.kernels.typing import I32s

__all__ = ["GPU_STAGES", "Panel", "RecordedFrame", "ResultBuffers", "Wanted", "parts"]

GPU_STAGES = ("gpu-upload", "gpu-preprocess", "gpu-infer", "gpu-labels", "gpu-download")
"""What the events in a frame's graph separate; together they are the time from its first byte up to its last down."""
INK = 1024
"""Bytes of one colour map: 256 BGR colours with opacity."""
COLORMAPS = ("overlay", "mask", "lines", "core", "clear")


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of an overlay: filled with a colour map of COLORMAPS or not, with contours or not."""

    fill: str | None
    contours: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What comes down of a frame; `panels` stand side by side and are none where no overlay is wanted."""

    labels: bool = False
    confidence: bool = False
    areas: bool = False
    panels: tuple[Panel, ...] = ()


def parts(needs: frozenset[str], view: View | None) -> Wanted:
    """What is made for sinks that need `needs`, drawn as `view` says; a legend needs the labels."""
    panels: tuple[Panel, ...] = ()
    if "overlay" in needs and view is not None:
        outlined = "contour" in view.visualize
        known = {
            "original": Panel("clear", False),
            "overlay": Panel("overlay", outlined),
            "mask": Panel("mask", outlined),
            "contour": Panel(None, True),
        }
        panels = tuple(known[name] for name in view.panels())
    legend = bool(panels) and view is not None and view.legend
    return Wanted("labels" in needs or legend, "confidence" in needs, "areas" in needs, panels)


@dataclass(slots=True, eq=False)
class ResultBuffers:
    """One recorded frame: an execution context's buffers, and pinned arrays of its own for what comes down.

    The arrays belong to the frame's result until nobody holds them. Of `shared` ones they are copied, so that those are
    always free.
    """

    buffers: FrameBuffers
    outputs: dict[str, NDArray[Any]]
    shared: bool
    graph: Recorded | None = None


@dataclass(slots=True, eq=False)
class FrameBuffers:
    """What one frame in flight needs to itself: a stream, the network, device buffers and a pinned frame."""

    stream: Stream
    execution_context: ExecutionContext
    arena: Arena
    frame: NDArray[np.uint8]
    colormaps: NDArray[np.uint8]
    done: Event
    marks: tuple[Event, ...]
    results: list[ResultBuffers] = field(default_factory=list)
    inked: int = 0


class RecordedFrame:
    """Frames of one size, one network size and one set of results, `depth` of them in flight at once.

    `spare` is for how many results at least may be held by sinks before pinned memory has to be copied for them. All
    memory is allocated and every graph recorded here, none later.
    """

    def __init__(
        self,
        device_network: DeviceNetwork,
        place: Fit,
        want: Wanted,
        *,
        classes: I32s,
        depth: int,
        spare: int,
        antialias: bool,
    ) -> None:
        self.place, self.wanted = place, want
        self._gpu: Device = device_network.gpu
        self._classes, self._antialias = classes, antialias
        self._turn = 0
        self._tables: dict[str, tuple[plans.Tables, Memory]] = {}
        self._buffers: list[FrameBuffers] = []
        try:
            for _ in range(depth):
                buffers = self._make(device_network, 1 + -(-spare // depth))
                self._buffers.append(buffers)
                self._queue(buffers.results[0], lambda: None)  # loads kernels and tables, which a capture must not
                buffers.stream.synchronize()
                for results in buffers.results:
                    results.graph = self._record(results)
                    results.graph.launch(buffers.stream.handle)  # the first launch moves the graph to the GPU
                buffers.stream.synchronize()
        except BaseException:
            self.close()
            raise

    def take(self) -> ResultBuffers:
        """The result buffers for the next frame, whose pinned `buffers.frame` may be written now."""
        buffers = self._buffers[self._turn]
        self._turn = (self._turn + 1) % len(self._buffers)
        for results in buffers.results:
            if results.shared or unheld(results.outputs):
                return results
        raise AssertionError("the last result buffers are shared")

    def start(self, results: ResultBuffers, colormaps: ColorMaps | None) -> None:
        """Queue the whole frame; the newest colours go up first where they have changed."""
        buffers = results.buffers
        if colormaps is not None and buffers.inked != colormaps.version:
            buffers.colormaps[:] = pigments(colormaps)
            self._gpu.copy_in(buffers.arena.address["colormaps"], buffers.colormaps, buffers.stream)
            buffers.inked = colormaps.version
        assert results.graph is not None
        results.graph.launch(buffers.stream.handle)
        buffers.done.record(buffers.stream.handle)

    def finish(self, results: ResultBuffers) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
        """Wait for a frame: its results by name, and nanoseconds on the GPU by GPU_STAGES."""
        buffers = results.buffers
        buffers.done.wait()
        outputs = {name: array.copy() for name, array in results.outputs.items()} if results.shared else results.outputs
        spans = zip(GPU_STAGES, buffers.marks[:-1], buffers.marks[1:], strict=True)
        return outputs, {name: end.since(begin) for name, begin, end in spans}

    def close(self) -> None:
        """Wait for what runs and give everything back; results that are held stay as they are."""
        for buffers in self._buffers:
            buffers.stream.synchronize()
            for results in buffers.results:
                if results.graph is not None:
                    results.graph.close()
            for event in (buffers.done, *buffers.marks):
                event.close()
            buffers.execution_context.close()
            self._gpu.release(buffers.arena)
            buffers.results.clear()  # they refer to the buffers, whose stream would wait for the garbage collector
        self._buffers.clear()
        for _, memory in self._tables.values():
            memory.free()
        self._tables.clear()

    def _make(self, device_network: DeviceNetwork, count: int) -> FrameBuffers:
        (height, width), want = self.place.frame, self.wanted
        pixels, stream = height * width, self._gpu.stream()
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "labels": ((height, width), np.uint8),
            "confidence": ((height, width), np.uint8),
            "areas": ((256,), np.uint32),
            "overlay": ((height, width * len(want.panels), 3), np.uint8),
        }
        sizes = {name: int(np.prod(shape)) * np.dtype(dtype).itemsize for name, (shape, dtype) in shapes.items()}
        asked = {
            "labels": want.labels,
            "confidence": want.confidence,
            "areas": want.areas,
            "overlay": bool(want.panels),
        }
        down = [name for name, is_asked in asked.items() if is_asked]
        pinned = {f"{name}{index}": sizes[name] for index in range(count) for name in down}
        up = {"frame": 3 * pixels, "colormaps": INK * len(COLORMAPS)}
        execution_context = device_network.execution_context(self.place.network, stream)
        try:
            arena = self._gpu.arena(up | sizes, up | pinned)
        except BaseException:
            execution_context.close()
            raise
        frame, colormaps = arena.host("frame", (height, width, 3)), arena.host("colormaps", (INK * len(COLORMAPS),))
        marks = tuple(self._gpu.event(timed=True) for _ in range(len(GPU_STAGES) + 1))
        buffers = FrameBuffers(stream, execution_context, arena, frame, colormaps, self._gpu.event(), marks)
        for index in range(count):
            outputs = {name: arena.host(f"{name}{index}", *shapes[name]) for name in down}
            buffers.results.append(ResultBuffers(buffers, outputs, shared=index == count - 1))
        return buffers

    def _record(self, results: ResultBuffers) -> Recorded:
        """The graph of a frame; its events are recorded by each launch."""
        marks = iter(results.buffers.marks)
        with results.buffers.execution_context.capture() as graph:
            self._queue(results, lambda: next(marks).record(results.buffers.stream.handle, external=True))
        return graph

    def _queue(self, results: ResultBuffers, mark: Callable[[], object]) -> None:
        """Upload, preprocess, network, labels and drawing, download, with a mark around each."""
        buffers, gpu = results.buffers, self._gpu
        stream, address = buffers.stream, buffers.arena.address
        mark()
        gpu.copy_in(address["frame"], buffers.frame, stream)
        mark()
        gpu.launch(self._preprocess(buffers), stream)
        mark()
        output = buffers.execution_context.enqueue()
        mark()
        for launch in self._after(buffers, output):
            gpu.launch(launch, stream)
        mark()
        for name, array in results.outputs.items():
            gpu.copy_out(array, address[name], stream)
        mark()

    def _table(self, name: str, make: Callable[[], plans.Tables]) -> tuple[plans.Tables, int]:
        """A geometry's tables and where they are on the device; made once for all frames in flight."""
        if name not in self._tables:
            made = make()
            self._tables[name] = made, self._gpu.upload(made.data)
        kept, memory = self._tables[name]
        return kept, memory.address

    def _preprocess(self, buffers: FrameBuffers) -> Launch:
        made, table = self._table("preprocess", lambda: plans.preprocess_tables(self.place, self._antialias))
        picture = Picture("bgr8", Plane(buffers.arena.address["frame"], 3 * self.place.frame[1]))
        return plans.preprocess(
            buffers.execution_context.takes, self.place, picture, made, table, buffers.execution_context.input
        )

    def _after(self, buffers: FrameBuffers, output: int) -> list[Launch]:
        """The launches behind the network: labels with the first drawing, then what else is wanted."""
        want, size, address = self.wanted, self.place.frame, buffers.arena.address
        labels = Plane(address["labels"], size[1])
        drawings = [each for index, panel in enumerate(want.panels) for each in self._drawings(address, index, panel)]
        fused = drawings[0] if drawings and drawings[0].thickness <= FUSED_THICKNESS else None
        others = [each for each in drawings if each is not fused]
        keep = labels if want.labels or want.areas or others else None
        if keep is None and fused is None and not want.confidence:
            return []
        launches = [self._labels(buffers, output, keep, fused)]
        launches += [plans.paint(labels, size, each) for each in others]
        if want.areas:
            launches += plans.areas(labels, size, address["areas"])
        return launches

    def _drawings(self, address: Mapping[str, int], index: int, panel: Panel) -> list[Drawing]:
        """A panel's classes with the light part of its outlines, then their dark core over it."""
        width, panels = self.place.frame[1], len(self.wanted.panels)
        colormaps = {name: address["colormaps"] + INK * place for place, name in enumerate(COLORMAPS)}
        whole, core = line_thickness(self.place.frame)
        frame = Plane(address["frame"], 3 * width)
        target = Plane(address["overlay"] + 3 * width * index, 3 * width * panels)
        lines = colormaps["lines"] if panel.contours else 0
        drawn = [Drawing(frame, target, colormaps[panel.fill] if panel.fill else 0, lines, whole)]
        # Each pixel is read and written by the same thread, so that a picture may be drawn over in its place.
        return [*drawn, Drawing(target, target, 0, colormaps["core"], core)] if panel.contours else drawn

    def _labels(self, buffers: FrameBuffers, output: int, labels: Plane | None, drawing: Drawing | None) -> Launch:
        execution_context, spec = buffers.execution_context, buffers.execution_context.takes
        if spec.output_kind == "labels":
            grid = (execution_context.shape[0], execution_context.shape[1])
            made, table = self._table("nearest", lambda: plans.nearest_tables(self.place, grid))
            source = Plane(output, grid[1] * execution_context.dtype.itemsize)
            return plans.nearest(
                source, self.place, made, table, dtype=execution_context.dtype, labels=labels, drawing=drawing
            )
        shape = (execution_context.shape[0], execution_context.shape[1], execution_context.shape[2])
        made, table = self._table("labels", lambda: plans.label_tables(self.place, shape[1:]))
        confidence = Plane(buffers.arena.address["confidence"], self.place.frame[1]) if self.wanted.confidence else None
        return plans.labels(
            output,
            shape,
            execution_context.dtype,
            self.place,
            made,
            table,
            classes=self._classes,
            shares=spec.output_kind == "probabilities",
            labels=labels,
            confidence=confidence,
            drawing=drawing,
        )


def pigments(colormaps: ColorMaps) -> NDArray[np.uint8]:
    """COLORMAPS one behind the other as the kernels read them, flat."""
    clear = ColorMap(colormaps.overlay.colors, np.zeros(256, np.uint8))
    drawn = {
        "overlay": colormaps.overlay,
        "mask": colormaps.mask,
        "lines": colormaps.lines,
        "core": colormaps.core,
        "clear": clear,
    }
    return np.concatenate([plans.pigments(drawn[name].colors, drawn[name].alpha).reshape(-1) for name in COLORMAPS])
