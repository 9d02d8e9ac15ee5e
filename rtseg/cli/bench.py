"""`rtseg bench`: the latency and the peak rate of the whole pipeline, and which configuration to take."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg.cli.console import OUTCOMES, print_error, printer, shown_log, stderr_console
from rtseg.cli.flags import (
    add_drawing_flags,
    add_model_flags,
    add_option_flags,
    add_queueing_flags,
    add_spec_flags,
    names,
    run_config_of,
)
from rtseg.cli.parser import add_command, add_renamed
from rtseg.errors import ConfigError

if TYPE_CHECKING:
    from rtseg.config import RunConfig

__all__ = ["add_bench"]

EXAMPLES = (
    "rtseg bench clip.mp4  # latency and drops at the clip's own rate",
    "rtseg bench clip.mp4 --rate max --report bench.json --html bench.html  # peak rate, with a page of charts",
    "rtseg bench clip.mp4 --vs backend=onnxruntime  # two configurations in pairs: the ratio, with an interval",
    "rtseg bench clip.mp4 --short-side 256,320,384 --find-rate  # the highest rate that each size holds",
    "rtseg bench clip.mp4 --budget 33ms --write fast.yaml  # the most accurate configuration within 33 ms",
)

LISTS = {
    "model": "package names, folders, or ONNX files (default: unet-fast0-camvid)",
    "backend": "auto, tensorrt, openvino, onnxruntime, torch or null (default: auto)",
    "precision": "the backend's arithmetic: fp32, bf16, fp16, int8",
    "size": "network input sizes (default: follows the frame's aspect ratio)",
    "short_side": "short sides of the network input (default: the spec's)",
}
WRITERS = {
    "html": ("rtseg.bench.page:write", None),
    "png": ("rtseg.bench.plots:write", "bench"),
    "trace": ("rtseg.bench.trace:write", None),
}
UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0}


def seconds(unit: str) -> Callable[[str], float]:
    """A parser of times such as 33ms, 10s or 2m, in seconds; `unit` is that of a bare number."""

    def parse(text: str) -> float:
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text.strip())
        if not match or (match[2] or unit) not in UNITS:
            raise argparse.ArgumentTypeError(f"expected a time such as 33ms or 10s, found '{text}'")
        return float(match[1]) * UNITS[match[2] or unit]

    return parse


def pace(text: str) -> float | str:
    """Frames per second, or max."""
    try:
        return text if text == "max" else float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected frames per second or max, found '{text}'") from exc


def add_bench(commands: Any) -> None:
    """`rtseg bench`."""
    parser = add_command(
        commands,
        "bench",
        bench_command,
        purpose="measure latency, drops and peak rate; compare configurations",
        usage="rtseg bench [options] INPUT",
        examples=EXAMPLES,
        conflict_handler="resolve",
    )
    streams = parser.add_argument_group("input and outputs")
    streams.add_argument(
        "input", nargs="?", metavar="INPUT", help="clip.mp4, 'frames/*.png', synthetic:drive: held in memory"
    )
    streams.add_argument("--config", type=Path, metavar="YAML", help="a pipeline file; flags win over it")
    text = "as in rtseg run (default: null:)"
    add_renamed(streams, "--output", "--sinks", nargs="+", metavar="OUTPUT", help=text)
    load = parser.add_argument_group("load")
    load.add_argument(
        "--rate", type=pace, metavar="FPS|max", help="frames due per second (default: the clip's), or a closed loop"
    )
    load.add_argument("--duration", type=seconds("s"), default=10.0, metavar="T", help="of a repetition (default: 10s)")
    load.add_argument("--repetitions", type=int, default=5, metavar="N", help="of each configuration (default: 5)")
    load.add_argument(
        "--warm-up", type=int, default=10, metavar="N", help="frames before those that count (default: 10)"
    )
    load.add_argument(
        "--memory", type=float, default=1024.0, metavar="MIB", help="for the frames that are held (default: 1024)"
    )
    question = parser.add_argument_group("search and comparison")
    question.add_argument(
        "--find-rate", action="store_true", help="the highest rate with under 1 %% drops and p99 under one period"
    )
    question.add_argument(
        "--budget", type=seconds("ms"), metavar="T", help="the most accurate configuration whose p99 is within T (33ms)"
    )
    question.add_argument(
        "--write", type=Path, metavar="YAML", help="write what --budget chose, for rtseg run --config"
    )
    question.add_argument(
        "--vs", metavar="KEY=VALUE[,…]", help="compare with the same but for these settings, in pairs"
    )
    results = parser.add_argument_group("report")
    text = "all figures as JSON (docs/bench-schema.md)"
    add_renamed(results, "--report", "--json", type=Path, metavar="FILE", help=text)
    results.add_argument("--frames-in-json", action="store_true", help="with the times of every frame")
    results.add_argument("--html", type=Path, metavar="FILE", help="a page with plots, in one file")
    results.add_argument("--png", type=Path, metavar="FOLDER", help="the plots as images")
    results.add_argument("--trace", type=Path, metavar="FILE", help="threads, stages and frames for Perfetto")
    add_model_flags(parser)
    lists = parser.add_argument_group("lists (every combination is measured)")
    for name, text in LISTS.items():
        kind = integers if name == "short_side" else names
        flag = f"--{name.replace('_', '-')}"
        lists.add_argument(flag, nargs="+", action="extend", type=kind, metavar=name.upper(), help=text)
    add_drawing_flags(parser)
    add_queueing_flags(parser)
    add_option_flags(parser)
    add_spec_flags(parser)


def integers(text: str) -> tuple[int, ...]:
    """A comma-separated list of whole numbers."""
    return tuple(int(part) for part in names(text))


def bench_command(args: argparse.Namespace) -> int:
    """`rtseg bench`; exits with 1 when nothing holds the rate or the budget that was asked for."""
    import logging

    from rich.console import Console

    from rtseg import registry
    from rtseg.bench.benchmark import bench, without_frames
    from rtseg.bench.settings import Settings
    from rtseg.bench.show import print_bench
    from rtseg.report import check_target, write_report

    check_flags(args)
    settings = Settings(
        rate=args.rate,
        seconds=args.duration,
        repetitions=args.repetitions,
        warm_up=args.warm_up,
        memory_mb=args.memory,
        find_rate=args.find_rate,
        budget_ms=None if args.budget is None else args.budget * 1e3,
    )
    configs, pairs = configurations(args)
    for path in (args.report, args.html, args.trace, args.write):
        if path is not None:
            check_target(path)
    writers = [(registry.load(WRITERS, name, "report"), getattr(args, name)) for name in WRITERS if getattr(args, name)]
    console = stderr_console()
    say = printer(console)
    with shown_log(console, logging.WARNING):
        data = bench(configs, pairs, settings, say=say, command=["rtseg", *sys.argv[1:]])
    search = data["search"]
    if args.write and search["chosen"]:
        write_choice(args.write, data, configs)
        search["written"] = str(args.write)
    print_bench(data, Console())
    if args.report:
        write_report(args.report, data if args.frames_in_json else without_frames(data))
    measured = any(one["repetitions"] for one in data["configurations"])
    for write, target in writers if measured else ():
        write(data, target)
    done = [args.report, *(target for _, target in writers if measured), search and search.get("written")]
    for path in done:
        if path:
            say(f"wrote {path}")
    if search and search["rate" if search["kind"] == "rate" else "chosen"] is None:
        what = "no rate holds" if search["kind"] == "rate" else f"no configuration holds {search['budget_ms']:g} ms"
        print_error(f"{what}: try a smaller --short-side or a faster --model")
        return 1
    return OUTCOMES.get(data["outcome"], 0)


def check_flags(args: argparse.Namespace) -> None:
    """ConfigError for flags that do not go together."""
    if args.input is None and args.config is None:
        raise ConfigError("nothing to measure: give an input, for example `rtseg bench clip.mp4`, or --config")
    if args.write and args.budget is None:
        raise ConfigError("--write writes what --budget chose: give a budget, for example --budget 33ms")
    if args.frames_in_json and not args.report:
        raise ConfigError("--frames-in-json needs --report FILE")
    if args.png is not None and args.png.exists() and not args.png.is_dir():
        raise ConfigError(f"--png {args.png} is a file: give a folder")


def configurations(args: argparse.Namespace) -> tuple[list[RunConfig], list[tuple[int, int]]]:
    """What the flags describe: configurations, and which of them are compared.

    With --vs each is compared with its variant, else each with the first.
    """
    from rtseg.bench.configurations import changed, check, cross, parse_changes

    lists = {name: [one for group in getattr(args, name) or () for one in group] for name in LISTS}
    plain = argparse.Namespace(**{**vars(args), **dict.fromkeys(LISTS), "report": None})
    base = run_config_of(plain)
    if not base.output or args.output is None:
        base = changed(base, {"output": ["null:"], "sink": base.sink if args.output else {}}, "command line")
    base = changed(base, {"limit": None, "report": None, "headless": False}, "command line")
    configs = cross(base, lists)
    pairs = [(0, place) for place in range(1, len(configs))]
    if args.vs is not None:
        changes = parse_changes(args.vs)
        variants = [changed(config, changes, "--vs") for config in configs]
        pairs = [(place, len(configs) + place) for place in range(len(configs))]
        configs += variants
    if len(set(map(repr, configs))) < len(configs):
        raise ConfigError("two configurations are the same: leave out what is given twice")
    check(configs)
    return configs, pairs


def write_choice(path: Path, data: dict[str, Any], configs: list[RunConfig]) -> None:
    """Write the chosen configuration with a line that says why."""
    from rtseg.bench.configurations import written_config
    from rtseg.errors import SinkError

    search = data["search"]
    place = next(i for i, one in enumerate(data["configurations"]) if one["name"] == search["chosen"])
    one = search["tries"][place]
    scored = f", mIoU {one['miou']}" if one["as_run"] else ", accuracy not measured as it runs here"
    comment = f"rtseg bench --budget {search['budget_ms']:g}ms: {one['name']}, p99 {one['p99_ms']} ms{scored}"
    try:
        written_config(path, configs[place], f"{comment}, {data['created']}")
    except OSError as exc:
        raise SinkError(f"cannot write {path}: {exc.strerror or exc}") from exc
