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
from rtseg.cli.bench import add_bench
from rtseg.cli.build import add_build
from rtseg.cli.flags import add_model_flags, add_run_flags, model_config, run_config_of
from rtseg.cli.ros import add_ros
from rtseg.errors import RtsegError
from rtseg.registry import DATASETS

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main"]

DATASET_HELP = "how the folder is laid out (default: recognised): " + ", ".join(DATASETS)
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
    add_quantize(commands)
    add_build(commands)
    add_bench(commands)
    add_ros(commands)
    add_data(commands)
    check = commands.add_parser("check", help="show versions, devices, what each extra lacks, and try every backend")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(command=check_command)
    models = commands.add_parser("models", help="list the model packages that --model knows")
    models.set_defaults(command=models_command)
    return parser


def add_run(commands: Any) -> None:
    """`rtseg run`."""
    run = commands.add_parser(
        "run", help="segment a video, camera, stream or image folder", usage="rtseg run [options] INPUT [OUTPUT ...]"
    )
    add_run_flags(run)
    run.set_defaults(command=run_command)


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
    outputs = [sink_kind(uri) for uri in config.output] if report["frames"] else []
    shown = ("window", "null", "foxglove", "ros")
    files = [target for kind, target in outputs if kind not in shown and (kind != "rerun" or target.endswith(".rrd"))]
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
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled images")
    parser.add_argument("--dataset", help=DATASET_HELP)
    parser.add_argument("--split", default="val", help="which images (default: val)")
    parser.add_argument("--out", type=Path, help="write the scores as JSON")
    parser.add_argument("--limit", type=int, metavar="N", help="score only the first N images")
    parser.add_argument("--page", type=Path, metavar="HTML", help="write a page of the worst images")
    parser.add_argument("--worst", type=int, default=12, metavar="N", help="how many of them (default: 12)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_flags(parser)
    parser.set_defaults(command=eval_command)


def eval_command(args: argparse.Namespace) -> int:
    """`rtseg eval`."""
    from rtseg.evaluation import Worst, evaluate, table, write_scores
    from rtseg.pipeline.opening import make_segmenter, open_model
    from rtseg.report import check_target

    config = model_config(args)
    if args.out:
        check_target(args.out)
    worst = Worst(args.page, args.worst) if args.page else None
    with open_model(config) as backend, make_segmenter(config, backend) as segmenter:
        scores = evaluate(
            segmenter,
            data=args.data,
            split=args.split,
            dataset=args.dataset,
            limit=args.limit,
            worst=worst,
            progress=None if args.json else stderr_console(),
        )
        if worst:
            worst.write(backend.spec, scores)
    if args.out:
        write_scores(scores, args.out, config.model)
    print(json.dumps(scores, indent=2) if args.json else table(scores))
    return 0


def add_train(commands: Any) -> None:
    """`rtseg train`."""
    parser = commands.add_parser("train", help="train a network from a recipe")
    parser.add_argument("recipe", type=Path, help="configs/train/<recipe>.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--time-budget", type=float, metavar="MINUTES", help="anneal over this time instead of epochs")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction, help="write OUT/tensorboard (default: where installed)"
    )
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
        device=args.device,
        tensorboard=args.tensorboard,
    )


def add_export(commands: Any) -> None:
    """`rtseg export`."""
    parser = commands.add_parser("export", help="write a trained network as a model package")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of rtseg train")
    parser.add_argument("--out", type=Path, required=True, help="package folder, for example engines/my-model")
    parser.add_argument("--name", help="the model's name (default: the folder's)")
    parser.add_argument("--short-side", type=int, metavar="N", help="short side of the input by default")
    parser.add_argument(
        "--precision", default="fp32", help="how weights are stored: fp32 (default), fp16 (half the size)"
    )
    parser.set_defaults(command=export_command)


def export_command(args: argparse.Namespace) -> int:
    """`rtseg export`."""
    from rtseg.registry import require

    require("torch", "export", "train")
    from rtseg.export.checkpoint import export

    spec = export(args.checkpoint, args.out, name=args.name, short_side=args.short_side, precision=args.precision)
    print(f"wrote {args.out}/model.onnx ({spec.name}, val mIoU in training {spec.provenance['val_miou_in_training']})")
    return 0


def add_quantize(commands: Any) -> None:
    """`rtseg quantize`."""
    parser = commands.add_parser("quantize", help="write the int8 twin of a model package")
    parser.add_argument("model", help="package name, folder, or ONNX file")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set to calibrate on")
    parser.add_argument("--dataset", metavar="NAME", help="layout of the data (default: recognised)")
    parser.add_argument("--split", default="train", help="which images (default: train)")
    parser.add_argument("--images", type=int, default=64, metavar="N", help="how many of them (default: 64)")
    parser.add_argument("--out", type=Path, required=True, help="package folder, for example engines/my-model-int8")
    parser.set_defaults(command=quantize_command)


def quantize_command(args: argparse.Namespace) -> int:
    """`rtseg quantize`."""
    from rtseg.export.quantize import quantize

    spec = quantize(args.model, args.out, data=args.data, dataset=args.dataset, split=args.split, images=args.images)
    print(f"wrote {args.out}/model.onnx ({spec.provenance['quantised']['to']}): score it with rtseg eval")
    return 0


def add_data(commands: Any) -> None:
    """`rtseg data check`."""
    data = commands.add_parser("data", help="look at labelled images")
    parser = data.add_subparsers(metavar="COMMAND", required=True).add_parser(
        "check", help="read every file, print class shares and problems, draw a contact sheet"
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of labelled images")
    parser.add_argument("--dataset", help=DATASET_HELP)
    parser.add_argument("--split", help="one split only")
    parser.add_argument("--out", type=Path, default=Path("contact-sheet.jpg"), help="the sheet (contact-sheet.jpg)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=data_check_command)


def data_check_command(args: argparse.Namespace) -> int:
    """`rtseg data check`; exits with 1 when there is a problem."""
    from rich.console import Console

    from rtseg.datasets.check import check_data, print_check, report
    from rtseg.datasets.contact_sheet import check_target, contact_sheet, write_sheet

    check_target(args.out)
    checked = check_data(
        args.folder, name=args.dataset, split=args.split, progress=None if args.json else stderr_console()
    )
    found = report(args.folder, checked)
    write_sheet(args.out, contact_sheet(checked))
    if args.json:
        print(json.dumps({**found, "sheet": str(args.out)}, indent=2))
    else:
        print_check(found, Console())
        print(f"wrote {args.out}")
    return 1 if found["problems"] else 0


def check_command(args: argparse.Namespace) -> int:
    """`rtseg check`; exits with 1 when no backend works."""
    from rich.console import Console

    from rtseg.cli.check import check, print_check

    report = check()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_check(report, Console())
    return 0 if report["ok"] else 1


def models_command(args: argparse.Namespace) -> int:
    """`rtseg models`."""
    from rtseg.packages.spec import find_package, packages

    for name, path in packages().items():
        spec = find_package(name).spec
        classes = f"{len(spec.classes)} classes, {spec.licence}" if spec else "no spec"
        print(f"{name}\t{classes}\t{path}")
    return 0
