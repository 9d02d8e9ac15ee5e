"""A frame geometry on the GPU: its buffers, its launches, and the whole frame recorded as one CUDA graph per slot."""

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
from rtseg.gpu.network import Lane, Lanes, Recorded
from rtseg.kernels import launch as plans
from rtseg.kernels.launch import FUSED_THICKNESS, Drawing, Launch, Picture, Plane
from rtseg.kernels.typing import I32s

__all__ = ["GPU_STAGES", "Panel", "Slot", "Track", "Wanted", "parts"]

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
class Slot:
    """One recorded frame: a lane's buffers, and pinned arrays of its own for what comes down.

    The arrays belong to the frame's result until nobody holds them. Of a `shared` slot they are copied, so that it is
    always free.
    """

    work: Work
    outputs: dict[str, NDArray[Any]]
    shared: bool
    graph: Recorded | None = None


@dataclass(slots=True, eq=False)
class Work:
    """What one frame in flight needs to itself: a stream, the network, device buffers and a pinned frame."""

    stream: Stream
    lane: Lane
    arena: Arena
    frame: NDArray[np.uint8]
    colormaps: NDArray[np.uint8]
    done: Event
    marks: tuple[Event, ...]
    slots: list[Slot] = field(default_factory=list)
    inked: int = 0


