"""Made-up video whose label maps are known exactly: `synthetic:drive` and `synthetic:shapes`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rtseg.errors import ConfigError, nearest
from rtseg.frame import Frame, Image, Labels, StreamInfo
from rtseg.sources._drive import DriveScene
from rtseg.sources._options import at_least, size_of, whole
from rtseg.sources._shapes import ShapesScene

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Scene", "SyntheticSource"]


class Scene(Protocol):
    """Draws picture and labels of any frame from its number alone; `classes` names the label ids."""

    classes: tuple[str, ...]

    def render(self, index: int) -> tuple[Image, Labels]: ...


SCENES: dict[str, Callable[[tuple[int, int], float, int], Scene]] = {"drive": DriveScene, "shapes": ShapesScene}


class SyntheticSource:
    """Frames of a scene that is a pure function of `seed`, `size`, `rate` and the frame's number.

    `target` is `drive` (a street as seen from a car, the 11 classes of CamVid) or `shapes` (moving circles, rectangles
    and triangles). `size` is (height, width), `rate` frames per second, `length` the number of frames, 0 for ever.
    `live` delivers them in real time and makes the source count as live. `render(index)` gives any frame with its exact
    label map, also without entering the source. Errors: ConfigError.
    """

    reconnects = 0

    def __init__(
        self,
        target: str = "drive",
        *,
        size: tuple[int, int] | str = (720, 1280),
        rate: float = 30.0,
        seed: int = 0,
        length: int = 300,
        live: bool = False,
    ) -> None:
        target = target or "drive"
        if target not in SCENES:
            raise ConfigError(f"unknown scene '{target}': {nearest(target, SCENES)}")
        self._size = size_of("size", size)
        if min(self._size) < 16 or max(self._size) > 16384:
            raise ConfigError(f"size is {self._size[0]}x{self._size[1]}, expected sides from 16 to 16384")
        self._rate = at_least("rate", rate, 0, above=True)
        self._length, self._live = whole("length", length, 0), live
        self._stop = threading.Event()
        self.scene: Scene = SCENES[target](self._size, self._rate, whole("seed", seed, 0))
        self.classes = self.scene.classes
        self._info = StreamInfo(
            source=f"synthetic:{target}",
            live=live,
            fps=self._rate,
            size=self._size,
            frames=self._length or None,
            time_base=1 / Fraction(self._rate).limit_denominator(1_001_000),
            details={"seed": int(seed)},
        )

    @property
    def info(self) -> StreamInfo:
        return self._info

    def render(self, index: int) -> tuple[Image, Labels]:
        """Frame `index` as (image HWC uint8 BGR, labels HW uint8); the same arguments give the same bytes."""
        return self.scene.render(index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def close(self) -> None:
        """End the iteration, also while it waits for the next frame's time; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        begin, index = time.monotonic(), 0
        while not self._length or index < self._length:
            image, _ = self.scene.render(index)
            if self._live:
                self._stop.wait(max(0.0, begin + index / self._rate - time.monotonic()))
            if self._stop.is_set():
                return
            yield Frame(index, time.monotonic_ns(), index / self._rate, time.time() if self._live else None, image)
            index += 1
            del image
