"""Free space and ranges against label maps that were cast ray by ray, and against the synthetic drive."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.ros.camera import Lens
from rtseg.ros.contacts import OBSTACLE
from rtseg.ros.ground import GridSettings, GroundView, ScanSettings, cell_centres, roles
from tests.ros.scenes import BOX, CAMERAS, CLASSES, PAVEMENT, ROAD, Box, Camera, cast, distance, picture
from tests.ros.test_camera import posed

ROLES = roles(CLASSES, ["road"], ["Pavement"], ["Sky"])
BOXES: tuple[Box, ...] = ((6.0, 7.5, -0.7, 1.1, 1.2), (9.0, 9.4, -3.5, -2.8, 1.7), (4.5, 5.0, 1.6, 1.9, 0.4))
GRID = GridSettings(resolution=0.1, near=-4.0, length=18.0, half_width=7.0, max_range=14.0)
SCAN = ScanSettings(-math.pi, math.pi - math.radians(0.5), math.radians(0.5), range_max=14.0)
UNSEEN, MIXED = 254, 253


def view_of(camera: Camera, **settings: Any) -> GroundView:
    return GroundView(Lens.of(camera.info()), posed(camera), ROLES, **{"grid": GRID, "scan": SCAN, **settings})


def truth(camera: Camera, labels: Any) -> Any:
    """For each cell what the ray to its centre meets; MIXED where the pixels around see several classes."""
    centres = cell_centres(GRID)
    points = np.concatenate([centres, np.zeros((len(centres), 1))], axis=1)
    met = cast(points - camera.position, camera.position, BOXES)
    x, y = np.nan_to_num(camera.project(points), nan=-9.0).T
    rows, columns = camera.size
    apart = np.minimum(np.minimum(x, columns - 1 - x), np.minimum(y, rows - 1 - y))
    plain = cv2.erode(labels, np.ones((3, 3))) == cv2.dilate(labels, np.ones((3, 3)))
    inner = plain[np.clip(np.round(y), 0, rows - 1).astype(int), np.clip(np.round(x), 0, columns - 1).astype(int)]
    met[~inner] = MIXED
    met[np.abs(apart + 0.5) < 1e-6] = MIXED
    met[(apart < -0.5) | (np.hypot(*centres.T) > GRID.max_range)] = UNSEEN
    return met.reshape(GRID.shape)


def footprint(camera: Camera, contacts: Any) -> Any:
    """The diagonal, in metres, of each contact's pixel on the ground."""
    corners = contacts[:, :8].reshape(-1, 4, 2)
    return np.linalg.norm(corners.max(axis=1) - corners.min(axis=1), axis=1)


def apart_from_boxes(points: Any) -> Any:
    """How far points (n, 2) are from the nearest box's outline, inside or out."""
    gaps = []
    for x0, x1, y0, y1, _ in BOXES:
        dx = np.maximum(x0 - points[:, 0], points[:, 0] - x1)
        dy = np.maximum(y0 - points[:, 1], points[:, 1] - y1)
        gaps.append(np.where((dx < 0) & (dy < 0), -np.maximum(dx, dy), np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))))
    return np.min(gaps, axis=0)


@pytest.mark.parametrize("name", CAMERAS)
def test_cells_are_what_the_ray_to_their_centre_meets(name: str) -> None:
    camera = CAMERAS[name]
    labels = picture(camera, BOXES)
    view = view_of(camera)
    cells, met = view.grid(labels), truth(camera, labels)
    plain = view.grid(labels, np.empty((0, 9), np.float32))
    for label, value in ((ROAD, 0), (PAVEMENT, 100), (BOX, -1), (UNSEEN, -1)):
        assert (met == label).sum() > 50 or (name in ("down", "upright") and label in (PAVEMENT, BOX))
        assert (plain[met == label] == value).all()
    # Obstacles only add: what they cover is the ground at their outlines, to a pixel and half a cell.
    marked = cells != plain
    assert (cells[marked] == 100).all()
    contacts = view.contacts(labels)
    points = cell_centres(GRID).reshape(*GRID.shape, 2)[marked]
    allowed = footprint(camera, contacts).max() + 0.08
    assert (apart_from_boxes(points) < allowed).mean() > 0.99


@pytest.mark.parametrize("name", CAMERAS)
def test_contacts_lie_on_the_outlines_of_things_to_a_pixel(name: str) -> None:
    camera = CAMERAS[name]
    contacts = view_of(camera).contacts(picture(camera, BOXES))
    found = contacts[contacts[:, 8] == OBSTACLE]
    middle = np.stack([found[:, [0, 2]].mean(axis=1), found[:, [1, 3]].mean(axis=1)], axis=1)
    assert len(found) > 10
    # The foot of an upright edge may leave a stray within a few pixels.
    assert (apart_from_boxes(middle) < footprint(camera, found)).mean() > 0.99


@pytest.mark.parametrize("name", CAMERAS)
def test_nothing_behind_an_obstacle_is_free(name: str) -> None:
    camera = CAMERAS[name]
    labels = picture(camera, BOXES)
    cells, met = view_of(camera).grid(labels), truth(camera, labels)
    assert not (cells[met == BOX] == 0).any()


@pytest.mark.parametrize("name", CAMERAS)
def test_ranges_are_the_distances_of_near_faces_to_a_pixel(name: str) -> None:
    camera = CAMERAS[name]
    labels = picture(camera, BOXES)
    view = view_of(camera)
    contacts = view.contacts(labels).copy()
    ranges = view.scan(labels, contacts)
    angles = SCAN.angle_min + SCAN.increment * np.arange(SCAN.count)
    fine = angles[:, None] + np.linspace(-0.5, 0.5, 21) * SCAN.increment
    true = np.min([distance(fine, box) for box in BOXES], axis=0)
    low, high = true.min(axis=1), true.max(axis=1)
    middle = np.stack([contacts[:, 0:8:2].mean(axis=1), contacts[:, 1:8:2].mean(axis=1)], axis=1)
    sizes = footprint(camera, contacts)
    checked = 0
    for place in np.flatnonzero(np.isfinite(high)):
        foot = np.array([low[place] * math.cos(angles[place]), low[place] * math.sin(angles[place]), 0.0])
        x, y = camera.project(foot[None])[0]
        rows, columns = camera.size
        if not (2 <= x <= columns - 3 and 2 <= y <= rows - 3):
            continue
        hidden = cast(foot[None] * 0.995 - camera.position + [0, 0, 0.01], camera.position, BOXES)[0] == BOX
        if hidden:
            continue
        size = sizes[np.argmin(np.linalg.norm(middle - foot[:2], axis=1))]
        assert low[place] - size <= ranges[place] <= high[place] + size + 0.02
        checked += 1
    assert checked > 3
    clear = np.isinf(ranges)
    assert not (
        clear & np.isfinite(high) & (high < 13) & np.isin(np.arange(SCAN.count), _in_view(camera, angles))
    ).any()
    # A sector that a box only cuts, or whose contact is at the border, may be clear; no other.
    assert np.isinf(high[clear]).mean() > 0.95


def _in_view(camera: Camera, angles: Any) -> Any:
    """The sectors whose ground at every distance up to the scan's range is in the picture."""
    rows, columns = camera.size
    reach = np.linspace(4, 13, 30)
    points = np.stack(
        [np.outer(np.cos(angles), reach), np.outer(np.sin(angles), reach), np.zeros((len(angles), 30))], -1
    )
    x, y = np.nan_to_num(camera.project(points.reshape(-1, 3)), nan=-9.0).T
    inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
    return np.flatnonzero(inside.reshape(len(angles), 30).all(axis=1))
