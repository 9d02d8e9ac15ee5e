"""Images in, labels and results out, without a stream: `rtseg.Segmenter`, and a pool of them for servers."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends import open_backend
from rtseg.backends.contract import Backend
from rtseg.drawing.draw import painter_of
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View, checked_alpha, checked_views
from rtseg.errors import BackendError, ConfigError
from rtseg.frame import Frame, Image, Labels, Result, checked_image, checked_needs
from rtseg.geometry import Fit, FitMode, checked_mode, checked_size
from rtseg.kernels.crf_settings import Crf
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.contract import FrameQueue, Stages
from rtseg.segmenter.opening import open_segmenter

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Segmenter", "SegmenterPool"]

LABELS = frozenset({"labels"})


class Segmenter:
    """A model ready for images: `segment(image)` gives labels, `segment.result(image, needs=…)` more.

    Used by one thread at a time; a server takes a `SegmenterPool`. It holds the model until `close`, or until the end
    of a `with` block. The first image of a size compiles the network for it.

    Args:
        model: a package's name (`rtseg models` lists them), its folder, an ONNX file, or a backend of `open_backend`.
        backend: `auto` takes the first that works of TensorRT, torch on CUDA, OpenVINO and ONNX Runtime.
        device: what the backend runs on (`cpu`, `GPU`, `cuda:1`); not with `auto`.
        precision: `fp32`, `bf16`, `fp16` or `int8`, as far as the backend has it; its own default without.
        threads: CPU threads of the network.
        depth: images in flight; more than 1 is of use to a pipeline only.
        spec: a spec file for an ONNX file that carries none.
        size: the network's input as (height, width) or "HxW"; without, the image's shape at `short_side` or the spec's
            own.
        mode: `letterbox`, `stretch` or `crop`: how the image comes into an input of another shape.
        ignore: classes that may not win.
        antialias: whether shrinking averages, as in training.
        refine: `none`, or `crf` with its settings, `crf:radius=3,iterations=2`.
        palette: colours of overlays, a name or a colors file; the model's own without.

    Raises:
        ModelError: the file or its spec does not fit, or the network cannot take the size.
        BackendError: the backend cannot run here.
        MissingExtra: a package that the backend needs is not installed.
        ConfigError: a name or setting that does not exist.
    """

    def __init__(
        self,
        model: str | Path | Backend = "unet-fast0-camvid",
        *,
        backend: str = "auto",
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        depth: int = 1,
        spec: str | Path | None = None,
        size: tuple[int, int] | str | None = None,
        short_side: int | None = None,
        mode: FitMode = "letterbox",
        ignore: str | Iterable[str] = (),
        antialias: bool = True,
        refine: str | Crf = "none",
        palette: str | None = None,
    ) -> None:
        size = None if size is None else checked_size(size)
        mode, ignore = checked_mode(mode), (ignore,) if isinstance(ignore, str) else tuple(ignore)
        self._lock = threading.Lock()
        self._palette = palette
        self._drawn: tuple[Any, Any] = (None, None)  # the settings of the last overlay, and its painter
        self._made: tuple[frozenset[str], View | None] = (LABELS, None)
        self._index = 0
        with ExitStack() as stack:
            if isinstance(model, (str, Path)):
                opened = open_backend(
                    backend,
                    str(model),
                    device=device,
                    precision=precision,
                    threads=threads,
                    depth=depth,
                    spec_file=None if spec is None else str(spec),
                )
            else:
                opened = model
            stack.enter_context(opened)
            self._stages: Stages = open_segmenter(
                opened,
                size=size,
                short_side=short_side,
                mode=mode,
                ignore=ignore,
                antialias=antialias,
                refine=refine,
            )
            stack.enter_context(self._stages)
            self._stack = stack.pop_all()

    @property
    def spec(self) -> ModelSpec:
        """What the model expects and returns: class names, palette, normalisation, sizes."""
        return self._stages.spec

    @property
    def backend(self) -> FrameQueue:
        """What runs the network: its `name`, `device`, `precision` and `depth`."""
        return self._stages.backend

    def __call__(self, image: Image) -> Labels:
        """The labels of one HWC uint8 BGR image: HW uint8 class ids at the image's size, 255 where there is none.

        Raises:
            ConfigError: what was given is no such image.
            BackendError: another thread uses this segmenter, or it is closed.
        """
        result = self.result(image).labels
        assert result is not None
        return result

    def result(
        self,
        image: Image,
        needs: Iterable[str] = LABELS,
        *,
        alpha: float = 0.5,
        visualize: str | Iterable[str] = ("overlay",),
        legend: bool = False,
    ) -> Result:
        """What `needs` asks for of one HWC uint8 BGR image: `labels`, `confidence`, `overlay`, `areas`.

        Args:
            image: HWC uint8 BGR.
            needs: names of what is made; the other fields of the result are None.
            alpha: opacity of the classes' colours in the overlay, 0 to 1.
            visualize: the views of the overlay: `overlay`, `mask`, `split`, `contour`, one or several.
            legend: whether the overlay names the classes in sight.

        Raises:
            ConfigError: what was given is no such image, or a need or view that does not exist.
            BackendError: another thread uses this segmenter, or it is closed.
        """
        wanted = checked_needs(needs)
        image = checked_image(image)
        views, alpha = checked_views(visualize), checked_alpha(alpha)
        with self._alone():
            frame = Frame(self._index, time.monotonic_ns(), None, None, image)
            stages = self._stages
            painter = self._painter(alpha, views, legend) if "overlay" in wanted else None
            if stages.on_gpu:
                self._produce(wanted, painter)
            tensor, place = stages.preprocess(image, wanted)
            stages.backend.submit(tensor)
            scores = stages.refine(stages.backend.collect(), tensor, place)
            labels, confidence = stages.labels(scores, place, confidence="confidence" in wanted)
            areas = stages.areas(labels, scores) if "areas" in wanted else None
            overlay = None if painter is None else painter.picture(image, labels, scores, None)
            self._index += 1
        made = labels if "labels" in wanted else None
        return Result(frame, made, confidence, overlay, areas, {}, time.monotonic_ns(), 0, self.spec.classes)

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Compile the network and run everything once for images of (height, width), so that the first is not slow."""
        with self._alone():
            self._stages.warm_up(frame_size)

    def place(self, frame_size: tuple[int, int]) -> Fit:
        """Where an image of (height, width) lies in the network's input."""
        return self._stages.place(frame_size)

    def fit(self, frame_size: tuple[int, int]) -> Fit:
        """The old name of `place`, for one release."""
        warnings.warn("Segmenter.fit is called place now", DeprecationWarning, stacklevel=2)
        return self.place(frame_size)

    def preprocess(self, image: Image) -> tuple[Any, Fit]:
        """The network's input for an HWC uint8 BGR image, as its backend takes it, and where the image lies in it."""
        return self._stages.preprocess(checked_image(image))

    def refine(self, scores: Any, tensor: Any, place: Fit) -> Any:
        """The network's output after the configured refinement; as it is where there is none."""
        return self._stages.refine(scores, tensor, place)

    def labels(
        self, scores: Any, place: Fit, *, confidence: bool = False
    ) -> tuple[Labels | None, NDArray[np.uint8] | None]:
        """Exact labels at frame size from the network's output, HW uint8, and the winner's confidence if asked for."""
        return self._stages.labels(scores, place, confidence=confidence)

    def areas(self, labels: Labels, scores: Any) -> NDArray[np.float64]:
        """The fraction of pixels of each class."""
        return self._stages.areas(labels, scores)

    def close(self) -> None:
        """Give the model, its threads and its memory back; a second time does nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        backend = self.backend
        return f"<Segmenter {self.spec.name} on {backend.name} {backend.device} {backend.precision}>"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise BackendError(
                "this Segmenter is at work in another thread: give each thread its own, or use rtseg.SegmenterPool"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _painter(self, alpha: float, visualize: tuple[str, ...], legend: bool) -> Any:
        settings = (alpha, visualize, legend)
        if self._drawn[0] != settings:
            view = View(visualize, alpha, legend=legend, palette=self._palette)
            renderer = Renderer(self.spec, resolve_palette(self._palette, self.spec), view)
            self._drawn = (settings, painter_of(renderer, on_gpu=self._stages.on_gpu))
        return self._drawn[1]

    def _produce(self, wanted: frozenset[str], painter: Any) -> None:
        """Make the GPU's graphs anew where something is wanted that they do not make, or drawn in another way."""
        needs, view = self._made
        shown = view if painter is None else painter.view
        if wanted <= needs and shown is view:
            return
        needs |= wanted
        shown = shown or View(palette=self._palette)
        colormaps = (painter or self._painter(shown.alpha, shown.visualize, shown.legend)).colormaps
        self._stages.produce(needs, shown, colormaps)
        self._made = (needs, shown)


