"""Free space and ranges against the synthetic drive, whose geometry is known exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.ground import GroundView, cell_centres
from rtseg.navigation.settings import GridSettings, ScanSettings, roles
from rtseg.sources._drive import DriveScene
from tests.navigation.scenes import Camera

DRIVE_ROLES = roles(DriveScene.classes, ["Road"], ["Pavement"], ["Sky"])
DRIVE_GRID = GridSettings(resolution=0.1, near=0.0, length=20.0, half_width=8.0, max_range=25.0)


def drive(index: int, size: tuple[int, int] = (540, 960)) -> tuple[DriveScene, GroundView, Any]:
    """The synthetic street, the view of its camera, and its labels at a frame."""
    scene = DriveScene(size, 30.0, 0)
    camera = Camera(size=size, focal=scene.camera.focal)
    pose = Pose.mounted(scene.camera.height, scene.camera.tilt)
    view = GroundView(Lens.of(camera.info()), pose, DRIVE_ROLES, DRIVE_GRID, ScanSettings())
    return scene, view, scene.render(index)[1]


def test_free_cells_of_the_empty_street_are_exactly_the_road_in_view() -> None:
    scene, view, _ = drive(0)
    cells = view.grid(scene._backdrop_labels)
    centres = cell_centres(DRIVE_GRID)
    ahead = centres[:, 0] > 1.0
    pixels = np.full((len(centres), 2), -9.0)
    world = np.stack([-centres[ahead, 1], centres[ahead, 0], np.zeros(ahead.sum())], axis=1)
    pixels[ahead] = np.floor(scene.camera.project(world) + 0.5)
    seen = (pixels[:, 0] >= 0) & (pixels[:, 0] < 960) & (pixels[:, 1] >= 0) & (pixels[:, 1] < 540)
    ground = np.full((len(centres), 2), np.nan)
    ground[seen] = scene.camera.ground(pixels[seen])
    road = seen & (np.abs(ground[:, 0]) <= 5.0)
    assert np.array_equal(cells.reshape(-1) == 0, road)
    assert np.array_equal(cells.reshape(-1) == 100, seen & ~road)
    assert np.array_equal(cells.reshape(-1) == -1, ~seen)
    # And by its own place, wherever the edge of the road is more than a pixel away.
    clear = seen & (np.abs(np.abs(centres[:, 1]) - 5.0) > 0.05)
    assert np.array_equal(road[clear], np.abs(centres[clear, 1]) < 5.0)


@pytest.mark.parametrize("index", [0, 45, 60, 75, 90])
def test_free_cells_of_the_street_with_traffic_are_road_and_nothing_else(index: int) -> None:
    scene, view, labels = drive(index)
    cells = view.grid(labels).reshape(-1)
    centres = cell_centres(DRIVE_GRID)
    free = np.flatnonzero(cells == 0)
    pixels = scene.camera.project(np.stack([-centres[free, 1], centres[free, 0], 0 * free], axis=1))
    columns, rows = np.floor(pixels + 0.5).astype(int).T
    assert (labels[rows, columns] == scene.classes.index("Road")).all()
    assert (np.abs(centres[free, 1]) < 5.05).all()
    assert len(free) > 3000


@pytest.mark.parametrize("index", [0, 20, 40, 60, 80, 180, 280])
def test_the_range_to_a_car_is_that_of_its_wheels_to_a_pixel(index: int) -> None:
    scene, view, labels = drive(index)
    ranges = view.scan(labels)
    settings = view.scan_settings
    angles = settings.angle_min + settings.increment * np.arange(settings.count)
    car = scene.classes.index("Car")
    checked = 0
    position = scene.travelled(index)
    parked = [(y - position, thing) for slot in range(40) for y, thing in scene._furniture(slot)]
    for ahead, thing in [*scene._traffic(index), *parked]:
        if thing[0].kind != car or not 5.0 < ahead < 17.0:
            continue
        for wheel in thing[:2]:
            x = float(wheel.corners[:, 0].mean())
            foot = math.hypot(x, ahead)
            pixel = scene.camera.project([(x, ahead, 0.0)])[0]
            if not 0 <= pixel[0] < 960 or labels[int(pixel[1]) - 3, int(pixel[0])] != car:
                continue
            found = ranges[np.abs(angles - math.atan2(-x, ahead)) <= settings.increment].min()
            size = 1.1 * foot**2 / (scene.camera.height * scene.camera.focal)
            assert abs(float(found) - foot) < size
            checked += 1
    assert checked
