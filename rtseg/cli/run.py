"""`rtseg run`: a video, camera, stream or image folder through the pipeline."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from rtseg.cli.console import OUTCOMES, print_error, printer, shown_log, stderr_console
from rtseg.cli.flags import (
    add_drawing_flags,
    add_model_flags,
    add_option_flags,
    add_queueing_flags,
    add_spec_flags,
    run_config_of,
)
from rtseg.cli.parser import add_command

__all__ = ["add_run"]

EXAMPLES = (
    "rtseg run clip.mp4 out.mp4  # the classes drawn over a video",
    "rtseg run camera:0 window: --hud --legend  # a camera, live",
    "rtseg run rtsp://host/stream stats.jsonl --policy latest  # class areas of a stream, newest frame first",
    "rtseg run 'frames/*.png' 'labels:ids/%06d.png' --refine crf  # label maps of images",
    "rtseg run drive.mcap#/camera/image out.mcap  # a topic of a recorded drive",
    "rtseg run --config pipeline.yaml --short-side 256  # a pipeline file; flags win over it",
)


def add_run(commands: Any) -> None:
    """`rtseg run`."""
    parser = add_command(
        commands,
        "run",
        run_command,
        purpose="segment a video, camera, stream, image folder or bag",
        usage="rtseg run [options] INPUT [OUTPUT ...]",
        examples=EXAMPLES,
        rest="output",
    )
    streams = parser.add_argument_group("input and outputs")
    streams.add_argument(
        "input", nargs="?", metavar="INPUT", help="clip.mp4, camera:0, rtsp://…, 'frames/*.png', drive.mcap#/topic, …"
    )
    streams.add_argument(
        "output",
        nargs="*",
        metavar="OUTPUT",
        help="out.mp4, window:, frames/%%06d.png, labels:ids/%%06d.png, stats.jsonl, out.mcap, …",
    )
    streams.add_argument("--config", type=Path, metavar="YAML", help="a pipeline file; flags win over it")
    streams.add_argument("--limit", type=int, metavar="N", help="stop after N frames")
    streams.add_argument("--headless", action="store_true", default=None, help="no window, even if one is configured")
    add_model_flags(parser)
    add_drawing_flags(parser)
    add_queueing_flags(parser)
    result = parser.add_argument_group("report")
    result.add_argument("--report", metavar="FILE", help="latency report (default: beside a video output; 'none')")
    result.add_argument("--stats", action="store_true", default=None, help="mean area of each class at the end")
    result.add_argument("--json", action="store_true", help="print the report as JSON on standard output, nothing else")
    add_option_flags(parser)
    add_spec_flags(parser)


def run_command(args: argparse.Namespace) -> int:
    """`rtseg run`."""
    from rtseg.pipeline.checks import report_path
    from rtseg.pipeline.opening import run_config
    from rtseg.pipeline.watch import watcher
    from rtseg.report import check_target, print_table, write_report
    from rtseg.sinks import sink_kind

    config = run_config_of(args)
    written = report_path(config.report, config.output)
    if written and config.report:
        check_target(written)
    console, quiet = stderr_console(), args.json
    say = printer(console, quiet)
    with shown_log(console, logging.WARNING if quiet else logging.INFO):
        report = run_config(config, notify=say, watch=None if quiet else watcher(console, config.limit))
    if quiet:
        print(json.dumps(report, indent=2))
    else:
        print_table(report, console)
    if written:
        write_report(written, report)
    outputs = [sink_kind(uri) for uri in config.output] if report["frames"] else []
    shown = ("window", "null", "foxglove", "ros")
    files = [target for kind, target in outputs if kind not in shown and (kind != "rerun" or target.endswith(".rrd"))]
    for path in [*files, *([str(written)] if written else [])]:
        say(f"wrote {path}")
    if report["error"]:
        print_error(report["error"])
    return OUTCOMES.get(report["outcome"], 0)
