"""`rtseg ros`: the segmentation node as a program; every parameter is a flag too."""

from __future__ import annotations

import argparse
from typing import Any

from rtseg.cli.console import print_error
from rtseg.cli.parser import add_command, add_renamed

__all__ = ["add_ros"]

EXAMPLES = (
    "rtseg ros --image /camera/image_raw  # mask, overlay, free space … under /segmentation",
    "rtseg ros --image /camera/image_raw --short-side 256 --hud --name front  # smaller and faster, as /front",
    "rtseg ros --image /camera/image_raw --camera-height 1.4 --camera-tilt 0.1  # free space without tf",
    "rtseg ros --ros-args --params-file params.yaml -r image:=/camera/image_raw  # what follows goes to ROS",
)
RENAMED = {
    "image_reliability": "input-reliability",
    "image_depth": "input-history",
    "output_depth": "output-history",
    "ignore_classes": "ignore-class",
    "hidden_classes": "hide-class",
    "jpeg_quality": "quality",
}
"""Parameters whose flag is the one that `rtseg run` has for the same thing; the parameter's own name works too."""
GROUPS = {
    "topics": (
        "image", "camera_info", "image_reliability", "image_depth", "output_reliability", "output_depth", "mask_size",
    ),
    "model": ("model", "spec", "backend", "device", "precision", "threads", "refine", "ignore_classes"),
    "network size": ("size", "short_side", "fit", "warm_up_size"),
    "drawing": ("visualize", "alpha", "palette", "hidden_classes", "legend", "hud", "jpeg_quality"),
    "queueing": ("depth",),
    "node": ("enabled", "diagnostics_period", "autostart"),
}  # fmt: skip
"""Groups of the help; what is in none of them is about free space and obstacles."""


def add_ros(commands: Any) -> None:
    """`rtseg ros`."""
    from rtseg.ros.parameters import PARAMETERS

    parser = add_command(
        commands,
        "ros",
        ros_command,
        purpose="run the ROS 2 segmentation node",
        usage="rtseg ros --image TOPIC [options] [--ros-args …]",
        examples=EXAMPLES,
    )
    titles = {name: title for title, names in GROUPS.items() for name in names}
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    groups["node"].add_argument(
        "--name", default="segmentation", metavar="NAME", help="the node's name (default: segmentation)"
    )
    groups["node"].add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        help="what follows goes to ROS: -r, -p, --params-file, --log-level …; flags win over -p",
    )
    places = parser.add_argument_group("free space and obstacles")
    for parameter in PARAMETERS:
        group = groups.get(titles.get(parameter.name, ""), places)
        own, kind = parameter.name.replace("_", "-"), type(parameter.default)
        text = f"{parameter.text} (default: {parameter.default})" if parameter.default != "" else parameter.text
        options: dict[str, Any] = {"dest": parameter.name, "help": text.replace("%", "%%")}
        if kind is bool:
            options |= {"action": argparse.BooleanOptionalAction, "default": None}
        else:
            options |= {"type": kind, "metavar": kind.__name__.upper()}
        if parameter.name in RENAMED:
            add_renamed(group, f"--{RENAMED[parameter.name]}", f"--{own}", **options)
        else:
            group.add_argument(f"--{own}", **options)


def ros_command(args: argparse.Namespace) -> int:
    """`rtseg ros`; runs until Ctrl-C, until ROS is shut down, or until the loop fails."""
    from rtseg.registry import require
    from rtseg.ros.parameters import PARAMETERS

    given = {parameter.name: getattr(args, parameter.name) for parameter in PARAMETERS}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        require("rosbags", "ros", "ros")
        from rtseg.ros.node import serve

        failure = serve(args.name, overrides, args.ros_args)
    except KeyboardInterrupt:  # how a node is ended: launch files would report any other status as a death
        # Where Ctrl-C met a string that was being executed (rosbags makes its code so), CPython remembers that and
        # would end by the signal after all; the next string makes it forget.
        exec("")
        return 0
    if failure is not None:
        print_error(failure)
        return 1
    return 0
