"""A network ready for frames: the backend, the kernels of its device, and the geometry between frame and network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends.contract import Backend
from rtseg.buffers import Pool
from rtseg.drawing.colormap import ColorMaps
from rtseg.drawing.view import View
from rtseg.errors import ModelError
from rtseg.frame import Image, Labels
from rtseg.geometry import Fit, FitMode
from rtseg.kernels import cpu as kernels
from rtseg.kernels.crf_settings import Crf, parse_refine
from rtseg.segmenter.placement import Placement, allowed_classes
from rtseg.timing import REFINED, STAGES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HostSegmenter"]


class HostSegmenter:
    """Labels images: `preprocess`, `submit` and `collect` of the backend, `refine`, `labels`; calling it does them all.

    The network's size follows the frame's aspect ratio at the spec's short side unless `size` (height, width) or the
    spec fixes it; the frame is letterboxed into it unless `mode` says otherwise. `ignore` names classes that may not
    win. `refine` is "none", "crf", "crf:radius=3,…" or a `Crf`. Used by one thread. Errors: ModelError for a size the
    network cannot take, an unknown class name, or scores that cannot be refined; ConfigError for the text of `refine`.
    """

    on_gpu = False

    def __init__(
        self,
        backend: Backend,
        *,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
        mode: FitMode = "letterbox",
        ignore: Iterable[str] = (),
        antialias: bool = True,
        refine: str | Crf = "none",
    ) -> None:
        self.backend = backend
        self.spec = spec = backend.spec
        self._placement = Placement(spec, size, short_side, mode)
        self._antialias = antialias
        self._tensors = Pool()
        self._maps = Pool()
        self._scores = Pool()
        self.crf = parse_refine(refine) if isinstance(refine, str) else refine
        self._kind = spec.output_kind
        self._crf: Callable[..., NDArray[np.float32]] = kernels.crf
        if self.crf is not None:
            if spec.output_kind == "labels":
                raise ModelError(f"model {spec.name} returns a label map, which has no scores to refine: drop --refine")
            self._kind = "logits"  # of log-probabilities
            if backend.device.startswith("cuda"):
                from rtseg.kernels.crf_torch import solver

                self._crf = partial(kernels.crf, solve=solver(backend.device))
        self._allowed = allowed_classes(spec, ignore)

    def place(self, frame_size: tuple[int, int]) -> Fit:
        """Where a frame of (height, width) lies in the network's input."""
        return self._placement.fit(frame_size)

    def produce(self, needs: frozenset[str], view: View, colormaps: ColorMaps, held: int = 0) -> None:
        """Nothing to prepare: on the host every result is made by the call that returns it."""

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Compile the network and run it and the kernels once for frames of (height, width)."""
        self.backend.prepare(self.place(frame_size).network)
        self(np.zeros((*frame_size, 3), np.uint8))

    def preprocess(self, image: Image, wanted: frozenset[str] | None = None) -> tuple[NDArray[Any], Fit]:
        """The network's input tensor for an HWC uint8 BGR image, and where the image lies in it.

        What is `wanted` of the frame is decided by the calls that make it; on a GPU it is decided here.
        """
        place = self.place(image.shape[:2])
        height, width = place.network
        shape = (1, 3, height, width) if self.spec.layout == "NCHW" else (1, height, width, 3)
        tensor = self._tensors.take(shape, self.spec.dtype)
        kernels.preprocess(image, self.spec, place, tensor, antialias=self._antialias)
        return tensor, place

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that a frame's times are reported by."""
        return REFINED if self.refines else STAGES

    @property
    def device_times(self) -> dict[str, int]:
        """Nanoseconds on a GPU of the frame collected last: none, as this one's frames stay on the host."""
        return {}

    @property
    def refines(self) -> bool:
        """Whether `refine` must come before `labels`."""
        return self.crf is not None

    def refine(self, scores: NDArray[Any], tensor: NDArray[Any], place: Fit) -> NDArray[Any]:
        """The network's output after the dense CRF on its own input `tensor`; as it is where none is configured."""
        if self.crf is None or self.spec.output_kind == "labels":
            return scores
        classes, (height, width) = max(2, scores.shape[0]), scores.shape[1:]
        grid = (height * self.crf.upsample, width * self.crf.upsample)
        picture = kernels.average(tensor, self.spec, place, grid, self._scores.take((3, *grid), np.float32))
        out = self._scores.take((classes, *grid), np.float32)
        kind = self.spec.output_kind
        return self._crf(scores, picture, self.crf, fit=place, kind=kind, out=out, allowed=self._allowed)

    def labels(
        self, scores: NDArray[Any], place: Fit, *, confidence: bool = False
    ) -> tuple[Labels, NDArray[np.uint8] | None]:
        """Exact labels at frame size from the (refined) output, HW uint8, and the winner's confidence if asked for."""
        size = place.frame
        out = self._maps.take(size)
        if self._kind == "labels":
            return kernels.upsample_labels(scores, size, fit=place, out=out), None
        sure = self._maps.take(size) if confidence else None
        labels = kernels.labels(
            scores, size, fit=place, kind=self._kind, out=out, confidence=sure, allowed=self._allowed
        )
        return labels, sure

    def areas(self, labels: Labels, scores: NDArray[Any]) -> NDArray[np.float64]:
        """The fraction of pixels of each class of a label map that `labels` made of `scores`."""
        return kernels.areas(labels, len(self.spec.classes))

    def __call__(self, image: Image) -> Labels:
        """Labels of one HWC uint8 BGR image, HW uint8 at the image's size."""
        tensor, place = self.preprocess(image)
        self.backend.submit(tensor)
        return self.labels(self.refine(self.backend.collect(), tensor, place), place)[0]

    def __enter__(self) -> Self:
        self.backend.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.backend.__exit__(kind, error, trace)
