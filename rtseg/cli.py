"""The command line: `rtseg run INPUT [OUTPUT ...]` and its companions.

Exit codes: 0 done, 1 a known error in one line, 2 usage, 3 unexpected (traceback), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rtseg import __version__
from rtseg.errors import ConfigError, RtsegError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main"]


OUTCOMES = {"interrupted": 130, "terminated": 143, "source cut off": 1, "source failed": 1}


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run like Ctrl-C does, with another exit code."""

    outcome = "terminated"


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        args = make_parser().parse_args(argv)
        code: int = args.command(args)
        return code
    except RtsegError as exc:
        print(f"rtseg: error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as exc:
        return 143 if isinstance(exc, Terminated) else 130
    except BrokenPipeError:
        return 1
    except Exception:  # noqa: BLE001 - the one place where an unexpected error becomes an exit code
        traceback.print_exc()
        return 3
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def make_parser() -> argparse.ArgumentParser:
    """The parser with every command and flag."""
    parser = argparse.ArgumentParser(prog="rtseg", description="Real-time video segmentation.")
    parser.add_argument("--version", action="version", version=f"rtseg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_run(commands)
    add_eval(commands)
    add_train(commands)
    add_export(commands)
    check = commands.add_parser("check", help="show versions, devices, what each extra lacks, and try every backend")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(command=check_command)
    models = commands.add_parser("models", help="list the model packages that --model knows")
    models.set_defaults(command=models_command)
    return parser


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that choose a network and describe one that carries no spec."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="NAME", help="package name, folder, or ONNX file (default: pidnet-s-camvid)")
    group.add_argument("--backend", metavar="NAME", help="auto, openvino, onnxruntime, torch or null (default: auto)")
    group.add_argument("--device", metavar="NAME", help="the backend's device, for example CPU or GPU")
    group.add_argument("--precision", metavar="NAME", help="the backend's arithmetic: fp32, bf16, fp16")
    group.add_argument("--threads", type=int, metavar="N", help="threads of the backend and of the kernels")
    group.add_argument("--size", metavar="HxW", help="network input size (default: follows the frame's aspect ratio)")
    group.add_argument(
        "--short-side", type=int, metavar="N", help="short side of the network input (default: the spec's)"
    )
    group.add_argument("--fit", choices=("letterbox", "stretch", "crop"), help="how a frame is placed in --size")
    text = "shrink frames without averaging: faster, and less like training"
    group.add_argument("--no-antialias", dest="antialias", action="store_false", default=None, help=text)
    group.add_argument("--ignore-class", metavar="NAME[,NAME]", type=names, help="classes that cannot win")
    spec = parser.add_argument_group("spec of an ONNX file that carries none")
    spec.add_argument("--spec", metavar="FILE", help="spec.json")
    spec.add_argument("--classes", metavar="FILE", help="class names, one a line")
    spec.add_argument("--mean", type=triple, metavar="R,G,B", help="mean in channel order, after scaling")
    spec.add_argument("--std", type=triple, metavar="R,G,B", help="standard deviation in channel order")
    spec.add_argument("--scale", type=float, metavar="X", help="factor on the 0-255 pixel values (default 1/255)")
    spec.add_argument("--channels", choices=("RGB", "BGR"), help="channel order of the input")
    spec.add_argument("--layout", choices=("NCHW", "NHWC"), help="layout of the input")
    spec.add_argument("--output-name", metavar="NAME", help="which output holds the classes, if there are several")
    spec.add_argument("--output-kind", choices=("logits", "probabilities", "labels"), help="if the graph does not tell")
    spec.add_argument("--output-layout", choices=("NCHW", "NHWC", "NHW"), help="layout of the output")
    spec.add_argument("--multiple", type=int, metavar="N", help="the input's sides are multiples of this")


def add_run(commands: Any) -> None:
    """`rtseg run`."""
    run = commands.add_parser(
        "run", help="segment a video, camera, stream or image folder", usage="rtseg run [options] INPUT [OUTPUT ...]"
    )
    run.add_argument("input", nargs="?", help="clip.mp4, camera:0, rtsp://…, 'frames/*.png', synthetic:drive")
    run.add_argument("output", nargs="*", help="out.mp4, frames/%%06d.png, labels:ids/%%06d.png, stats.jsonl, window:")
    run.add_argument("--config", type=Path, metavar="YAML", help="a pipeline file; flags win over it")
    add_model_flags(run)
    drawing = run.add_argument_group("drawing")
    drawing.add_argument("--visualize", type=names, metavar="VIEW[,VIEW]", help="overlay, mask, split, contour")
    drawing.add_argument("--alpha", type=float, metavar="X", help="opacity from 0 to 1 (default 0.5)")
    drawing.add_argument(
        "--palette", metavar="NAME", help="camvid, cityscapes, voc, ade20k, coco-stuff, or a colors.txt"
    )
    drawing.add_argument("--hide-class", type=names, metavar="NAME[,NAME]", help="labelled but drawn transparent")
    drawing.add_argument(
        "--legend", action=argparse.BooleanOptionalAction, default=None, help="names of the classes in sight"
    )
    drawing.add_argument("--hud", action=argparse.BooleanOptionalAction, default=None, help="rate, latency and drops")
    flow = run.add_argument_group("flow")
    flow.add_argument(
        "--policy", metavar="POLICY", help="latest, wait, or drop-oldest:N (default: latest for live input, else wait)"
    )
    flow.add_argument(
        "--depth", type=int, metavar="N", help="frames in flight in the backend (default 1, lowest latency)"
    )
    flow.add_argument("--limit", type=int, metavar="N", help="stop after N frames")
    flow.add_argument("--headless", action="store_true", default=None, help="no window, even if one is configured")
    source = run.add_argument_group("input options")
    for flag, kind, shown, text in SOURCE_FLAGS:
        source.add_argument(flag, type=kind, dest=f"source_{flag[2:].replace('-', '_')}", metavar=shown, help=text)
    sink = run.add_argument_group("output options")
    for flag, kind, shown, text in SINK_FLAGS:
        sink.add_argument(flag, type=kind, dest=f"sink_{flag[2:].replace('-', '_')}", metavar=shown, help=text)
    result = run.add_argument_group("results")
    result.add_argument("--report", metavar="FILE", help="latency report (default: beside a video output; 'none')")
    result.add_argument("--stats", action="store_true", default=None, help="mean area of each class at the end")
    result.add_argument("--json", action="store_true", help="print the report as JSON on standard output, nothing else")
    run.set_defaults(command=run_command)


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def triple(text: str) -> tuple[float, ...]:
    """Three comma-separated numbers."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected three numbers such as 0.485,0.456,0.406, found '{text}'") from exc
    return red, green, blue


def size(text: str) -> tuple[int, int]:
    """HxW."""
    from rtseg.config import parse_size

    try:
        return parse_size(text)
    except ConfigError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def count_or(word: str) -> Any:
    """A parser of a whole number or `word`."""

    def parse(text: str) -> int | str:
        return word if text == word else int(text)

    parse.__name__ = f"number or '{word}'"
    return parse


SOURCE_FLAGS: tuple[tuple[str, Any, str, str], ...] = (
    ("--start", float, "SECONDS", "first second to read"),
    ("--end", float, "SECONDS", "second to stop at"),
    ("--loop", int, "N", "how often to play the input, 0 for ever"),
    ("--stride", int, "N", "take every N-th frame"),
    ("--input-rate", float, "FPS", "frames per second: asked of a camera, made by synthetic, given to images"),
    ("--input-size", size, "HxW", "asked of a camera, made by synthetic"),
    ("--pixel-format", str, "FOURCC", "pixel format asked of a camera, for example MJPG"),
    ("--seed", int, "N", "seed of a synthetic scene"),
    ("--length", int, "N", "frames of a synthetic scene, 0 for endless"),
    ("--transport", str, "tcp|udp", "what carries RTSP (default: tcp)"),
    ("--open-timeout", float, "SECONDS", "how long to wait for a stream to answer"),
    ("--read-timeout", float, "SECONDS", "how long to wait for the next frame"),
    ("--reconnect", count_or("forever"), "N|forever", "how often to open a lost stream or camera again, in a row"),
)
SINK_FLAGS: tuple[tuple[str, Any, str, str], ...] = (
    ("--codec", str, "NAME", "video codec of the output, for example h264, hevc, vp9"),
    ("--crf", float, "N", "constant quality of the output, for example 18 (finer) to 28 (smaller)"),
    ("--bitrate", str, "RATE", "bit rate of the output, bits per second, for example 4M"),
    ("--preset", str, "NAME", "speed preset of the encoder"),
)
RENAMED = {"input_rate": "rate", "input_size": "size"}
SPEC_FIELDS = (
    "mean", "std", "scale", "channels", "layout", "output_name", "output_kind", "output_layout", "multiple",
)  # fmt: skip
RUN_FIELDS = (
    "input", "model", "spec", "backend", "device", "precision", "threads", "depth", "size", "short_side", "fit",
    "antialias", "visualize", "alpha", "palette", "ignore_class", "hide_class", "legend", "hud", "policy", "limit",
    "headless", "stats", "report",
)  # fmt: skip


def given(args: argparse.Namespace, fields: tuple[str, ...]) -> dict[str, Any]:
    """The flags that were given, by field name."""
    return {name: getattr(args, name) for name in fields if getattr(args, name, None) is not None}


def spec_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The spec fields that flags set, with class names read from their file."""
    fields = given(args, SPEC_FIELDS)
    if args.classes:
        from rtseg.palette import read_classes

        fields["classes"] = read_classes(Path(args.classes))
    return fields


def run_config_of(args: argparse.Namespace) -> Any:
    """The RunConfig that flags, and the file they may name, describe."""
    from rtseg.config import RunConfig, from_mapping, load_config

    over = given(args, RUN_FIELDS)
    if args.output:
        over["output"] = tuple(args.output)
    for table in ("source", "sink"):
        prefix = f"{table}_"
        options = {key[len(prefix) :]: value for key, value in vars(args).items() if key.startswith(prefix)}
        over[table] = {RENAMED.get(key, key): value for key, value in options.items() if value is not None}
    over["spec_fields"] = spec_fields(args)
    if args.config:
        return load_config(args.config, over)
    if "input" not in over:
        raise ConfigError("nothing to run: give an input, for example `rtseg run clip.mp4 out.mp4`, or --config")
    return from_mapping(over, RunConfig, "command line")


def run_command(args: argparse.Namespace) -> int:
    """`rtseg run`."""
    from rtseg.progress import watcher
    from rtseg.report import check_target, print_table, report_path, write_report
    from rtseg.runner import run_config
    from rtseg.sinks import sink_kind

    config = run_config_of(args)
    written = report_path(config.report, config.output)
    if written and config.report:
        check_target(written)
    console, quiet = stderr_console(), args.json

    def say(line: str) -> None:
        if not quiet:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    with shown_log(console, logging.WARNING if quiet else logging.INFO):
        report = run_config(config, notify=say, watch=None if quiet else watcher(console, config.limit))
    if quiet:
        print(json.dumps(report, indent=2))
    else:
        print_table(report, console)
    if written:
        write_report(written, report)
    files = [uri for uri in config.output if sink_kind(uri)[0] not in ("window", "null")] if report["frames"] else []
    for path in [*files, *([str(written)] if written else [])]:
        say(f"wrote {path}")
    if report["error"]:
        print(f"rtseg: error: {report['error']}", file=sys.stderr)
    return OUTCOMES.get(report["outcome"], 0)


@contextmanager
def shown_log(console: Console, level: int) -> Iterator[None]:
    """Print rtseg's log from `level` on, above a progress display if there is one."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(self.format(record), highlight=False, markup=False, soft_wrap=True)

    handler = Lines()
    log = logging.getLogger("rtseg")
    previous = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(previous)


def stderr_console() -> Console:
    """Where text for people goes."""
    from rich.console import Console

    return Console(stderr=True)


def add_eval(commands: Any) -> None:
    """`rtseg eval`."""
    parser = commands.add_parser("eval", help="score a model on labelled images")
    parser.add_argument("--data", type=Path, required=True, help="folder with val and valannot (CamVid layout)")
    parser.add_argument("--split", default="val", help="which images (default: val)")
    parser.add_argument("--out", type=Path, help="write the scores as JSON")
    parser.add_argument("--limit", type=int, help="score only the first N images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_flags(parser)
    parser.set_defaults(command=eval_command)


def eval_command(args: argparse.Namespace) -> int:
    """`rtseg eval`."""
    from rtseg.evaluate import main as evaluate_main

    return evaluate_main(args)


def add_train(commands: Any) -> None:
    """`rtseg train`."""
    parser = commands.add_parser("train", help="train a network from a recipe")
    parser.add_argument("recipe", type=Path, help="configs/train/<recipe>.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--time-budget", type=float, metavar="MINUTES", help="anneal over this time instead of epochs")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.set_defaults(command=train_command)


def train_command(args: argparse.Namespace) -> int:
    """`rtseg train`."""
    from rtseg.registry import require

    require("torch", "training", "train")
    from rtseg.training.train import main as train

    return train(
        args.recipe,
        data=args.data,
        out=args.out,
        resume=args.resume,
        time_budget=args.time_budget,
        threads=args.threads,
    )


def add_export(commands: Any) -> None:
    """`rtseg export`."""
    parser = commands.add_parser("export", help="write a trained network as a model package")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of rtseg train")
    parser.add_argument("--out", type=Path, required=True, help="package folder, for example engines/my-model")
    parser.set_defaults(command=export_command)


def export_command(args: argparse.Namespace) -> int:
    """`rtseg export`."""
    from rtseg.registry import require

    require("torch", "export", "train")
    from rtseg.export import main as export_main

    return export_main(args)


def check_command(args: argparse.Namespace) -> int:
    """`rtseg check`; exits with 1 when no backend works."""
    from rich.console import Console

    from rtseg.check import check, print_check

    report = check()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_check(report, Console())
    return 0 if report["ok"] else 1


def models_command(args: argparse.Namespace) -> int:
    """`rtseg models`."""
    from rtseg.spec import find_package, packages

    for name, path in packages().items():
        spec = find_package(name).spec
        classes = f"{len(spec.classes)} classes, {spec.licence}" if spec else "no spec"
        print(f"{name}\t{classes}\t{path}")
    return 0
