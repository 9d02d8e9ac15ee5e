"""Frames on a GPU from upload to overlay, behind the calls of the loop: the twin of `rtseg.segmenter.host`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtseg.backends._shared import InFlight
from rtseg.backends.contract import Backend
from rtseg.drawing.colormap import ColorMaps
from rtseg.drawing.view import View
from rtseg.errors import BackendError
from rtseg.frame import UNLABELLED, Image, Labels
from rtseg.geometry import Fit, FitMode
from rtseg.gpu.network import DeviceNetwork, Finished
from rtseg.kernels.checks import check_allowed
from rtseg.kernels.threads import spread
from rtseg.segmenter.placement import Placement, allowed_classes
from rtseg.segmenter.recorded import GPU_STAGES, RecordedFrame, ResultBuffers, Wanted, parts
from rtseg.timing import STAGES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HELD", "DeviceSegmenter"]

KEPT_RECORDED = 4
"""Sizes and views of frames whose buffers and graphs are kept, for sources that mix them."""
HELD = 2
"""Results that sinks hold besides those in a queue: the one being written, and the one handed over."""


class _Queue:
    """The `submit` and `collect` of a backend, on slots instead of tensors."""

    def __init__(self, backend: Backend) -> None:
        self.spec, self.name, self.device = backend.spec, backend.name, backend.device
        self.precision, self.depth = backend.precision, backend.depth
        self._pending: InFlight[tuple[RecordedFrame, ResultBuffers]] = InFlight(backend.name, backend.depth)
        self._done: dict[int, Finished] = {}
        self.colormaps: ColorMaps | None = None

    def submit(self, tensor: tuple[RecordedFrame, ResultBuffers]) -> None:
        """Start the frame that `preprocess` put into result buffers."""
        self._pending.check_room()
        recorded, results = tensor
        if self.colormaps is not None:
            self.colormaps.refresh()
        recorded.start(results, self.colormaps)
        self._pending.push(tensor)

    def collect(self) -> Finished:
        """Wait for the oldest frame and return its results."""
        recorded, results = self._pending.pop()
        return self._done.pop(id(results), None) or Finished(*recorded.finish(results))

    def drain(self) -> None:
        """Wait for all frames in flight and keep their results for `collect`."""
        for recorded, results in self._pending.waiting():
            if id(results) not in self._done:  # else its recorded frame is closed already
                self._done[id(results)] = Finished(*recorded.finish(results))

    def check_room(self) -> None:
        """BackendError when closed, or when as many frames are in flight as there are buffers for."""
        self._pending.check_room()

    def close(self) -> None:
        self._pending.close()


class DeviceSegmenter:
    """Labels and draws images on the backend's GPU; made and used like `rtseg.segmenter.host.Segmenter`, by one thread.

    A frame is copied into pinned memory (`preprocess`), and one CUDA graph does the rest (`submit`): upload,
    preprocess, network, labels and drawing, and download of what `produce` asked for. As many frames are in flight as
    the backend is deep. Buffers and graphs are made for the first frame of a size, and where the view's panels change;
    those of the last KEPT_RECORDED such cases are kept. Arrays of a result stay its own until nobody holds them.
    Errors: ModelError, BackendError.
    """

    on_gpu = True
    refines = False
    crf = None
    stages = STAGES + GPU_STAGES

    def __init__(
        self,
        backend: Backend,
        device_network: DeviceNetwork,
        *,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
        mode: FitMode = "letterbox",
        ignore: Iterable[str] = (),
        antialias: bool = True,
    ) -> None:
        self.spec, self._backend, self._device_network = backend.spec, backend, device_network
        self.backend = _Queue(backend)
        self._placement = Placement(self.spec, size, short_side, mode)
        self._antialias = antialias
        allowed = allowed_classes(self.spec, ignore)
        self._classes = check_allowed("segmenter", allowed, max(2, len(self.spec.classes)))
        self._needs: frozenset[str] = frozenset({"labels"})
        self._view: View | None = None
        self._held = HELD
        self._recorded: OrderedDict[tuple[Fit, Wanted], RecordedFrame] = OrderedDict()
        self.device_times: dict[str, int] = {}
        """Nanoseconds on the GPU of the frame labelled last, by `rtseg.segmenter.recorded.GPU_STAGES`."""

    def produce(self, needs: frozenset[str], view: View, colormaps: ColorMaps, held: int = 0) -> None:
        """Make what sinks need from the next frame on (only labels before), drawn with `colormaps` as `view` says.

        `held` is how many results may wait in queues besides the HELD that sinks work on; of more, copies are made.
        """
        if self.spec.output_kind == "labels":
            needs -= {"confidence"}  # which a label map does not have
        self._needs, self._view, self._held, self.backend.colormaps = needs, view, HELD + held, colormaps
        self._keep(0)

    def place(self, frame_size: tuple[int, int]) -> Fit:
        """Where a frame of (height, width) lies in the network's input."""
        return self._placement.fit(frame_size)

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Build the network, record the graphs for frames of (height, width), and run one."""
        tensor, _ = self.preprocess(np.zeros((*frame_size, 3), np.uint8))
        self.backend.submit(tensor)
        self.backend.collect()

    def preprocess(
        self, image: Image, wanted: frozenset[str] | None = None
    ) -> tuple[tuple[RecordedFrame, ResultBuffers], Fit]:
        """Copy an HWC uint8 BGR image into pinned memory: the buffers it is in, and where it lies in the input.

        Of what `produce` named only what is `wanted` is made of this frame; all of it for None.
        Errors: BackendError when as many frames are in flight as the backend is deep.
        """
        self.backend.check_room()
        place = self.place((image.shape[0], image.shape[1]))
        recorded = self._recorded_for(place, self._needs if wanted is None else self._needs & wanted)
        results = recorded.take()
        pinned = results.buffers.frame
        spread(lambda first, last: np.copyto(pinned[first:last], image[first:last]), len(image))
        return (recorded, results), place

    def refine(self, scores: Finished, tensor: object, place: Fit) -> Finished:
        """`scores` as they are: refining needs them on the host."""
        return scores

    def labels(
        self, scores: Finished, place: Fit, *, confidence: bool = False
    ) -> tuple[Labels | None, NDArray[np.uint8] | None]:
        """The finished frame's labels HW uint8 and confidence, each None where nobody asked for it."""
        self.device_times = scores.times
        return scores.outputs.get("labels"), scores.outputs.get("confidence")

    def areas(self, labels: Labels | None, scores: Finished) -> NDArray[np.float64]:
        """The fraction of the finished frame's pixels of each class."""
        counts = scores.outputs["areas"]
        fractions: NDArray[np.float64] = counts[: len(self.spec.classes)] / counts.sum()
        fractions[UNLABELLED:] = 0.0
        return fractions

    def __call__(self, image: Image) -> Labels:
        """Labels of one HWC uint8 BGR image, HW uint8 at the image's size."""
        if "labels" not in self._needs:
            raise BackendError("this segmenter was told to make no labels: add them to what it produces")
        tensor, place = self.preprocess(image)
        self.backend.submit(tensor)
        labels, _ = self.labels(self.backend.collect(), place)
        assert labels is not None
        return labels

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let what runs finish and free the GPU's memory, and that of the backend; a second time does nothing."""
        self.backend.close()
        self._keep(0)
        self._backend.close()

    def _recorded_for(self, place: Fit, needs: frozenset[str]) -> RecordedFrame:
        want = parts(needs, self._view)
        recorded = self._recorded.get((place, want))
        if recorded is None:
            self._keep(KEPT_RECORDED - 1)
            depth = self.backend.depth
            recorded = self._recorded[place, want] = RecordedFrame(
                self._device_network,
                place,
                want,
                classes=self._classes,
                depth=depth,
                spare=self._held + depth,
                antialias=self._antialias,
            )
        self._recorded.move_to_end((place, want))
        return recorded

    def _keep(self, count: int) -> None:
        """Give back all recorded frames but the `count` used last; results of those in flight are kept."""
        while len(self._recorded) > count:
            self.backend.drain()
            self._recorded.popitem(last=False)[1].close()
