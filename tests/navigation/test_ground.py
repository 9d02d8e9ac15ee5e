"""Free space and ranges against label maps that were cast ray by ray, and against the synthetic drive."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.errors import ConfigError
from rtseg.messages import records as messages
from rtseg.navigation.camera import Lens
from rtseg.navigation.contacts import AHEAD
from rtseg.navigation.ground import GroundView, cell_centres, grid_bytes, scan_bytes
from rtseg.navigation.settings import OBSTACLE, GridSettings, ScanSettings, roles
from tests.navigation.scenes import (
    BOX,
    CAMERAS,
    CLASSES,
    PAVEMENT,
    PLAIN,
    ROAD,
    SKY,
    Box,
    Camera,
    cast,
    distance,
    picture,
)
from tests.navigation.test_camera import posed

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
    size = footprint(camera, contacts)[contacts[:, 8] == OBSTACLE].max()
    assert (apart_from_boxes(points) < size + 0.08).mean() > 0.9


@pytest.mark.parametrize("name", CAMERAS)
def test_contacts_lie_on_the_outlines_of_things_to_a_pixel(name: str) -> None:
    camera = CAMERAS[name]
    contacts = view_of(camera).contacts(picture(camera, BOXES))
    found = contacts[contacts[:, 8] == OBSTACLE]
    middle = np.stack([found[:, [0, 2]].mean(axis=1), found[:, [1, 3]].mean(axis=1)], axis=1)
    assert len(found) > 10
    size, apart = footprint(camera, found), apart_from_boxes(middle)
    # The foot of an upright edge may leave strays within AHEAD pixels.
    assert (apart < size).mean() > 0.94
    assert (apart < AHEAD * size).all()


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
    assert np.isfinite(high[clear]).sum() <= 0.05 * clear.sum()


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


@pytest.mark.parametrize("steps", [-170, -37, 1, 90, 255])
def test_a_camera_that_is_turned_sees_the_same_scan_turned(steps: int) -> None:
    labels = picture(PLAIN, BOXES)
    straight = view_of(PLAIN).scan(labels)
    turned = view_of(replace(PLAIN, yaw=steps * 0.5)).scan(labels)
    moved = np.roll(straight, steps)
    same = np.isclose(turned, moved, atol=1e-4, equal_nan=True)
    # A contact at the very edge of a sector may fall to either side in rounding.
    assert same.mean() > 0.99
    assert np.isfinite(straight).sum() > 40


def test_a_picture_of_twice_the_size_says_the_same_more_finely() -> None:
    large = replace(PLAIN, size=(480, 640), focal=2 * PLAIN.focal)
    small_labels, large_labels = picture(PLAIN, BOXES), picture(large, BOXES)
    small, fine = view_of(PLAIN), view_of(large)
    plain = (truth(PLAIN, small_labels) != MIXED) & (truth(large, large_labels) != MIXED)
    nothing = np.empty((0, 9), np.float32)
    one, two = small.grid(small_labels, nothing), fine.grid(large_labels, nothing)
    edge = (truth(PLAIN, small_labels) == UNSEEN) != (truth(large, large_labels) == UNSEEN)
    assert plain.mean() > 0.8
    assert np.array_equal(one[plain & ~edge], two[plain & ~edge])
    ranges, finer = small.scan(small_labels), fine.scan(large_labels)
    both = np.isfinite(ranges) & np.isfinite(finer)
    # One coarse pixel's ground: the square of the distance over height and focal length.
    ranges, finer = ranges[both], finer[both]
    assert (np.abs(ranges - finer) < 1.2 * finer**2 / (PLAIN.height * PLAIN.focal)).mean() > 0.97
    assert both.sum() > 40


def test_an_obstacle_at_the_border_is_at_least_as_near_as_the_border() -> None:
    labels = np.full(PLAIN.size, ROAD, np.uint8)
    labels[100:, 150:170] = BOX
    view = view_of(PLAIN)
    ranges = view.scan(labels)
    bottom = PLAIN.looks()[-1, 160] + (PLAIN.looks()[-1, 160] - PLAIN.looks()[-2, 160]) / 2
    assert ranges[360] == pytest.approx(-1.5 / bottom[2] * math.hypot(bottom[0], bottom[1]), rel=1e-3)


def test_labels_that_leave_it_open_are_neither_free_nor_clear() -> None:
    view = view_of(PLAIN)
    road = np.full(PLAIN.size, ROAD, np.uint8)
    assert np.isposinf(view.scan(road)[355:366]).all()
    assert np.isnan(view.scan(road)[[0, 180, 540]]).all()
    for label in (255, SKY):
        labels = road.copy()
        labels[150:170, 155:165] = label
        assert np.isnan(view.scan(labels)[359:362]).all()
        assert np.isposinf(view.scan(labels)[350])
        x, y = PLAIN.project(np.array([[4.05, 0.05, 0.0]]))[0]
        row, column = round((0.05 + 7.0) / 0.1 - 0.5), round((4.05 + 4.0) / 0.1 - 0.5)
        labels[round(y), round(x)] = label
        assert view.grid(labels)[row, column] == -1
        assert view.grid(road)[row, column] == 0


def test_the_end_of_the_road_is_an_obstacle_where_that_is_asked_for() -> None:
    labels = picture(PLAIN)
    angles = SCAN.angle_min + SCAN.increment * np.arange(SCAN.count)
    assert not np.isfinite(view_of(PLAIN).scan(labels)).any()
    ranges = view_of(PLAIN, scan=replace(SCAN, flat=True)).scan(labels)
    found = np.isfinite(ranges)
    true = 5.0 / np.abs(np.sin(angles[found]))
    assert found.sum() > 10
    assert (np.abs(ranges[found] - true) < 1.5 * true**2 / (PLAIN.height * PLAIN.focal)).all()


def test_what_is_nearer_than_range_min_is_too_close() -> None:
    labels = picture(PLAIN, BOXES)
    ranges = view_of(PLAIN, scan=replace(SCAN, range_min=7.0)).scan(labels)
    assert np.isneginf(ranges[360])
    assert 9.0 < ranges[322] < 10.0


def test_every_cell_along_a_far_wall_is_marked() -> None:
    # At 12 m a row of this small picture covers a metre: its pixels must not leave gaps between cells.
    small = replace(PLAIN, size=(60, 80), focal=70.0)
    cells = view_of(small).grid(picture(small, ((12.0, 12.5, -4.0, 4.0, 2.0),)))
    wall = cells[40:100, 140:].max(axis=1)
    assert (wall == 100).all()


def test_noise_finds_room_and_is_found_twice_alike() -> None:
    noise = np.random.default_rng(5).integers(0, 4, PLAIN.size).astype(np.uint8)
    view = view_of(PLAIN)
    first = view.contacts(noise).copy()
    assert len(first) > 4096
    assert np.array_equal(first, view.contacts(noise))


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="labels are 10x20, but CameraInfo is of 320x240"):
        view_of(PLAIN).grid(np.zeros((20, 10), np.uint8))


def test_the_grid_message_is_row_major_from_its_lower_right_corner() -> None:
    settings = GridSettings(resolution=0.5, near=1.0, length=2.0, half_width=1.5)
    cells = np.arange(24, dtype=np.int8).reshape(settings.shape)
    message = messages.decode(messages.OCCUPANCY_GRID, grid_bytes(cells, settings, 7_000_000_009, "base"))
    assert (message.info.width, message.info.height, round(message.info.resolution, 6)) == (4, 6, 0.5)
    origin = message.info.origin
    assert (origin.position.x, origin.position.y, origin.orientation.w) == (1.0, -1.5, 1.0)
    assert (message.header.frame_id, messages.stamp_ns(message)) == ("base", 7_000_000_009)
    assert message.info.map_load_time == message.header.stamp
    assert message.data.dtype == np.int8
    # The cell whose centre is (2.25, 0.25) by the message's own account.
    column, row = int((2.25 - 1.0) / 0.5), int((0.25 + 1.5) / 0.5)
    assert cell_centres(settings)[row * 4 + column].tolist() == [2.25, 0.25]
    assert message.data[row * 4 + column] == cells[row, column]


def test_the_scan_message_says_its_own_angles() -> None:
    settings = ScanSettings(-1.0, 1.0, 0.5, range_min=0.25, range_max=12.0)
    ranges = np.array([1.0, np.inf, np.nan, -np.inf, 2.0], np.float32)
    message = messages.decode(messages.LASER_SCAN, scan_bytes(ranges, settings, 5, "base", 0.1))
    assert (message.angle_min, message.angle_max, message.angle_increment) == (-1.0, 1.0, 0.5)
    assert (message.range_min, message.range_max, message.scan_time) == (0.25, 12.0, np.float32(0.1))
    assert (message.time_increment, message.intensities.size) == (0.0, 0)
    np.testing.assert_array_equal(message.ranges, ranges)


@given(
    st.floats(-1.5, 1.5), st.floats(-3.1, 3.1), st.floats(-3.1, 3.1), st.floats(0.05, 4), st.integers(0, 2**31),
    st.sampled_from(["plain", "barrel", "fisheye"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_for_any_pose_and_labels_only_road_is_free(
    tilt: float, yaw: float, roll: float, height: float, seed: int, name: str
) -> None:
    camera = replace(
        CAMERAS[name], size=(40, 56), focal=40.0, height=height, x=0.3, y=-0.2,
        tilt=math.degrees(tilt), yaw=math.degrees(yaw), roll=math.degrees(roll),
    )  # fmt: skip
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 1, 1, 2, 3, 255], np.uint8), camera.size)
    area = GridSettings(resolution=0.25, near=-5.0, length=10.0, half_width=5.0, max_range=6.0)
    view = view_of(camera, grid=area, scan=replace(SCAN, range_max=6.0))
    cells, ranges = view.grid(labels).reshape(-1), view.scan(labels)
    assert set(np.unique(cells)) <= {-1, 0, 100}
    free = cell_centres(area)[cells == 0]
    pixels = camera.project(np.concatenate([free, np.zeros((len(free), 1))], axis=1))
    inside = np.abs(pixels - np.round(pixels)) < 0.4999
    columns, rows = np.clip(np.round(np.nan_to_num(pixels, nan=-1)), 0, [55, 39]).astype(int).T
    assert (labels[rows, columns] == ROAD)[inside.all(axis=1)].all()
    assert np.isfinite(pixels).all()
    finite = ranges[np.isfinite(ranges)]
    assert ((finite >= 0) & (finite <= 6.0)).all()
    assert not np.isneginf(ranges).any()


def test_specks_are_no_obstacles_where_more_pixels_are_asked_for() -> None:
    camera = CAMERAS["level"]
    labels = picture(camera, ())
    row, column = camera.size[0] * 3 // 4, camera.size[1] // 2
    labels[row - 1 : row + 1, column : column + 2] = BOX  # four pixels
    labels[row - 11 : row + 1, column + 40 : column + 43] = BOX  # a post three pixels wide
    found = [view_of(camera, least=least).contacts(labels) for least in (0, 8, 13)]
    every, fewer, none = (contacts[contacts[:, 8] == OBSTACLE] for contacts in found)
    assert (len(every), len(fewer), len(none)) == (5, 3, 0)
    np.testing.assert_array_equal(fewer, every[-3:])
    assert (view_of(camera, least=8).grid(labels) == 100).sum() < (view_of(camera).grid(labels) == 100).sum()
