"""`rtseg ros`: the segmentation node as a program; every parameter is a flag too."""

from __future__ import annotations

import argparse
import sys
from typing import Any

__all__ = ["add_ros"]

EPILOG = "What follows --ros-args goes to ROS: -r, -p, --params-file, --log-level and so on; flags win over -p."


def add_ros(commands: Any) -> None:
    """`rtseg ros`."""
    from rtseg.ros.parameters import PARAMETERS

    parser = commands.add_parser(
        "ros",
        help="run the ROS 2 segmentation node",
        usage="rtseg ros --image TOPIC [options] [--ros-args …]",
        epilog=EPILOG,
    )
    parser.add_argument("--name", default="segmentation", help="the node's name (default: segmentation)")
    group = parser.add_argument_group("parameters of the node (docs/ros.md)")
    for parameter in PARAMETERS:
        flag, kind = f"--{parameter.name.replace('_', '-')}", type(parameter.default)
        shown = f"{parameter.text} (default: {parameter.default})" if parameter.default != "" else parameter.text
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=shown.replace("%", "%%"))
        else:
            group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=shown.replace("%", "%%"))
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="arguments for ROS")
    parser.set_defaults(command=ros_command)


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
        print(f"rtseg: error: {failure}", file=sys.stderr)
        return 1
    return 0
