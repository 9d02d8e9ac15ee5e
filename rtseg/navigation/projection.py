"""Free space and obstacles of each frame for navigation, in the robot's frame, on ground that is taken to be flat."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.frame import Header, Labels
from rtseg.messages.camera_info import fitted
from rtseg.messages.images import BadMessage
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.contacts import Contacts
from rtseg.navigation.ground import GroundView, grid_bytes, scan_bytes
from rtseg.navigation.settings import GridSettings, ScanSettings
from rtseg.navigation.transforms import NoTransform, TransformTree

__all__ = ["Navigation", "usual"]

log = logging.getLogger("rtseg")

USUAL = {
    "drivable": ("road", "roadmarking", "lane marking", "drivable", "floor"),
    "flat": ("pavement", "sidewalk", "terrain", "parking", "grass"),
    "unseen": ("sky",),
}
"""Class names, in lower case, whose part is plain."""
COMPLAINT_SECONDS = 10.0
LATE_NS = 1_000_000_000
"""How much newer than the newest transform a picture may be: transforms are often published after it, or seldom."""


def usual(part: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of a model that have `part` ("drivable", "flat" or "unseen") by their name."""
    return tuple(name for name in classes if name.lower() in USUAL[part])


class Navigation:
    """Makes an OccupancyGrid (`free_space`) and a LaserScan (`obstacles`) of label maps, HW uint8 at the camera's size.

    The camera stands at `pose` in `robot_frame`; where that is None, where the transforms say that the frame_id of the
    picture is, at its time or up to LATE_NS before it. `part` is what `rtseg.navigation.settings.roles` returns. What
    is missing (a CameraInfo, a transform) is logged now and then, and nothing is made.
    """

    def __init__(
        self,
        part: NDArray[np.uint8],
        *,
        robot_frame: str,
        pose: Pose | None,
        grid: GridSettings,
        scan: ScanSettings,
        least: int = 0,
    ) -> None:
        self._part, self._robot_frame, self.pose, self._grid, self._scan = part, robot_frame, pose, grid, scan
        self._least = least
        self._tree = TransformTree()
        self._lock = threading.Lock()
        self._info: Any = None
        self._view: GroundView | None = None
        self._lens: Lens | None = None
        self._found: tuple[Labels, Contacts] | None = None
        self._complained: dict[str, float] = {}

    def add_transforms(self, message: Any, *, static: bool) -> None:
        """Take in a decoded tf2_msgs/TFMessage; `static` is one from /tf_static."""
        with self._lock:
            refused = self._tree.add(message, static=static)
        for line in refused:
            self._complain("transform", line)

    def message(self, topic: str, labels: Labels, camera_info: Any, header: Header) -> bytes | None:
        """CDR of `free_space` or `obstacles` for a frame's labels; None where it cannot be made, which is logged."""
        if camera_info is None:
            self._complain(
                "camera_info",
                "free_space and obstacles need a CameraInfo, and none came: see the parameter camera_info",
            )
            return None
        try:
            view = self._view_for(camera_info, labels.shape, header)
            # Both outputs of a frame search its labels once.
            if self._found is None or self._found[0] is not labels:
                self._found = labels, view.contacts(labels)
            contacts = self._found[1]
            if topic == "free_space":
                return grid_bytes(view.grid(labels, contacts), self._grid, header.stamp_ns, self._robot_frame)
            return scan_bytes(view.scan(labels, contacts), self._scan, header.stamp_ns, self._robot_frame)
        except (ConfigError, BadMessage, NoTransform) as exc:
            hint = "; without tf, camera_height and camera_tilt say it" if isinstance(exc, NoTransform) else ""
            self._complain(type(exc).__name__, f"no free_space and obstacles: {exc}{hint}")
            return None

    def _view_for(self, camera_info: Any, size: tuple[int, int], header: Header) -> GroundView:
        pose = self.pose or self._pose_by_tf(header)
        if self._lens is None or camera_info is not self._info or self._lens.size != size:
            if self._lens is None or self._lens.size != size or not same(camera_info, self._info):
                self._lens, self._view = Lens.of(fitted(camera_info, size)), None
            self._info = camera_info
        view = self._view
        if view is None or not (
            np.array_equal(view.pose.position, pose.position) and np.array_equal(view.pose.rotation, pose.rotation)
        ):
            self._view = view = GroundView(self._lens, pose, self._part, self._grid, self._scan, least=self._least)
            self._found = None
        return view

    def _pose_by_tf(self, header: Header) -> Pose:
        stamp_ns = header.stamp_ns or None  # no stamp is the latest, as in tf2
        with self._lock:
            return Pose.transformed(*self._tree.lookup(self._robot_frame, header.frame_id, stamp_ns, late_ns=LATE_NS))

    def _complain(self, kind: str, line: str) -> None:
        """Log a line, unless one of its kind was logged just now; lines may hold times, and so be new each time."""
        now = time.monotonic()
        if now - self._complained.get(kind, -COMPLAINT_SECONDS) >= COMPLAINT_SECONDS:
            self._complained[kind] = now
            log.warning("%s", line)


def same(first: Any, second: Any) -> bool:
    """Whether two CameraInfo messages say the same of the camera."""
    if second is None:
        return False
    plain = ("height", "width", "distortion_model", "binning_x", "binning_y", "roi")
    return all(getattr(first, name) == getattr(second, name) for name in plain) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("d", "k", "r", "p")
    )
