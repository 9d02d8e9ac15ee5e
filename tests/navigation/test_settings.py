"""Classes to roles, and settings that cannot be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rtseg.errors import ConfigError
from rtseg.navigation.settings import DRIVABLE, FLAT, OBSTACLE, UNKNOWN, GridSettings, ScanSettings, roles
from tests.navigation.scenes import CLASSES


def test_roles_are_by_name_in_any_case() -> None:
    table = roles(CLASSES, ["ROAD"], ["pavement"], ["Sky"])
    assert table[:5].tolist() == [UNKNOWN, DRIVABLE, FLAT, OBSTACLE, UNKNOWN]
    assert table[255] == UNKNOWN
    for arguments, message in (
        ((["raod"],), "no class 'raod' in this model: did you mean 'Road'"),
        ((["Road"], ["road"]), "named twice"),
        (([],), "no class is drivable"),
    ):
        with pytest.raises(ConfigError, match=message):
            roles(CLASSES, *arguments)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (GridSettings, {"resolution": 0.0}, "grid resolution is 0.0"),
        (GridSettings, {"resolution": 1e-4}, "coarser resolution"),
        (GridSettings, {"near": math.nan}, "grid near"),
        (GridSettings, {"flat": 101}, "expected 0 to 100"),
        (ScanSettings, {"increment": -1.0}, "scan increment"),
        (ScanSettings, {"range_min": 30.0}, "range_min is 30.0"),
        (ScanSettings, {"angle_min": 2.0}, "at most one turn upwards"),
        (ScanSettings, {"increment": 1e-6}, "larger increment"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: Any, fields: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**fields)
