"""`rtseg train`: a network from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rtseg.cli.parser import add_command

__all__ = ["add_train"]

EXAMPLES = (
    "rtseg train configs/train/unet-fast0-camvid.yaml --data CamVid --out runs/unet-fast0  # train",
    "rtseg train configs/train/unet-fast0-camvid.yaml --data CamVid --out runs/unet-fast0 --resume  # continue",
    "rtseg train recipe.yaml --data DIR --out runs/try --time-budget 30 --device cuda  # in half an hour",
)


def add_train(commands: Any) -> None:
    """`rtseg train`."""
    parser = add_command(
        commands,
        "train",
        train_command,
        purpose="train a network from a recipe, or continue a training",
        usage="rtseg train RECIPE --data DIR --out DIR [options]",
        examples=EXAMPLES,
    )
    files = parser.add_argument_group("recipe, data and output")
    files.add_argument("recipe", type=Path, metavar="RECIPE", help="configs/train/<recipe>.yaml")
    files.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data set")
    files.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and logs")
    files.add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction, help="write OUT/tensorboard (default: where installed)"
    )
    length = parser.add_argument_group("length")
    length.add_argument("--resume", action="store_true", help="continue the training in --out")
    length.add_argument("--time-budget", type=float, metavar="MINUTES", help="anneal over this time instead of epochs")
    machine = parser.add_argument_group("hardware")
    machine.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: auto)")
    machine.add_argument("--threads", type=int, metavar="N", help="CPU threads")


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
