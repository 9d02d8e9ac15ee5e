"""The parameters of the segmentation node: one table, from which they are declared, checked and made into flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtseg.drawing.view import VIEWS
from rtseg.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rtseg.config import RunConfig
    from rtseg.navigation.projection import Navigation

__all__ = ["PARAMETERS", "Parameter", "check", "names", "navigation", "run_config"]

Value = str | float | int | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter's name, default (whose type is its type), description, and what is allowed.

    `low` and `high` bound a number, `choices` a word; of a list, given as words with commas between, each word. `live`
    parameters may be changed at any time, the others while the node is unconfigured.
    """

    name: str
    default: Value
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


RELIABILITY = ("best_effort", "reliable")

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("image", "image", "topic of the pictures; a name that ends in /compressed is a CompressedImage"),
    Parameter("camera_info", "auto", "topic of the CameraInfo; auto: beside the image topic; none: not used"),
    Parameter("image_reliability", "best_effort", "QoS of the image subscription", choices=RELIABILITY),
    Parameter("image_depth", 1, "history depth of the image subscription; 1 is newest wins", 1, 1000),
    Parameter("output_reliability", "reliable", "QoS of the outputs", choices=RELIABILITY),
    Parameter("output_depth", 5, "history depth of the outputs", 1, 1000),
    Parameter("model", "", "package name, folder, or ONNX file; empty: the default model of rtseg run"),
    Parameter("spec", "", "spec.json of an ONNX file that carries none"),
    Parameter("backend", "auto", "auto, tensorrt, openvino, onnxruntime, torch or null"),
    Parameter("device", "", "the backend's device, for example CPU or cuda:0; empty: its default"),
    Parameter("precision", "", "fp32, bf16, fp16 or int8; empty: the backend's default"),
    Parameter("threads", 0, "threads of the backend and of the kernels; 0: all", 0, 1024),
    Parameter("depth", 1, "frames in flight in the backend; 1 has the lowest latency", 1, 16),
    Parameter("size", "", "network input size HxW; empty: follows the picture's aspect ratio"),
    Parameter("short_side", 0, "short side of the network input; 0: the model's", 0, 8192),
    Parameter("fit", "letterbox", "how a picture is placed in size", choices=("letterbox", "stretch", "crop")),
    Parameter("refine", "none", "none, crf, or crf:radius=3,iterations=2,…"),
    Parameter("ignore_classes", "", "classes that cannot win, with commas between"),
    Parameter("warm_up_size", "", "HxW of the pictures to come, so that the first one is as fast as the others"),
    Parameter("mask_size", "input", "size of mask, confidence and camera_info", choices=("input", "network")),
    Parameter("enabled", True, "whether pictures are processed", live=True),
    Parameter("alpha", 0.5, "opacity of the classes in the overlay", 0.0, 1.0, live=True),
    Parameter("visualize", "overlay", "what the overlay shows, with commas between", choices=VIEWS, live=True),
    Parameter("hidden_classes", "", "classes that are drawn transparent, with commas between", live=True),
    Parameter("legend", False, "names of the classes in sight, in the overlay", live=True),
    Parameter("hud", False, "rate, latency and drops, in the overlay", live=True),
    Parameter(
        "palette",
        "",
        "street, camvid, cityscapes, voc, ade20k, coco-stuff, or a colors.txt; empty: the model's or street",
    ),
    Parameter("jpeg_quality", 80, "quality of overlay/compressed", 1, 100, live=True),
    Parameter("robot_frame", "base_footprint", "frame on the ground in which free_space and obstacles are given"),
    Parameter("camera_height", 0.0, "the camera's height above the ground, metres; 0: its pose comes from tf", 0, 1000),
    Parameter("camera_tilt", 0.0, "downwards, radians, where camera_height is given", -1.6, 1.6),
    Parameter("camera_x", 0.0, "forward of robot_frame, metres", -1000, 1000),
    Parameter("camera_y", 0.0, "to the left, metres", -1000, 1000),
    Parameter("camera_yaw", 0.0, "to the left, radians", -3.2, 3.2),
    Parameter("camera_roll", 0.0, "clockwise as seen from behind, radians", -3.2, 3.2),
    Parameter("drivable_classes", "auto", "classes that are free space, with commas between; auto: road and the like"),
    Parameter("flat_classes", "auto", "classes that lie flat and are not free; auto: pavement and the like"),
    Parameter("unseen_classes", "auto", "classes that say nothing of the ground; auto: sky"),
    Parameter(
        "min_obstacle_pixels", 12, "obstacle pixels, of 49 around it, that make a contact: fewer are specks", 0, 49
    ),
    Parameter("grid_resolution", 0.1, "size of a cell, metres", 0.001, 100),
    Parameter("grid_near", 0.0, "where the grid begins, forward of robot_frame, metres", -1000, 1000),
    Parameter("grid_length", 20.0, "length of the grid, metres", 0.01, 1000),
    Parameter("grid_half_width", 10.0, "half the width of the grid, metres", 0.01, 1000),
    Parameter("range_max", 20.0, "farthest distance that is believed, metres", 0.01, 1000),
    Parameter("range_min", 0.0, "nearest distance that is believed, metres", 0, 1000),
    Parameter("scan_angle", 1.5707963, "the scan goes from minus this to this, radians", 0.01, 3.1415927),
    Parameter("scan_increment", 0.008726646, "angle of a sector, radians", 0.0001, 1),
    Parameter("scan_flat", False, "whether the end of drivable ground counts as an obstacle in the scan"),
    Parameter("diagnostics_period", 1.0, "seconds between two diagnostics", 0.1, 60.0),
    Parameter("autostart", True, "configure and activate at once, without a lifecycle manager"),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
