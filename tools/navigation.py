"""Write the tables and the picture of docs/navigation.md: what flat-ground projection resolves, errs by, and shows.

`--check` writes nothing and fails if the tables are not what the geometry says; `--time` measures.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.frame import Image
from rtseg.messages import records as messages
from rtseg.navigation.camera import Lens, Pose
from rtseg.navigation.ground import GroundView
from rtseg.navigation.settings import GridSettings, ScanSettings, roles
from rtseg.packages.spec import ModelSpec
from rtseg.sources._drive import DriveCamera, DriveScene

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1080, 1920)
DISTANCES = (5.0, 10.0, 20.0, 30.0, 40.0)
FRAME, SHOWN, CELL = 280, (720, 1280), 4
"""The frame of the picture, its size, and the pixels per cell of the grid beside it, before both are made smaller."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def resolution() -> str:
    """The ground that one pixel covers, straight ahead of the camera of the synthetic drive at 1080p."""
    camera = DriveCamera.for_size(SIZE)
    rows = []
    for distance in DISTANCES:
        x, y = camera.project([(0.0, distance, 0.0)])[0]
        near, far, left, right = camera.ground([(x, y + 0.5), (x, y - 0.5), (x - 0.5, y), (x + 0.5, y)])
        rows.append([f"{distance:.0f} m", f"{far[1] - near[1]:.3f} m", f"{right[0] - left[0]:.4f} m"])
    nearest = camera.ground([(camera.centre_x, SIZE[0] - 0.5)])[0, 1]
    head = ["distance", "one pixel along", "one pixel across"]
    return f"{table(head, rows)}\n\nThe nearest ground in view is at {nearest:.2f} m."


def pitch() -> str:
    """Where things seem to be when the camera pitches by one degree that the pose does not know of."""
    height, degree = DriveCamera.for_size(SIZE).height, math.radians(1)
    rows = []
    for distance in DISTANCES:
        depression = math.atan2(height, distance)
        seems = [
            height / math.tan(depression + turn) if depression + turn > 0 else math.inf for turn in (-degree, degree)
        ]
        rows.append([f"{distance:.0f} m", *(f"{place:.1f} m ({place - distance:+.1f})" for place in seems)])
    return table(["true distance", "nose down by 1° (braking)", "nose up by 1°"], rows)


def page(text: str) -> str:
    """The page with its tables made anew."""
    for name, made in (("resolution", resolution()), ("pitch", pitch())):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda found, made=made: found[1] + made + "\n" + found[2],
            text,
            flags=re.S,
        )
    return text


def street(size: tuple[int, int], grid: GridSettings) -> tuple[DriveScene, GroundView]:
    """The synthetic drive at a size, and the view that its camera has of the ground."""
    scene = DriveScene(size, 30.0, 0)
    camera = scene.camera
    k = np.array([camera.focal, 0.0, camera.centre_x, 0.0, camera.focal, camera.centre_y, 0.0, 0.0, 1.0])
    region = messages.build(
        "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    info = messages.build(
        messages.CAMERA_INFO, header=messages.header(0, "camera"), height=size[0], width=size[1],
        distortion_model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3).reshape(-1), p=np.insert(k, [3, 6, 9], 0.0),
        binning_x=0, binning_y=0, roi=region,
    )  # fmt: skip
    table = roles(scene.classes, ["Road"], ["Pavement"], ["Sky"])
    pose = Pose.mounted(camera.height, camera.tilt)
    return scene, GroundView(Lens.of(info), pose, table, grid, ScanSettings())


def picture() -> Image:
    """The overlay of a frame of the synthetic drive, and beside it its grid from above with the scan in red."""
    settings = GridSettings(length=SHOWN[0] / CELL * 0.1, half_width=8.0, max_range=25.0)
    scene, view = street(SHOWN, settings)
    image, labels = scene.render(FRAME)
    cells = view.grid(labels)
    colours = np.full((*cells.shape, 3), 128, np.uint8)
    colours[cells == 0], colours[cells == 100] = 255, 0
    # Seen from above: forward is up and left stays left.
    above = cv2.rotate(colours[::-1], cv2.ROTATE_90_COUNTERCLOCKWISE)
    above = cv2.resize(above, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)
    ranges = view.scan(labels)
    angles = view.scan_settings.angle_min + view.scan_settings.increment * np.arange(len(ranges))
    for angle, distance in zip(angles[np.isfinite(ranges)], ranges[np.isfinite(ranges)], strict=True):
        x, y = distance * math.cos(angle), distance * math.sin(angle)
        pixel = (settings.half_width - y) / 0.1 * CELL, above.shape[0] - x / 0.1 * CELL
        cv2.circle(above, (round(pixel[0]), round(pixel[1])), 5, (40, 40, 230), -1, cv2.LINE_AA)
    spec = ModelSpec(name="drive", classes=scene.classes)
    overlay = Renderer(spec, resolve_palette("camvid", spec), View()).draw(image, labels)
    both = np.concatenate([overlay, above], axis=1)
    return cv2.resize(both, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def times(count: int = 200) -> str:
    """Median milliseconds of each step at 1080p with a grid of 20 m by 20 m at 0.1 m, over some frames of the drive."""
    scene, view = street(SIZE, GridSettings())
    frames = [scene.render(index)[1] for index in range(0, 300, 30)]
    spent: dict[str, list[float]] = {"contacts": [], "grid": [], "scan": [], "all": [], "new pose": []}
    for index in range(count + 1):
        labels = frames[index % len(frames)]
        marks = [time.perf_counter()]
        contacts = view.contacts(labels)
        marks.append(time.perf_counter())
        view.grid(labels, contacts)
        marks.append(time.perf_counter())
        view.scan(labels, contacts)
        marks.append(time.perf_counter())
        moved = GroundView(view.lens, view.pose, view.roles)
        marks.append(time.perf_counter())
        if index == 0:  # compiling
            continue
        steps = [*np.diff(marks[:4]), marks[3] - marks[0], marks[4] - marks[3]]
        for name, step in zip(spent, steps, strict=True):
            spent[name].append(1000 * step)
        del moved
    return ", ".join(f"{name} {statistics.median(values):.2f} ms" for name, values in spent.items())


def main() -> int:
    """Write the page's tables and its picture, or check the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the tables are not up to date")
    parser.add_argument("--time", action="store_true", help="measure instead, and print medians")
    arguments = parser.parse_args()
    if arguments.time:
        print(times())
        return 0
    path = ROOT / "docs" / "navigation.md"
    text = path.read_text(encoding="utf-8")
    if arguments.check:
        if page(text) != text:
            print(f"{path} is not up to date: run tools/navigation.py", file=sys.stderr)
            return 1
        return 0
    path.write_text(page(text), encoding="utf-8")
    cv2.imwrite(str(ROOT / "docs" / "navigation.png"), picture(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return 0


if __name__ == "__main__":
    sys.exit(main())
