"""`rtseg quantize`: the int8 twin of a model package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rtseg.cli.flags import add_data_flags
from rtseg.cli.parser import add_command

__all__ = ["add_quantize"]

EXAMPLES = (
    "rtseg quantize unet-fast0-camvid --data CamVid --out engines/my-int8  # calibrated on 64 training images",
    "rtseg quantize my-model --data DIR --dataset folders --images 200 --out engines/my-model-int8  # on 200",
)


def add_quantize(commands: Any) -> None:
    """`rtseg quantize`."""
    parser = add_command(
        commands,
        "quantize",
        quantize_command,
        purpose="write the int8 twin of a model package",
        usage="rtseg quantize MODEL --data DIR --out DIR [options]",
        examples=EXAMPLES,
    )
    files = parser.add_argument_group("model and package")
    files.add_argument("model", metavar="MODEL", help="package name, folder, or ONNX file")
    files.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="package folder, for example engines/my-model-int8"
    )
    data = add_data_flags(parser, "train", title="calibration data")
    data.add_argument("--images", type=int, default=64, metavar="N", help="how many of them (default: 64)")


def quantize_command(args: argparse.Namespace) -> int:
    """`rtseg quantize`."""
    from rtseg.export.quantize import quantize

    spec = quantize(args.model, args.out, data=args.data, dataset=args.dataset, split=args.split, images=args.images)
    print(f"wrote {args.out}/model.onnx ({spec.provenance['quantized']['to']}): score it with rtseg eval")
    return 0
