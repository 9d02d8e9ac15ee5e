"""Measure message-to-mask latency of the ROS 2 node beside a tutorial's node, and what a message costs.

python tools/ros_bench/bench.py --clip CLIP --out docs/bench/ros.json    # seven to eight minutes
python tools/ros_bench/page.py                                           # writes docs/ros-latency.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cases import GROUPS
from costs import costs
from measure import BenchmarkError, run_group
from pictures import pictures
from rtseg.bench.process import revision
from rtseg.errors import RtsegError
from rtseg.files import file_hash, write_text
from rtseg.geometry import parse_size
from rtseg.packages.spec import find_package
from rtseg.report import check_target, machine

SCHEMA = "rtseg.ros-latency/1"
PACKAGES = ("rclpy", "ros-rclpy", "ros-fastdds", "ros-rmw-fastrtps-cpp", "rosbags")


def versions() -> dict[str, str]:
    """Of what the timings depend on; ROS from a distribution has its name only."""
    found = {"ROS_DISTRO": os.environ["ROS_DISTRO"]} if "ROS_DISTRO" in os.environ else {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, in order: groups of nodes, then the cost of a message in one process."""
    size = parse_size(args.size)
    package = find_package(args.model)
    begun, before = time.strftime("%Y-%m-%d %H:%M:%S"), [round(value, 2) for value in os.getloadavg()]
    images = pictures(args.clip, size, args.distinct)
    file = folder / "pictures.npy"
    np.save(file, images)
    groups = {
        group.key: run_group(
            group, file, args.model, args.size, args.domain, args.repetitions, args.warm, args.scale, folder
        )
        for group in GROUPS
        if not args.only or group.key in args.only
    }
    clip = Path(args.clip)
    return {
        "schema": SCHEMA,
        "command": " ".join(["python", *args.command]),
        "revision": revision(),
        "date": begun,
        "machine": machine(),
        "ros": versions(),
        "load": {"before": before, "after": [round(value, 2) for value in os.getloadavg()]},
        "clip": {"name": clip.name, "sha256": file_hash(clip)} if clip.is_file() else {"name": args.clip},
        "model": {"name": Path(args.model).name, "sha256": file_hash(package.path)},
        "picture": list(size),
        "repetitions": args.repetitions,
        "warm_up_seconds": args.warm,
        "scale": args.scale,
        "groups": groups,
        "costs": costs(images[0], args.cost_samples, args.domain),
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", default="synthetic:drive", help="where the pictures come from (synthetic:drive)")
    parser.add_argument("--size", default="1080x1920", help="HxW of the pictures (1080x1920)")
    parser.add_argument("--model", default="unet-fast0-camvid")
    parser.add_argument("--distinct", type=int, default=8, help="pictures held in memory")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds that each turn takes")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before each turn that are not counted")
    parser.add_argument("--only", nargs="*", help="keys of groups")
    parser.add_argument("--domain", type=int, default=101, help="ROS_DOMAIN_ID, which nobody else may use meanwhile")
    parser.add_argument("--cost-samples", type=int, default=70)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.command = sys.argv
    try:
        check_target(args.out)
        with tempfile.TemporaryDirectory() as folder:
            found = run(args, Path(folder))
        write_text(args.out, json.dumps(found, separators=(",", ":")) + "\n")
    except (BenchmarkError, RtsegError) as exc:
        print(f"bench: error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