class Track:
    """Frames of one size, one network size and one set of results, `depth` of them in flight at once.

    `spare` is for how many results at least may be held by sinks before pinned memory has to be copied for them. All
    memory is allocated and every graph recorded here, none later.
    """

    def __init__(
        self,
        lanes: Lanes,
        place: Fit,
        want: Wanted,
        *,
        classes: I32s,
        depth: int,
        spare: int,
        antialias: bool,
    ) -> None:
        self.place, self.wanted = place, want
        self._gpu: Device = lanes.gpu
        self._classes, self._antialias = classes, antialias
        self._turn = 0
        self._tables: dict[str, tuple[plans.Tables, Memory]] = {}
        self._works: list[Work] = []
        try:
            for _ in range(depth):
                work = self._make(lanes, 1 + -(-spare // depth))
                self._works.append(work)
                self._queue(work.slots[0], lambda: None)  # loads kernels and tables, which a capture must not
                work.stream.synchronize()
                for slot in work.slots:
                    slot.graph = self._record(slot)
                    slot.graph.launch(work.stream.handle)  # the first launch moves the graph to the GPU
                work.stream.synchronize()
        except BaseException:
            self.close()
            raise

    def take(self) -> Slot:
        """The slot for the next frame, whose pinned `work.frame` may be written now."""
        work = self._works[self._turn]
        self._turn = (self._turn + 1) % len(self._works)
        for slot in work.slots:
            if slot.shared or unheld(slot.outputs):
                return slot
        raise AssertionError("the last slot of a lane is shared")

    def start(self, slot: Slot, colormaps: ColorMaps | None) -> None:
        """Queue the slot's whole frame; the newest colours go up first where they have changed."""
        work = slot.work
        if colormaps is not None and work.inked != colormaps.version:
            work.colormaps[:] = pigments(colormaps)
            self._gpu.copy_in(work.arena.address["colormaps"], work.colormaps, work.stream)
            work.inked = colormaps.version
        assert slot.graph is not None
        slot.graph.launch(work.stream.handle)
        work.done.record(work.stream.handle)

    def finish(self, slot: Slot) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
        """Wait for a slot's frame: its results by name, and nanoseconds on the GPU by GPU_STAGES."""
        work = slot.work
        work.done.wait()
        outputs = {name: array.copy() for name, array in slot.outputs.items()} if slot.shared else slot.outputs
        spans = zip(GPU_STAGES, work.marks[:-1], work.marks[1:], strict=True)
        return outputs, {name: end.since(begin) for name, begin, end in spans}

    def close(self) -> None:
        """Wait for what runs and give everything back; results that are held stay as they are."""
        for work in self._works:
            work.stream.synchronize()
            for slot in work.slots:
                if slot.graph is not None:
                    slot.graph.close()
            for event in (work.done, *work.marks):
                event.close()
            work.lane.close()
            self._gpu.release(work.arena)
            work.slots.clear()  # they refer to the work, whose stream would wait for the garbage collector
        self._works.clear()
        for _, memory in self._tables.values():
            memory.free()
        self._tables.clear()

    def _make(self, lanes: Lanes, count: int) -> Work:
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
        lane = lanes.lane(self.place.network, stream)
        try:
            arena = self._gpu.arena(up | sizes, up | pinned)
        except BaseException:
            lane.close()
            raise
        frame, colormaps = arena.host("frame", (height, width, 3)), arena.host("colormaps", (INK * len(COLORMAPS),))
        marks = tuple(self._gpu.event(timed=True) for _ in range(len(GPU_STAGES) + 1))
        work = Work(stream, lane, arena, frame, colormaps, self._gpu.event(), marks)
        for index in range(count):
            outputs = {name: arena.host(f"{name}{index}", *shapes[name]) for name in down}
            work.slots.append(Slot(work, outputs, shared=index == count - 1))
        return work

    def _record(self, slot: Slot) -> Recorded:
        """The graph of a frame; its events are recorded by each launch."""
        marks = iter(slot.work.marks)
        with slot.work.lane.capture() as graph:
            self._queue(slot, lambda: next(marks).record(slot.work.stream.handle, external=True))
        return graph

    def _queue(self, slot: Slot, mark: Callable[[], object]) -> None:
        """Upload, preprocess, network, labels and drawing, download, with a mark around each."""
        work, gpu = slot.work, self._gpu
        stream, address = work.stream, work.arena.address
        mark()
        gpu.copy_in(address["frame"], work.frame, stream)
        mark()
        gpu.launch(self._preprocess(work), stream)
        mark()
        output = work.lane.enqueue()
        mark()
        for launch in self._after(work, output):
            gpu.launch(launch, stream)
        mark()
        for name, array in slot.outputs.items():
            gpu.copy_out(array, address[name], stream)
        mark()

    def _table(self, name: str, make: Callable[[], plans.Tables]) -> tuple[plans.Tables, int]:
        """A geometry's tables and where they are on the device; made once for all lanes."""
        if name not in self._tables:
            made = make()
            self._tables[name] = made, self._gpu.upload(made.data)
        kept, memory = self._tables[name]
        return kept, memory.address

    def _preprocess(self, work: Work) -> Launch:
        made, table = self._table("preprocess", lambda: plans.preprocess_tables(self.place, self._antialias))
        picture = Picture("bgr8", Plane(work.arena.address["frame"], 3 * self.place.frame[1]))
        return plans.preprocess(work.lane.takes, self.place, picture, made, table, work.lane.input)

    def _after(self, work: Work, output: int) -> list[Launch]:
        """The launches behind the network: labels with the first drawing, then what else is wanted."""
        want, size, address = self.wanted, self.place.frame, work.arena.address
        labels = Plane(address["labels"], size[1])
        drawings = [each for index, panel in enumerate(want.panels) for each in self._drawings(address, index, panel)]
        fused = drawings[0] if drawings and drawings[0].thickness <= FUSED_THICKNESS else None
        others = [each for each in drawings if each is not fused]
        keep = labels if want.labels or want.areas or others else None
        if keep is None and fused is None and not want.confidence:
            return []
        launches = [self._labels(work, output, keep, fused)]
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

    def _labels(self, work: Work, output: int, labels: Plane | None, drawing: Drawing | None) -> Launch:
        lane, spec = work.lane, work.lane.takes
        if spec.output_kind == "labels":
            grid = (lane.shape[0], lane.shape[1])
            made, table = self._table("nearest", lambda: plans.nearest_tables(self.place, grid))
            source = Plane(output, grid[1] * lane.dtype.itemsize)
            return plans.nearest(source, self.place, made, table, dtype=lane.dtype, labels=labels, drawing=drawing)
        shape = (lane.shape[0], lane.shape[1], lane.shape[2])
        made, table = self._table("labels", lambda: plans.label_tables(self.place, shape[1:]))
        confidence = Plane(work.arena.address["confidence"], self.place.frame[1]) if self.wanted.confidence else None
        return plans.labels(
            output,
            shape,
            lane.dtype,
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
