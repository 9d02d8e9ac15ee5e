"""The calls of the pipeline's loop, which are the same wherever frames are: on the host or on a GPU.

What passes between the calls belongs to the device: a tensor and scores on the host, a recorded frame on a GPU.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.colormap import ColorMaps
from rtseg.drawing.render import Hud
from rtseg.drawing.view import View
from rtseg.frame import Image, Labels
from rtseg.geometry import Fit
from rtseg.kernels.crf_settings import Crf
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FrameQueue", "FrameStages", "Painter", "Stages"]


class FrameQueue(Protocol):
    """Where frames are while the network runs: a backend, or a GPU's graphs."""

    spec: ModelSpec
    name: str
    device: str
    precision: str
    depth: int

    def submit(self, tensor: Any) -> None: ...

    def collect(self) -> Any: ...


class FrameStages(Protocol):
    """What the loop calls for every frame; `stages` are the names of the timing report, `refines` adds `refine`."""

    spec: ModelSpec

    @property
    def backend(self) -> FrameQueue: ...

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def refines(self) -> bool: ...

    @property
    def device_times(self) -> dict[str, int]: ...

    def preprocess(self, image: Image, wanted: frozenset[str] | None = None) -> tuple[Any, Fit]: ...

    def refine(self, scores: Any, tensor: Any, place: Fit) -> Any: ...

    def labels(
        self, scores: Any, place: Fit, *, confidence: bool = False
    ) -> tuple[Labels | None, NDArray[np.uint8] | None]: ...

    def areas(self, labels: Any, scores: Any) -> NDArray[np.float64]: ...


class Stages(FrameStages, Protocol):
    """`rtseg.segmenter.host.HostSegmenter` and its twin for GPUs, `rtseg.segmenter.device.DeviceSegmenter`.

    `on_gpu` says where frames are. `produce` names what is made of frames from now on, and how it is drawn.
    """

    on_gpu: bool

    @property
    def crf(self) -> Crf | None: ...

    def place(self, frame_size: tuple[int, int]) -> Fit: ...

    def warm_up(self, frame_size: tuple[int, int]) -> None: ...

    def produce(self, needs: frozenset[str], view: View, colormaps: ColorMaps, held: int = 0) -> None: ...

    def __call__(self, image: Image) -> Labels: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Painter(Protocol):
    """`rtseg.drawing.render.Renderer` and its twin for GPUs, `rtseg.drawing.device.DeviceRenderer`."""

    @property
    def view(self) -> View: ...

    def warm_up(self, size: tuple[int, int]) -> None: ...

    def picture(self, image: Image, labels: Any, scores: Any, hud: Hud | None) -> Image: ...
