"""Free space and obstacle distances from labels: a nav_msgs/OccupancyGrid and a sensor_msgs/LaserScan.

The ground is flat, and z = 0 in the robot frame. docs/navigation.md says what that cannot know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.frame import Labels
from rtseg.messages import records as messages
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.contacts import Contacts, Finder
from rtseg.navigation.rasterise import sectors, stamp
from rtseg.navigation.settings import FLAT, OBSTACLE, UNKNOWN, GridSettings, ScanSettings

__all__ = ["GroundView", "cell_centres", "grid_bytes", "scan_bytes"]

Grid = NDArray[np.int8]
"""(rows, columns): rows along y from right to left, columns along x from near to far; 0 free, -1 unknown."""
RADIAL = 128
"""Places along each bearing at which the scan asks whether the ground is in view."""


class GroundView:
    """What a camera at a pose sees of flat ground; recomputed when the pose changes, with the same lens.

    `roles` is what `ground_settings.roles` returns. `grid` and `scan` take labels HW uint8 of the lens's size and may
    be given the `contacts` of the same labels, so that both together search once. ConfigError for labels of another
    size. `least` of the 7x7 pixels around an obstacle's contact must be obstacles. Not for several threads at once.
    """

    def __init__(
        self,
        lens: Lens,
        pose: Pose,
        roles: NDArray[np.uint8],
        grid: GridSettings | None = None,
        scan: ScanSettings | None = None,
        *,
        least: int = 0,
    ) -> None:
        self.lens, self.pose, self.roles = lens, pose, roles
        self.grid_settings, self.scan_settings = grid or GridSettings(), scan or ScanSettings()
        self._finder = Finder(lens, pose, max(self.grid_settings.max_range, self.scan_settings.range_max), least)
        self._cells = self._seen(cell_centres(self.grid_settings), self.grid_settings.max_range)
        self._unseen = self._cells < 0
        values = np.array([-1, 0, self.grid_settings.flat, -1], np.int8)
        self._values = values[roles]
        self._sectors, self._samples, self._open = self._bearings()

    def contacts(self, labels: Labels) -> Contacts:
        """Where obstacles touch the ground and where drivable ground ends; valid until the next call."""
        if labels.shape != self.lens.size:
            (height, width), (rows, columns) = labels.shape, self.lens.size
            raise ConfigError(
                f"labels are {width}x{height}, but CameraInfo is of {columns}x{rows}: fit it to the labels"
            )
        return self._finder.find(np.ascontiguousarray(labels), self.roles)

    def grid(self, labels: Labels, contacts: Contacts | None = None) -> Grid:
        """The cells, int8, shape `grid_settings.shape`.

        A cell is free only if the pixel that sees its centre is drivable; obstacles mark the ground of their contact.
        """
        contacts = self.contacts(labels) if contacts is None else contacts
        settings = self.grid_settings
        cells = self._values[labels.reshape(-1)[self._cells]]
        cells[self._unseen] = -1  # their -1 read the last pixel
        rows, columns = settings.shape
        stamp(
            contacts.reshape(-1), cells, rows, columns, settings.near, -settings.half_width, settings.resolution,
            settings.max_range, settings.occupied,
        )  # fmt: skip
        return cells.reshape(rows, columns)

    def scan(self, labels: Labels, contacts: Contacts | None = None) -> NDArray[np.float32]:
        """The distance of the nearest contact per sector from the robot's origin, float32, in metres.

        As REP 117 has it: +inf where only ground is seen out to `range_max`, NaN where less is in view or labels leave
        it open, -inf for what is nearer than `range_min`.
        """
        contacts = self.contacts(labels) if contacts is None else contacts
        settings = self.scan_settings
        ranges = np.full(settings.count, np.inf, np.float32)
        kind = FLAT if settings.flat else OBSTACLE
        sectors(contacts.reshape(-1), ranges, settings.angle_min, settings.increment, settings.range_max, kind)
        seen = self.roles[labels.reshape(-1)[self._samples]]
        open_ = self._open.copy()
        doubt = (seen == UNKNOWN) | (seen >= kind)
        open_[self._sectors[doubt]] = False
        ranges[np.isinf(ranges) & ~open_] = np.nan
        ranges[ranges < settings.range_min] = -np.inf
        return ranges

    def _seen(self, points: NDArray[np.float64], reach: float) -> NDArray[np.int32]:
        """The number of the pixel that sees each ground point (n, 2); -1 where none does, or beyond `reach`."""
        places = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
        numbers = self.lens.indices((places - self.pose.position) @ self.pose.rotation)
        numbers[np.hypot(points[:, 0], points[:, 1]) > reach] = -1
        return numbers

    def _bearings(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
        """Sectors and pixels of the ground in view along the middle of each sector, and which sectors may be clear.

        Those are the ones whose ground, where it once has come into view, stays there to the end.
        """
        settings = self.scan_settings
        angles = settings.angle_min + settings.increment * np.arange(settings.count)
        distances = (np.arange(RADIAL) + 0.5) * (settings.range_max / RADIAL)
        points = np.stack([np.outer(np.cos(angles), distances), np.outer(np.sin(angles), distances)], axis=-1)
        numbers = self._seen(points.reshape(-1, 2), settings.range_max).reshape(settings.count, RADIAL)
        numbers[:, distances < settings.range_min] = -1
        found = numbers >= 0
        clear = found[:, -1] & (np.count_nonzero(found[:, 1:] != found[:, :-1], axis=1) <= 1)
        return np.nonzero(found)[0].astype(np.int32), numbers[found], clear


def cell_centres(settings: GridSettings) -> NDArray[np.float64]:
    """The centres (n, 2) of a grid's cells in the robot frame, in the order of the message's data."""
    rows, columns = settings.shape
    x = settings.near + (np.arange(columns) + 0.5) * settings.resolution
    y = -settings.half_width + (np.arange(rows) + 0.5) * settings.resolution
    return np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1)


def grid_bytes(cells: Grid, settings: GridSettings, stamp_ns: int, frame_id: str) -> bytes:
    """A grid as CDR nav_msgs/OccupancyGrid in the robot frame `frame_id`."""
    header = messages.header(stamp_ns, frame_id)
    rows, columns = cells.shape
    pose = _pose(settings.near, -settings.half_width)
    info = messages.build(
        "nav_msgs/msg/MapMetaData", map_load_time=header.stamp, resolution=settings.resolution, width=columns,
        height=rows, origin=pose,
    )  # fmt: skip
    return messages.encode_with(messages.OCCUPANCY_GRID, cells, header=header, info=info)


def scan_bytes(
    ranges: NDArray[np.float32], settings: ScanSettings, stamp_ns: int, frame_id: str, scan_time: float = 0.0
) -> bytes:
    """A scan as CDR sensor_msgs/LaserScan in the robot frame `frame_id`; `scan_time` is seconds between scans."""
    message = messages.build(
        messages.LASER_SCAN,
        header=messages.header(stamp_ns, frame_id),
        angle_min=settings.angle_min,
        angle_max=settings.angle_min + settings.increment * (len(ranges) - 1),
        angle_increment=settings.increment,
        time_increment=0.0,  # all bearings are of one picture
        scan_time=scan_time,
        range_min=settings.range_min,
        range_max=settings.range_max,
        ranges=np.ascontiguousarray(ranges, np.float32),
        intensities=np.zeros(0, np.float32),
    )
    return messages.encode(messages.LASER_SCAN, message)


def _pose(x: float, y: float) -> Any:
    point = messages.build("geometry_msgs/msg/Point", x=x, y=y, z=0.0)
    straight = messages.build("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    return messages.build("geometry_msgs/msg/Pose", position=point, orientation=straight)
