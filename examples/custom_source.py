"""A source of your own: a class with the members of `rtseg.Source`, for a camera whose SDK calls back with each image.

    python examples/custom_source.py out.mp4

Industrial cameras work like this: a thread of the driver hands an image over, which has to be put away quickly. The
camera here is a thread that draws; put your SDK in its place.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

import numpy as np

import rtseg

SIZE, FPS = (240, 320), 20


class DrawingCamera:
    """What an SDK gives: `start` with a callback, `stop`, and a thread in between."""

    def start(self, callback: Callable[[np.ndarray], None]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(callback,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, callback: Callable[[np.ndarray], None]) -> None:
        left = 0
        while not self._stop.wait(1 / FPS):
            image = np.full((*SIZE, 3), 90, np.uint8)
            image[80:160, left : left + 60] = (60, 180, 220)
            left = (left + 4) % (SIZE[1] - 60)
            callback(image)


class CallbackSource:
    """Frames of a camera that calls back with HWC uint8 BGR arrays, each of its own."""

    reconnects = 0
    """How often the camera was opened again: a number for the report."""
    info = rtseg.StreamInfo("sdk camera", live=True, fps=FPS, size=SIZE)
    """`live`: the newest frame wins, and those that the network is too slow for count as dropped."""

    def __init__(self, camera: DrawingCamera) -> None:
        self._camera = camera
        self._frames: queue.Queue[rtseg.Frame] = queue.Queue(2)
        self._count = 0
        self._stop = threading.Event()

    def _on_image(self, image: np.ndarray) -> None:
        """In the driver's thread, so it never waits."""
        frame = rtseg.Frame(self._count, time.monotonic_ns(), None, time.time(), image)
        self._count += 1  # also for an image that finds no room: a gap in the numbers is a drop
        with suppress(queue.Full):
            self._frames.put_nowait(frame)

    def __enter__(self) -> "CallbackSource":
        self._camera.start(self._on_image)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._camera.stop()

    def __iter__(self) -> Iterator[rtseg.Frame]:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                yield self._frames.get(timeout=0.1)  # with a timeout, so that `close` is noticed

    def close(self) -> None:
        """End the iteration soon; comes from another thread."""
        self._stop.set()


def main() -> None:
    output = sys.argv[1] if len(sys.argv) > 1 else "window:"
    report = rtseg.run(CallbackSource(DrawingCamera()), output, limit=60)
    print(f"{report['frames']} frames, {report['drops']['total']} dropped")


if __name__ == "__main__":
    main()