class SegmenterPool:
    """`count` segmenters of one model, for servers: each thread takes one and gives it back.

    Use it as `with pool.take() as segment: …`, or call it like a segmenter; either waits while all are at work. On a
    CPU `threads` defaults to one for each: their images run side by side.

    Args:
        model: as of `Segmenter`, a name, folder or file.
        count: how many; memory grows with it.
        options: keyword arguments of `Segmenter`.

    Raises:
        ConfigError: a count below 1; and what `Segmenter` raises.
    """

    def __init__(self, model: str | Path = "unet-fast0-camvid", count: int = 2, **options: Any) -> None:
        if not isinstance(count, int) or count < 1:
            raise ConfigError(f"a pool of {count!r} segmenters: give 1 or more")
        if not isinstance(model, (str, Path)):
            raise ConfigError("a pool opens the model once for each segmenter: give its name, folder or file")
        options.setdefault("threads", 1)
        self._free: list[Segmenter] = []
        self._changed = threading.Condition()
        self._closed = False
        with ExitStack() as stack:
            for _ in range(count):
                self._free.append(stack.enter_context(Segmenter(model, **options)))
            stack.pop_all()  # from here on `close` and `take` close them
        self._all = tuple(self._free)
        self.spec = self._all[0].spec

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Ready every one for images of (height, width), as `Segmenter.warm_up` does; before they are used.

        Raises:
            BackendError: one of them is at work.
        """
        for segment in self._all:
            segment.warm_up(frame_size)

    @contextmanager
    def take(self, timeout: float | None = None) -> Iterator[Segmenter]:
        """A segmenter of this thread's own until the block ends; waits for one to come free.

        Raises:
            BackendError: none came free within `timeout` seconds, or the pool is closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._free or self._closed, timeout):
                raise BackendError(f"no segmenter of the pool came free within {timeout:g} s: make the pool larger")
            if self._closed:
                raise BackendError("this SegmenterPool is closed: make a new one")
            segment = self._free.pop()
        try:
            yield segment
        finally:
            self._give_back(segment)

    def __call__(self, image: Image) -> Labels:
        """The labels of one HWC uint8 BGR image, by the next segmenter that is free."""
        with self.take() as segment:
            return segment(image)

    def close(self) -> None:
        """Let nobody take one any more, and close all of them: those at work when they are given back."""
        with self._changed:
            self._closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for segment in free:
            segment.close()

    def _give_back(self, segment: Segmenter) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(segment)
                self._changed.notify()
                return
        segment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
