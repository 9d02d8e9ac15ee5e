"""The colours of rtseg/drawing/palettes/street.txt: `street_palette.py` reports their distances, `--search` looks anew.

Hues are kept where people expect them; within these ranges simulated annealing makes the least CIEDE2000 difference of
any two classes large, blended at half opacity on grey road, for normal vision and for both red-green dichromacies.
CamVid's eleven classes come first; what Cityscapes has beyond them is then fitted in between.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from colour_difference import VISIONS, Floats, blended, ciede2000, lab, seen

from rtseg.drawing.palette import published

ALPHA = 0.5
ROADS = (90.0, 110.0, 130.0)
"""Grey levels of asphalt in a picture, from a dull day to sunshine."""
TINTS = (14.0, 20.0)
"""Differences that count as equally good: with red-green dichromacy, which leaves less room, and with normal vision."""
Range = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
FIRST: dict[str, Range] = {
    "sky": ((195, 210), (0.35, 1), (0.9, 1)),
    "building": ((0, 40), (0.3, 1), (0.3, 0.75)),
    "pole": ((0, 360), (0, 0.12), (0.9, 1)),
    "road": ((250, 285), (0.4, 0.85), (0.7, 1)),
    "sidewalk": ((295, 330), (0.2, 1), (0.8, 1)),
    "vegetation": ((90, 150), (0.6, 1), (0.35, 0.9)),
    "traffic sign": ((48, 62), (0.8, 1), (0.9, 1)),
    "fence": ((0, 360), (0, 1), (0.15, 0.6)),
    "car": ((10, 35), (0.9, 1), (0.93, 1)),
    "person": ((330, 359), (0.85, 1), (0.7, 1)),
    "rider": ((150, 190), (0.5, 1), (0.5, 1)),
}
"""Hue in degrees, saturation and value of CamVid's classes, in its order."""
THEN: dict[str, Range] = {
    "wall": ((0, 60), (0, 1), (0.2, 0.9)),
    "traffic light": ((20, 60), (0.3, 1), (0.6, 1)),
    "terrain": ((60, 110), (0.5, 1), (0.4, 1)),
    "truck": ((0, 360), (0.3, 1), (0.25, 1)),
    "bus": ((0, 360), (0.3, 1), (0.25, 1)),
    "train": ((0, 360), (0.3, 1), (0.25, 1)),
    "motorcycle": ((0, 360), (0.3, 1), (0.25, 1)),
    "bicycle": ((0, 360), (0.3, 1), (0.25, 1)),
    "lane marking": ((40, 60), (0.1, 0.6), (0.8, 1)),
}


def distances(colors: Floats, road: float, vision: str) -> Floats:
    """The (n, n) differences of RGB colours (n, 3) on a road; of a colour from itself infinity."""
    shown = lab(seen(blended(colors, ALPHA, road), vision))
    table = ciede2000(shown[:, None], shown[None])
    np.fill_diagonal(table, np.inf)
    return table


def rgb(ranges: Sequence[Range], point: Floats) -> Floats:
    """RGB (n, 3), whole numbers, of places (n, 3) from 0 to 1 in the ranges."""
    rows = []
    for limits, place in zip(ranges, point, strict=True):
        hue, saturation, value = (low + share * (high - low) for (low, high), share in zip(limits, place, strict=True))
        rows.append(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))
    return np.rint(255 * np.array(rows))


def goodness(colors: Floats, fixed: int) -> float:
    """The least difference, each vision by its TINTS, on the middle road; those of the `fixed` first are given."""
    least = []
    for vision in VISIONS:
        table = distances(colors, ROADS[1], vision)[fixed:]
        rows = table.min(1) / TINTS[vision == "normal"]
        least.append(rows.min() + 0.02 * np.minimum(rows, 1.5).mean())
    return float(min(least) + 0.05 * np.mean(least))


def search(ranges: Mapping[str, Range], given: Floats, steps: int, rng: np.random.Generator) -> Floats:
    """Colours for `ranges` beside the `given` ones, by annealing one class at a time."""
    limits = list(ranges.values())
    point = rng.random((len(limits), 3))

    def judge(place: Floats) -> float:
        return goodness(np.concatenate([given, rgb(limits, place)]), len(given))

    now = judge(point)
    best, best_point = now, point
    for step in range(steps):
        left = 1 - step / steps
        tried = point.copy()
        row = rng.integers(len(limits))
        tried[row] = np.clip(tried[row] + rng.normal(0, 0.02 + 0.3 * left, 3), 0, 1)
        score = judge(tried)
        if score > now or rng.random() < np.exp((score - now) / (1e-3 + 0.05 * left**2)):
            point, now = tried, score
        if now > best:
            best, best_point = now, point
    return rgb(limits, best_point)


def report(names: Sequence[str], colors: Floats) -> None:
    """Print the least differences for each vision, over all roads."""
    for vision in VISIONS:
        found = []
        for road in ROADS:
            table = distances(colors, road, vision)
            a, b = np.unravel_index(table.argmin(), table.shape)
            found.append((float(table[a, b]), names[a], names[b]))
        least, first, second = min(found)
        print(f"{vision:12}  {least:5.1f}  {first} / {second}")


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or measure what the package holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--search", action="store_true", help="look for colours and print them as a palette file")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args(argv)
    names = [*FIRST, *THEN]
    if args.search:
        rng = np.random.default_rng(args.seed)
        first = search(FIRST, np.empty((0, 3)), args.steps, rng)
        colors = np.concatenate([first, search(THEN, first, args.steps, rng)])
        for name, row in zip(names, colors.astype(int), strict=True):
            print(*row, name)
    else:
        rows, known = published("street")
        colors = np.array([rows[known.index(name)] for name in names], float)
    camvid = np.array(published("camvid")[0], float)
    for title, some in (
        ("CamVid's own colours", camvid), ("CamVid's classes", colors[: len(FIRST)]),
        ("all classes", colors),
    ):  # fmt: skip
        print(f"# {title}: least CIEDE2000 at alpha {ALPHA} on roads of grey {', '.join(f'{g:.0f}' for g in ROADS)}")
        report(names[: len(some)], some)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
