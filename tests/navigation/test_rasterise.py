"""Cells and sectors that single contacts mark."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtseg.navigation.rasterise import sectors, stamp


def contact(*corners: tuple[float, float], kind: int = 3) -> np.ndarray:
    """Near left, near right, far left, far right."""
    return np.array([*np.ravel(corners), kind], np.float32)


def test_a_contact_marks_every_cell_that_its_pixel_covers() -> None:
    cells = np.full(40 * 200, -1, np.int8)
    square = contact((10.05, 0.25), (10.05, -0.15), (11.05, 0.25), (11.05, -0.15))
    stamp(square, cells, 40, 200, 0.0, -2.0, 0.1, 20.0, 90)
    rows, columns = np.nonzero(cells.reshape(40, 200) == 90)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 22, 100, 110)
    assert len(rows) >= 5 * 10
    assert (cells != -1).sum() == len(rows)


def test_nothing_is_marked_beyond_reach_outside_the_grid_or_for_flat_ground() -> None:
    cells = np.full(40 * 200, -1, np.int8)
    for square in (
        contact((15.0, 0.1), (15.0, 0.0), (15.1, 0.1), (15.1, 0.0)),
        contact((5.0, 3.1), (5.0, 3.0), (5.1, 3.1), (5.1, 3.0)),
        contact((-5.0, 0.1), (-5.0, 0.0), (-5.1, 0.1), (-5.1, 0.0)),
        contact((5.0, 0.1), (5.0, 0.0), (5.1, 0.1), (5.1, 0.0), kind=2),
    ):
        stamp(square, cells, 40, 200, 0.0, -2.0, 0.1, 12.0, 90)
    assert (cells == -1).all()


@pytest.mark.parametrize(
    ("first", "count", "left", "right", "expected"),
    [
        (-180.0, 360, -90.2, -91.3, [89, 90]),
        (0.0, 360, -90.2, -91.3, [269, 270]),
        (0.0, 360, 1.2, -1.2, [0, 1, 359]),
        (-180.0, 361, -178.8, 178.8, [0, 1, 359, 360]),
        (-45.0, 91, 80.0, 79.0, []),
    ],
)
def test_a_contact_fills_the_sectors_between_its_edges(
    first: float, count: int, left: float, right: float, expected: list[int]
) -> None:
    ranges = np.full(count, np.inf, np.float32)
    (a, b), (c, d) = ((4 * math.cos(math.radians(angle)), 4 * math.sin(math.radians(angle))) for angle in (left, right))
    sectors(contact((a, b), (c, d), (a, b), (c, d)), ranges, math.radians(first), math.radians(1.0), 20.0, 3)
    assert np.flatnonzero(np.isfinite(ranges)).tolist() == expected
    assert np.allclose(ranges[expected], 4.0, atol=0.01)


def test_the_nearest_contact_of_the_kind_asked_for_wins() -> None:
    ranges = np.full(3, np.inf, np.float32)
    both = np.concatenate(
        [contact((x, 0.01), (x, -0.01), (x, 0), (x, 0), kind=kind) for x, kind in ((9, 3), (6, 3), (7, 3), (2, 2))]
    )
    sectors(both, ranges, -0.1, 0.1, 20.0, 3)
    assert ranges.tolist() == [np.inf, 6.0, np.inf]
    sectors(both, ranges, -0.1, 0.1, 20.0, 2)
    assert ranges[1] == 2.0
