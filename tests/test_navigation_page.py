"""docs/navigation.md: its tables are what the geometry says, its defaults those of the code, its picture is current."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import yaml

from rtseg.navigation.settings import GridSettings, ScanSettings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "navigation.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("navigation_tool", ROOT / "tools" / "navigation.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_tables_are_what_the_geometry_says(tool: ModuleType) -> None:
    assert tool.page(PAGE) == PAGE, "run tools/navigation.py"
    # By hand: at distance d a row of pixels covers about d² / (h f), a column d / f.
    focal = 960 / math.tan(math.radians(30))
    found = re.search(r"\| 20 m \| ([\d.]+) m \| ([\d.]+) m \|", PAGE)
    assert found
    assert float(found[1]) == pytest.approx(400 / 1.5 / focal, rel=0.02)
    assert float(found[2]) == pytest.approx(20 / focal, rel=0.02)
    nose_down = 1.5 / math.tan(math.atan2(1.5, 20) - math.radians(1))
    assert f"| 20 m | {nose_down:.1f} m (+{nose_down - 20:.1f}) |" in PAGE


def test_the_defaults_are_those_of_the_code() -> None:
    grid, scan = GridSettings(), ScanSettings()
    text = " ".join(PAGE.split())
    assert (
        f"`resolution` {grid.resolution} m, `near` {grid.near:.0f} m, `length` {grid.length:.0f} m, `half_width` "
        f"{grid.half_width:.0f} m, `max_range` {grid.max_range:.0f} m"
    ) in text
    assert (scan.angle_min, scan.angle_max) == (-math.pi / 2, math.pi / 2)
    assert f"`increment` {math.degrees(scan.increment):.1f}°, `range_min` {scan.range_min:.0f} m" in text
    assert f"`range_max` {scan.range_max:.0f} m" in text


def test_the_costmap_keeps_clear_of_what_the_scan_does_not_say() -> None:
    found = re.search(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    assert found
    costmap = yaml.safe_load(found[1])["local_costmap"]["local_costmap"]["ros__parameters"]
    camera = costmap["obstacles"]["camera"]
    assert costmap["rolling_window"]
    assert camera["inf_is_valid"]
    assert camera["obstacle_max_range"] < camera["raytrace_max_range"] < ScanSettings().range_max
    blind = re.search(r"The nearest ground in view is at ([\d.]+) m", PAGE)
    assert blind
    assert camera["raytrace_min_range"] > float(blind[1])
    assert set(costmap["plugins"]) <= set(costmap)


def test_the_picture_is_the_one_that_the_tool_makes(tool: ModuleType) -> None:
    kept = cv2.imread(str(ROOT / "docs" / "navigation.png"))
    assert (ROOT / "docs" / "navigation.png").stat().st_size < 200_000
    made = tool.picture()
    assert kept is not None
    assert kept.shape == made.shape
    assert float(np.abs(kept.astype(int) - made).mean()) < 1.0
