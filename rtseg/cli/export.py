"""`rtseg export`: a trained network as a model package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rtseg.cli.parser import add_command

__all__ = ["add_export"]

EXAMPLES = (
    "rtseg export runs/unet-fast0/best.pt --out engines/my-model  # then: rtseg run clip.mp4 out.mp4 --model my-model",
    "rtseg export runs/unet-fast0/last.pt --out engines/small --short-side 256 --precision fp16  # half the size",
)


def add_export(commands: Any) -> None:
    """`rtseg export`."""
    parser = add_command(
        commands,
        "export",
        export_command,
        purpose="write a trained network as a model package",
        usage="rtseg export CHECKPOINT --out DIR [options]",
        examples=EXAMPLES,
    )
    files = parser.add_argument_group("checkpoint and package")
    files.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint of rtseg train")
    files.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="package folder, for example engines/my-model"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--name", metavar="NAME", help="the model's name (default: the folder's)")
    model.add_argument("--short-side", type=int, metavar="N", help="short side of the input by default")
    model.add_argument(
        "--precision",
        default="fp32",
        metavar="NAME",
        help="how weights are stored: fp32 (default), fp16 (half the size)",
    )


def export_command(args: argparse.Namespace) -> int:
    """`rtseg export`."""
    from rtseg.registry import require

    require("torch", "export", "train")
    from rtseg.export.checkpoint import export

    spec = export(args.checkpoint, args.out, name=args.name, short_side=args.short_side, precision=args.precision)
    print(f"wrote {args.out}/model.onnx ({spec.name}, val mIoU in training {spec.provenance['val_miou_in_training']})")
    return 0
