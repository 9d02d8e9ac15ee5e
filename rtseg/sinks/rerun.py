"""Results in Rerun: a window, a page for browsers, or a recording."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from rtseg.drawing.colormap import ColorMaps
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.view import View
from rtseg.frame import UNLABELLED, Frame, Image, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks._encoding import check_quality
from rtseg.sinks._rerun_places import Place, place_of
from rtseg.sinks._viewers import jpeg, name_of, time_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RerunSink"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Rerun's own log, which it sets up when it is loaded, off standard error: what matters is raised as an error.

    A RUST_LOG that the user has set is left as it is.
    """
    if "RUST_LOG" in os.environ:
        yield
        return
    os.environ["RUST_LOG"] = "off"
    try:
        yield
    finally:
        del os.environ["RUST_LOG"]


with _quiet():
    import rerun as rr
    import rerun.blueprint as rrb


class RerunSink:
    """Logs results to Rerun.

    `target` is empty for the viewer's window on this machine (the one that is open, else a new one, which stays open
    after the run), HOST:PORT of a viewer that is open elsewhere, `web` or `web:HOST:PORT` for a page for browsers
    (127.0.0.1:9090 without; the data are on the next port) that lives as long as the run, or FILE.rrd for a recording.
    The entities of a camera, which is called as the topic that brought the frames, else `/camera`: its own name has the
    picture (JPEG of `quality` 1 to 100), and below it are `mask` (the class ids, drawn over the picture with the
    view's opacity), `overlay` (as rtseg draws it), `areas` (fraction of the pixels by class), `timing` (milliseconds)
    and `drops`. The classes' names and colours are those of the root; hidden and unlabelled ones are transparent.
    The timelines are `frame`, `time`, and `pts` where the source has it.
    Errors: ConfigError for a target or option, SinkError where viewer or disk refuse.
    """

    needs = frozenset({"overlay", "labels", "areas"})
    threaded = True

    def __init__(self, target: str, info: StreamInfo, spec: ModelSpec, view: View, *, quality: int = 80) -> None:
        self._open = place_of(target)
        self._quality = check_quality(quality)
        self._info, self._spec, self._view = info, spec, view
        self._place: Place | None = None
        self._cameras: dict[str, tuple[str, ...]] = {}
        self._version = -1

    def __enter__(self) -> Self:
        self._colormaps = ColorMaps(resolve_palette(self._view.palette, self._spec), self._view)
        self._stream = rr.RecordingStream("rtseg", recording_id=uuid.uuid4())
        self._place = self._open(self._stream)
        self._stream.send_recording_name(f"{self._info.source}: {self._spec.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place is not None:
            place, self._place = self._place, None
            place.close()

    def write(self, result: Result) -> None:
        """Log a frame. Errors: SinkError."""
        assert self._place is not None
        assert result.labels is not None
        assert result.overlay is not None
        assert result.areas is not None
        self._place.check()
        self._log_classes()
        self._set_time(result.frame)
        name = rr.new_entity_path(name_of(result.frame)[1:].split("/"))
        stages = ("latency", *result.stages)
        if self._cameras.get(name) != stages:
            self._introduce(name, stages)
        log = self._stream.log
        log(name, self._picture(result.frame.image))
        log(f"{name}/mask", rr.SegmentationImage(result.labels, opacity=self._view.alpha))
        log(f"{name}/overlay", self._picture(result.overlay))
        log(f"{name}/areas", rr.Scalars(result.areas[: len(self._spec.classes)]))
        log(f"{name}/timing", rr.Scalars([took / 1e6 for took in (result.latency_ns, *result.stages.values())]))
        log(f"{name}/drops", rr.Scalars(result.drops))

    def _picture(self, image: Image) -> rr.EncodedImage:
        return rr.EncodedImage(contents=jpeg(image, self._quality), media_type="image/jpeg")

    def _set_time(self, frame: Frame) -> None:
        self._stream.set_time("frame", sequence=frame.index)
        self._stream.set_time("time", timestamp=np.datetime64(time_of(frame), "ns"))
        if frame.pts is not None:
            self._stream.set_time("pts", duration=frame.pts)

    def _log_classes(self) -> None:
        """Names and colours of the classes, again when the view hides others."""
        self._colormaps.refresh()
        if self._colormaps.version == self._version:
            return
        self._version = self._colormaps.version
        colors = self._colormaps.overlay.colors
        lines = (
            self._colormaps.lines
        )  # opaque unless a class is not drawn at all: the mask's opacity is a setting of its own
        names = dict(enumerate(self._spec.classes)) | {UNLABELLED: "unlabelled"}
        infos = [
            rr.AnnotationInfo(index, label, (*colors[index, ::-1].tolist(), int(lines.alpha[index])))
            for index, label in names.items()
        ]
        self._stream.log("/", rr.AnnotationContext(infos), static=True)

    def _introduce(self, name: str, stages: tuple[str, ...]) -> None:
        """Name a camera's curves and, for a new camera, arrange the views."""
        colors = self._colormaps.overlay.colors[: len(self._spec.classes), ::-1]
        self._stream.log(f"{name}/areas", rr.SeriesLines(names=self._spec.classes, colors=colors), static=True)
        self._stream.log(f"{name}/timing", rr.SeriesLines(names=stages), static=True)
        new = name not in self._cameras
        self._cameras[name] = stages
        if new:
            cameras = [_views(camera, alone=len(self._cameras) == 1) for camera in self._cameras]
            self._stream.send_blueprint(rrb.Blueprint(rrb.Vertical(*cameras), collapse_panels=True))


def _views(name: str, alone: bool) -> rrb.Horizontal:
    """A camera's views: labels on the picture, the overlay, and curves; those of a camera alone are stacked."""
    title = name[1:]
    pictures = (
        rrb.Spatial2DView(origin=name, contents=[name, f"{name}/mask"], name=title),
        rrb.Spatial2DView(origin=f"{name}/overlay", name=f"{title}: overlay"),
    )
    curves = rrb.Vertical(
        rrb.TimeSeriesView(origin=f"{name}/areas", name=f"{title}: areas"),
        rrb.TimeSeriesView(origin=f"{name}/timing", name="milliseconds"),
        rrb.TimeSeriesView(origin=f"{name}/drops", name="drops"),
        row_shares=[2, 2, 1],
    )
    together = rrb.Vertical(*pictures) if alone else rrb.Horizontal(*pictures)
    return rrb.Horizontal(together, curves, column_shares=[2, 1])
