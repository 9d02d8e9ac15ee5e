"""The RViz configuration of the documentation shows what the node publishes, asked for as the node offers it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from rtseg.cli.main import make_parser
from rtseg.messages import records as messages
from rtseg.ros.outputs import OUTPUTS
from rtseg.ros.parameters import PARAMETERS

FOLDER = Path(__file__).resolve().parents[2] / "docs/ros"
CONFIG: dict[str, Any] = yaml.safe_load((FOLDER / "segmentation.rviz").read_text(encoding="utf-8"))
MANAGER = CONFIG["Visualization Manager"]
SHOWN = {display["Name"]: display for display in MANAGER["Displays"] if "Topic" in display}
KINDS = {
    "rviz_default_plugins/Image": messages.IMAGE,
    "rviz_default_plugins/Map": messages.OCCUPANCY_GRID,
    "rviz_default_plugins/LaserScan": messages.LASER_SCAN,
}
DEFAULTS: dict[str, Any] = {parameter.name: parameter.default for parameter in PARAMETERS}


def test_topics_and_types_are_those_of_the_outputs() -> None:
    node = make_parser().parse_args(["ros", "--image", "/camera/image_raw"]).name
    kinds = {f"/{node}/{output.topic}": output.kind for output in OUTPUTS}
    shown = {display["Topic"]["Value"]: KINDS[display["Class"]] for display in SHOWN.values()}
    assert shown == {topic: kinds[topic] for topic in shown}
    assert set(shown) == {f"/{node}/{name}" for name in ("overlay", "mask", "confidence", "free_space", "obstacles")}


def test_what_costs_the_node_extra_work_is_off() -> None:
    assert {name for name, display in SHOWN.items() if display["Enabled"]} == {"Free space", "Obstacles", "Overlay"}
    assert all(display["Enabled"] == display["Value"] for display in SHOWN.values())


@pytest.mark.parametrize("name", SHOWN)
def test_quality_of_service_is_what_the_node_offers(name: str) -> None:
    topic = SHOWN[name]["Topic"]
    assert DEFAULTS["output_reliability"] == topic["Reliability Policy"].lower().replace(" ", "_")
    assert (topic["Durability Policy"], topic["History Policy"]) == ("Volatile", "Keep Last")


def test_the_view_lies_over_the_grid_in_the_robot_frame() -> None:
    assert MANAGER["Global Options"]["Fixed Frame"] == DEFAULTS["robot_frame"]
    view, middle = MANAGER["Views"]["Current"], DEFAULTS["grid_near"] + DEFAULTS["grid_length"] / 2
    assert view["Class"] == "rviz_default_plugins/TopDownOrtho"
    assert (view["X"], view["Y"]) == (middle, 0)
    lines = next(display for display in MANAGER["Displays"] if display["Class"] == "rviz_default_plugins/Grid")
    assert lines["Offset"] == {"X": middle, "Y": 0, "Z": 0}
    assert lines["Plane Cell Count"] * lines["Cell Size"] == DEFAULTS["grid_length"] == 2 * DEFAULTS["grid_half_width"]
    # Pixels per metre: the grid fills the window's height and is not cut off.
    assert 0.75 < view["Scale"] * DEFAULTS["grid_length"] / CONFIG["Window Geometry"]["Height"] < 0.9


def test_classes_are_those_of_rviz_2() -> None:
    text = (FOLDER / "segmentation.rviz").read_text(encoding="utf-8")
    classes = re.findall(r"Class: (\S+)", text)
    assert {name.split("/")[0] for name in classes} == {'""', "rviz_common", "rviz_default_plugins"}
    assert "rviz_default_plugins/MoveCamera" in classes  # without it the mouse does nothing


def test_every_panel_has_its_place_in_the_window() -> None:
    state = bytes.fromhex(CONFIG["Window Geometry"]["QMainWindow State"])
    panels = [panel["Name"] for panel in CONFIG["Panels"]]
    images = [name for name, display in SHOWN.items() if display["Class"] == "rviz_default_plugins/Image"]
    for name in (*panels, *images):
        assert name.encode("utf-16-be") in state
        assert CONFIG["Window Geometry"][name] == {"collapsed": False}


@pytest.mark.parametrize(("name", "size"), [("rviz.jpg", (800, 1400)), ("rviz-camera.jpg", (500, 1280))])
def test_pictures_are_there_and_are_said_to_be_of_another_rviz(name: str, size: tuple[int, int]) -> None:
    page, picture = (FOLDER / "rviz.md").read_text(encoding="utf-8"), FOLDER / name
    assert f"]({name})" in page and "RViz 1.14 (ROS 1)" in page
    assert picture.stat().st_size < 250_000
    image = cv2.imread(str(picture))
    assert image is not None and image.shape == (*size, 3)
