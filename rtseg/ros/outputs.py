"""What the node publishes of a result: each output's message, made of what the loop computed anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.frame import Header, Result
from rtseg.geometry import Fit
from rtseg.messages import records as messages
from rtseg.messages.camera_info import fitted, picture_size
from rtseg.messages.images import compressed_bytes, image_bytes
from rtseg.messages.status import areas_bytes
from rtseg.packages.spec import ModelSpec

if TYPE_CHECKING:
    from rtseg.navigation.projection import Navigation

__all__ = ["BY_CAMERA", "OUTPUTS", "Output", "Outputs"]


@dataclass(frozen=True, slots=True)
class Output:
    """A topic below the node's name, its message type, and what of a result it is made of (see `rtseg.sinks.NEEDS`)."""

    topic: str
    kind: str
    needs: frozenset[str]


OUTPUTS: tuple[Output, ...] = (
    Output("mask", messages.IMAGE, frozenset({"labels"})),
    Output("confidence", messages.IMAGE, frozenset({"confidence"})),
    Output("camera_info", messages.CAMERA_INFO, frozenset({"labels"})),
    Output("areas", messages.AREAS, frozenset({"areas"})),
    Output("overlay", messages.IMAGE, frozenset({"overlay"})),
    Output("overlay/compressed", messages.COMPRESSED_IMAGE, frozenset({"overlay"})),
    Output("free_space", messages.OCCUPANCY_GRID, frozenset({"labels"})),
    Output("obstacles", messages.LASER_SCAN, frozenset({"labels"})),
)
NAVIGATION = frozenset({"free_space", "obstacles"})
BY_CAMERA = NAVIGATION | {"camera_info"}
"""Outputs that take a calibrated camera."""


class Outputs:
    """Makes messages of results; `fit` says where a frame lies in the network's input, both (height, width).

    At `mask_size` "network" mask and confidence are those of the frame's pixels at the centres of the network's,
    without its border, and the CameraInfo says so; at "input" they have the frame's size. `camera_info` is the decoded
    message that belongs to the frames, or None. `navigation` makes the free space and the obstacles, where it is set.
    """

    def __init__(
        self,
        spec: ModelSpec,
        fit: Callable[[tuple[int, int]], Fit],
        *,
        mask_size: str = "input",
        jpeg_quality: int = 80,
        navigation: Navigation | None = None,
    ) -> None:
        self._spec, self._fit = spec, fit
        self._reduced = mask_size == "network"
        self.jpeg_quality = jpeg_quality
        self.camera_info: Any = None
        self.navigation = navigation

    def messages(self, result: Result, header: Header, asked: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        """The topic and CDR bytes of every output in `asked` that the result has what is needed for.

        Each has the stamp and the frame_id of `header`. Masks come first: others may cost more than somebody who waits
        for a mask should wait.
        """
        for output in OUTPUTS:
            if output.topic in asked:
                data = self._message(output.topic, result, header)
                if data is not None:
                    yield output.topic, data

    def _message(self, topic: str, result: Result, header: Header) -> bytes | None:
        if topic == "mask" and result.labels is not None:
            return image_bytes(self._sampled(result.labels), header)
        if topic == "confidence" and result.confidence is not None:
            return image_bytes(self._sampled(result.confidence), header)
        if topic == "areas" and result.areas is not None:
            return areas_bytes(result.areas, self._spec)
        if topic == "overlay" and result.overlay is not None:
            return image_bytes(result.overlay, header)
        if topic == "overlay/compressed" and result.overlay is not None:
            return compressed_bytes(result.overlay, header, quality=self.jpeg_quality)
        if topic == "camera_info" and self.camera_info is not None:
            return self._camera_info(result.frame.image.shape[:2], header)
        if topic in NAVIGATION and self.navigation is not None and result.labels is not None:
            return self.navigation.message(topic, result.labels, self.camera_info, header)
        return None

    def _sampled(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self._reduced:
            return values
        rows, columns = samples(self._fit(values.shape))
        return values[rows[:, None], columns]

    def _camera_info(self, size: tuple[int, int], header: Header) -> bytes:
        info = self.camera_info
        whole = picture_size(info)
        if min(whole) < 1:  # an uncalibrated camera need not say its size
            whole = size
        seen, crop = size, (0.0, 0.0, float(whole[0]), float(whole[1]))
        if self._reduced:
            place = self._fit(size)
            rows, columns = visible(place)
            seen = len(rows), len(columns)
            up, across = whole[0] / place.height, whole[1] / place.width
            crop = (
                (rows.start - place.top) * up,
                (columns.start - place.left) * across,
                len(rows) * up,
                len(columns) * across,
            )
        message = fitted(info, seen, crop)
        message.header = messages.header_of(header)
        return messages.encode(messages.CAMERA_INFO, message)


def visible(place: Fit) -> tuple[range, range]:
    """The rows and columns of the network's input that hold the frame, less what is cut off and less the border."""
    height, width = place.network
    rows = range(max(0, place.top), min(height, place.top + place.height))
    return rows, range(max(0, place.left), min(width, place.left + place.width))


def samples(place: Fit) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The frame's rows and columns at the centres of the network's visible pixels: the nearest ones."""
    rows, columns = visible(place)
    return (
        nearest(np.arange(rows.start, rows.stop) - place.top, place.frame[0], place.height),
        nearest(np.arange(columns.start, columns.stop) - place.left, place.frame[1], place.width),
    )


def nearest(pixels: NDArray[Any], frame: int, network: int) -> NDArray[np.intp]:
    """Frame pixels nearest to the centres of network pixels, half-pixel centres."""
    centres = (pixels + 0.5) * frame / network - 0.5
    return np.clip(np.rint(centres), 0, frame - 1).astype(np.intp)
