"""The street palette: its classes are told apart on a road, with normal vision and with red-green dichromacy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rtseg.drawing.palette import published
from tests.tool_modules import tool_modules

TOOLS = Path(__file__).resolve().parents[1] / "tools"
CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "sidewalk",
    "vegetation",
    "traffic sign",
    "fence",
    "car",
    "person",
    "rider",
)


@pytest.fixture(scope="module")
def tool() -> Iterator[Callable[[str], ModuleType]]:
    with tool_modules(TOOLS) as load:
        yield load


# Sharma, Wu and Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
# and mathematical observations", table 1.
PUBLISHED = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, 2.8361, -74.0200), (50.0, 0.0, -82.7485), 3.4412),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((50.0, 2.5, 0.0), (58.0, 24.0, 15.0), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_ciede2000_gives_the_published_differences(
    tool: Callable[[str], ModuleType], first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    a, b = np.array(first), np.array(second)
    ciede2000 = tool("colour_difference").ciede2000
    assert float(ciede2000(a, b)) == pytest.approx(expected, abs=5e-5)
    assert float(ciede2000(b, a)) == pytest.approx(expected, abs=5e-5)


def test_lab_of_known_colours(tool: Callable[[str], ModuleType]) -> None:
    rows = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]], float)
    wanted = [(100, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.19, -107.86), (0, 0, 0)]
    assert np.abs(tool("colour_difference").lab(rows) - wanted).max() < 0.03


def test_dichromats_see_greys_as_greys_and_red_and_green_alike(tool: Callable[[str], ModuleType]) -> None:
    module = tool("colour_difference")
    for vision in ("protanopia", "deuteranopia"):
        assert np.abs(module.seen(np.full((1, 3), 90.0), vision) - 90).max() < 0.5
        pair = np.array([[170.0, 100.0, 60.0], [110.0, 130.0, 60.0]])
        normal, dichromatic = (module.lab(module.seen(pair, name)) for name in ("normal", vision))
        assert module.ciede2000(*dichromatic) < 0.6 * module.ciede2000(*normal)


def least(tool: Callable[[str], ModuleType], names: tuple[str, ...], rows: list[tuple[int, ...]], vision: str) -> float:
    """The least difference of two classes at half opacity, on grey roads from dark to bright."""
    assert len(names) == len(rows)
    measure = tool("street_palette").distances
    return min(float(measure(np.array(rows, float), road, vision).min()) for road in (90, 100, 110, 120, 130))


def colors(names: tuple[str, ...]) -> list[tuple[int, ...]]:
    rows, known = published("street")
    return [rows[known.index(name)] for name in names]


@pytest.mark.parametrize(("vision", "bound"), [("normal", 18.0), ("protanopia", 12.0), ("deuteranopia", 12.0)])
def test_camvids_classes_are_told_apart_on_a_road(tool: Callable[[str], ModuleType], vision: str, bound: float) -> None:
    assert least(tool, CAMVID, colors(CAMVID), vision) >= bound
    assert least(tool, CAMVID, published("camvid")[0], vision) < 11  # what the bound is worth


@pytest.mark.parametrize(("vision", "bound"), [("normal", 9.0), ("protanopia", 6.0), ("deuteranopia", 6.0)])
def test_cityscapes_classes_are_told_apart_better_than_in_its_own_colours(
    tool: Callable[[str], ModuleType], vision: str, bound: float
) -> None:
    rows, names = published("cityscapes")
    assert least(tool, names, colors(names), vision) >= bound > least(tool, names, rows, vision)


def test_a_search_gives_the_same_colours_again_within_the_ranges(tool: Callable[[str], ModuleType]) -> None:
    module = tool("street_palette")
    ranges = {name: module.FIRST[name] for name in ("sky", "car", "road")}
    first, second = (module.search(ranges, np.empty((0, 3)), 60, np.random.default_rng(5)) for _ in range(2))
    assert (first == second).all()
    assert first[0, 2] > first[0, 0], "the sky is blue"
    assert first[1, 0] > first[1, 2], "the car is orange or red"


def test_the_report_of_the_tool(tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    assert tool("street_palette").main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].startswith("# CamVid's classes")
    assert float(lines[5].split()[1]) >= 18