TYPES = {str: "text", int: "a whole number", float: "a number with a fraction", bool: "true or false"}
LISTS = ("visualize", "hidden_classes", "ignore_classes", "drivable_classes", "flat_classes", "unseen_classes")


def names(text: str) -> tuple[str, ...]:
    """The words of a list parameter."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def check(name: str, value: Any) -> None:
    """ConfigError unless `value` is allowed for parameter `name`."""
    parameter = BY_NAME[name]
    kind: Any = type(parameter.default)
    if type(value) is not kind:
        raise ConfigError(f"parameter {name} is {value!r}, expected {TYPES[kind]} such as {parameter.default!r}")
    if parameter.choices:
        for word in names(value) if name in LISTS else (value,):
            if word not in parameter.choices:
                raise ConfigError(f"parameter {name} is '{word}': {nearest(word, parameter.choices)}")
    low, high = parameter.low, parameter.high
    if low is not None and high is not None and not low <= value <= high:
        raise ConfigError(f"parameter {name} is {value}, expected {low} to {high}")


def navigation(values: Mapping[str, Any], classes: Sequence[str]) -> Navigation | None:
    """What the parameters say of free space and obstacles; None for a model without drivable classes.

    Errors: ConfigError, also for names that are no classes.
    """
    from rtseg.navigation.camera import Pose
    from rtseg.navigation.projection import Navigation, usual
    from rtseg.navigation.settings import GridSettings, ScanSettings, roles

    chosen = {}
    for part in ("drivable", "flat", "unseen"):
        text = values[f"{part}_classes"]
        chosen[part] = usual(part, classes) if text == "auto" else names(text)
    if not chosen["drivable"]:
        return None
    pose = None
    if values["camera_height"]:
        pose = Pose.mounted(
            values["camera_height"], values["camera_tilt"], x=values["camera_x"], y=values["camera_y"],
            yaw=values["camera_yaw"], roll=values["camera_roll"],
        )  # fmt: skip
    grid = GridSettings(
        resolution=values["grid_resolution"], near=values["grid_near"], length=values["grid_length"],
        half_width=values["grid_half_width"], max_range=values["range_max"],
    )  # fmt: skip
    scan = ScanSettings(
        angle_min=-values["scan_angle"], angle_max=values["scan_angle"], increment=values["scan_increment"],
        range_min=values["range_min"], range_max=values["range_max"], flat=values["scan_flat"],
    )  # fmt: skip
    table = roles(classes, chosen["drivable"], chosen["flat"], chosen["unseen"])
    return Navigation(
        table, robot_frame=values["robot_frame"], pose=pose, grid=grid, scan=scan, least=values["min_obstacle_pixels"]
    )


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """What the parameters say of the network and of the overlay. Errors: ConfigError."""
    from rtseg.config import DEFAULT_MODEL, RunConfig

    for name in values:
        check(name, values[name])
    try:
        return RunConfig(
            input=f"ros:{values['image']}",
            output=("null:",),
            model=values["model"] or DEFAULT_MODEL,
            spec=values["spec"] or None,
            backend=values["backend"],
            device=values["device"] or None,
            precision=values["precision"] or None,
            threads=values["threads"] or None,
            depth=values["depth"],
            size=values["size"] or None,
            short_side=values["short_side"] or None,
            fit=values["fit"],
            refine=values["refine"],
            ignore_class=names(values["ignore_classes"]),
            visualize=names(values["visualize"]) or ("overlay",),
            hide_class=names(values["hidden_classes"]),
            alpha=values["alpha"],
            legend=values["legend"],
            hud=values["hud"],
            palette=values["palette"] or None,
        )
    except ConfigError as exc:
        raise ConfigError(f"parameters of the node: {exc}") from exc
