"""`rtseg build`: a TensorRT plan of a model, ahead of the first run."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from rtseg.cli.console import shown_log, stderr_console
from rtseg.cli.flags import size
from rtseg.cli.parser import add_command
from rtseg.errors import ConfigError

__all__ = ["add_build"]

EXAMPLES = (
    "rtseg build unet-fast0-camvid  # fp16, for frames of 16:9",
    "rtseg build unet-fast0-camvid --size 384x672,768x1344  # two sizes, each as fast as it can be",
    "rtseg build net.onnx --min 256x256 --opt 384x672 --max 1088x1920 --out net.plan  # a range of sizes",
    "rtseg build unet-fast0-camvid-int8 --frames clip.mp4  # int8, compared with fp32 on a clip of your own",
)


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """A comma-separated list of HxW."""
    return tuple(size(part) for part in text.split(","))


def add_build(commands: Any) -> None:
    """`rtseg build`."""
    parser = add_command(
        commands,
        "build",
        build_command,
        purpose="compile a model for NVIDIA GPUs with TensorRT",
        usage="rtseg build MODEL [options]",
        examples=EXAMPLES,
    )
    model = parser.add_argument_group("model and plan")
    model.add_argument("model", metavar="MODEL", help="package name, folder, or ONNX file")
    model.add_argument("--spec", metavar="FILE", help="spec.json of an ONNX file that carries none")
    model.add_argument("--out", type=Path, metavar="FILE.plan", help="where the plan goes (default: beside the model)")
    model.add_argument("--force", action="store_true", help="build even if the plan is there")
    model.add_argument(
        "--precision", metavar="NAME", help="fp32, fp16 or int8 (default: fp16, int8 for a model of rtseg quantize)"
    )
    shapes = parser.add_argument_group("input sizes (default: what the model gives a 16:9 frame)")
    shapes.add_argument(
        "--size", type=sizes, action="append", metavar="HxW[,HxW]", help="fixed sizes, each as fast as it can be"
    )
    shapes.add_argument("--min", type=size, metavar="HxW", help="smallest size of a range")
    shapes.add_argument("--opt", type=size, metavar="HxW", help="the size that the range is tuned for")
    shapes.add_argument("--max", type=size, metavar="HxW", help="largest size of a range")
    builder = parser.add_argument_group("builder")
    builder.add_argument("--workspace", type=int, metavar="MIB", help="scratch memory that layers may use")
    builder.add_argument(
        "--hardware-compatible",
        nargs="?",
        const="ampere+",
        choices=("ampere+", "same-capability"),
        help="run on other GPUs too: compute capability 8.0 and later (default), or the same one",
    )
    builder.add_argument("--version-compatible", action="store_true", help="run with later versions of TensorRT too")
    builder.add_argument("--timing-cache", type=Path, metavar="FILE", help="keep timings in FILE for the next build")
    builder.add_argument("--device", metavar="NAME", help="GPU to build on: cuda or cuda:N")
    check = parser.add_argument_group("check of fp16 and int8 against fp32")
    check.add_argument("--frames", metavar="INPUT", help="video or image folder (default: synthetic:drive)")
    check.add_argument("--frame-count", type=int, metavar="N", help="how many frames of it (default: 8)")
    check.add_argument(
        "--agreement",
        type=float,
        metavar="FRACTION",
        help="pixels that must keep their label (default: 0.99 for fp16, 0.95 for int8; 0 skips the check)",
    )
    check.add_argument(
        "--reference", metavar="MODEL", help="the fp32 model of a quantized one (default: found by hash)"
    )
    report = parser.add_argument_group("report")
    report.add_argument("--layers", action="store_true", help="list every layer")
    report.add_argument("--json", action="store_true", help="print JSON")


def build_command(args: argparse.Namespace) -> int:
    """`rtseg build`."""
    from rich.console import Console

    from rtseg import registry
    from rtseg.packages.complete import complete_spec
    from rtseg.packages.spec import find_package

    build = registry.load(registry.BUILDERS, "tensorrt", "plan builder")
    from rtseg.export.agreement import FRAMES, SYNTHETIC
    from rtseg.export.make_plan import Check
    from rtseg.export.show_plan import as_data, layers_as_data, print_layers, print_plan
    from rtseg.tensorrt.compile import Options
    from rtseg.tensorrt.profiles import chosen

    if args.agreement is not None and not 0 <= args.agreement <= 1:
        raise ConfigError(f"--agreement is {args.agreement}: a fraction from 0 to 1")
    if args.out is not None and args.out.suffix != ".plan":
        raise ConfigError(f"--out {args.out} does not end in .plan: plans are known by that")
    package = find_package(args.model, args.spec)
    if package.path.suffix != ".onnx":
        raise ConfigError(f"{package.path} is not an ONNX file: TensorRT compiles a package or an .onnx file")
    spec = complete_spec(package.path, package.spec, written=package.written)
    profiles = chosen(spec, [one for group in args.size or () for one in group], args.min, args.opt, args.max)
    console = stderr_console()
    with shown_log(console, logging.WARNING if args.json else logging.INFO):
        built = build(
            package.path,
            spec,
            profiles,
            precision=args.precision,
            options=Options(args.workspace, args.hardware_compatible, args.version_compatible, args.timing_cache),
            check=Check(
                args.frames or SYNTHETIC,
                FRAMES if args.frame_count is None else args.frame_count,
                args.agreement,
                find_package(args.reference).path if args.reference else None,
            ),
            device=args.device,
            out=args.out,
            rebuild="--force" if args.force else None,
            console=None if args.json else console,
        )
    if args.json:
        print(json.dumps({**as_data(built), **(layers_as_data(built) if args.layers else {})}, indent=2))
        return 0
    print_plan(built, Console())
    if args.layers:
        print_layers(built, Console())
    return 0
