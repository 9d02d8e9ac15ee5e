"""Train every row of a comparison under the same budget and write one JSON per row.

    python tools/compare.py configs/train/compare.yaml --data CAMVID --out docs/zoo/comparison --runs runs/comparison

A row is the shared recipe with what the row says on top. A row whose JSON is there is skipped, one that was killed goes
on from its last checkpoint; without `--row` all are trained, one after the other. Scores are those of the averaged
weights on whole val images at their own size, in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch

from rtseg.config import merge
from rtseg.datasets import open_dataset
from rtseg.errors import ConfigError, RtsegError
from rtseg.evaluation.metrics import BoundaryScore, Confusion
from rtseg.files import write_text
from rtseg.models import build
from rtseg.models.blocks import count_macs, count_parameters
from rtseg.report import machine
from rtseg.training.allocator import keep_memory
from rtseg.training.checkpoint import load_checkpoint
from rtseg.training.log import read_rows
from rtseg.training.recipe import Recipe, read_yaml, recipe_of
from rtseg.training.train import predict, train

MACS_AT = (360, 480)


def rows_of(path: Path) -> list[Recipe]:
    """The recipes of a comparison, `shared` under each of `rows`; ConfigError naming the row otherwise."""
    content = read_yaml(path)
    if set(content) != {"shared", "rows"} or not isinstance(content["rows"], list):
        raise ConfigError(f"{path}: expected the keys shared and rows, found {', '.join(content)}")
    rows = [recipe_of(merge(content["shared"], row), f"{path}: {row.get('name')}") for row in content["rows"]]
    if len({row.name for row in rows}) < len(rows):
        raise ConfigError(f"{path}: two rows have the same name")
    return rows


def measure(recipe: Recipe, data: Path, run: Path, device: str) -> dict[str, Any]:
    """Train one row in the folder `run`, or continue there, and score it."""
    last = run / "last.pt"
    state = train(recipe, data=data, out=run, resume=last.exists(), device=device, tensorboard=False)
    validation = open_dataset(data, recipe.val_split, name=recipe.dataset)
    confusion = Confusion(len(validation.classes), validation.ignore_index)
    boundary = BoundaryScore(len(validation.classes), validation.ignore_index)
    with torch.inference_mode():
        for index in range(len(validation)):
            image, label = validation[index]
            predicted = predict(state.average.eval(), image, state.device)
            confusion.add(predicted, label)
            boundary.add(predicted, label)
    checkpoint = load_checkpoint(last)
    scores = zip(validation.classes, confusion.iou(), boundary.scores(), strict=True)
    return {
        "name": recipe.name,
        "network": recipe.network,
        "weights": recipe.network_weights or recipe.weights or "random",
        "steps": state.step,
        "batch": recipe.batch,
        "crop": list(recipe.augmentation.crop),
        "learning_rate": recipe.learning_rate,
        "seconds_per_step": statistics.median(row["step_seconds"] for row in read_rows(run / "log.csv")),
        "minutes": state.elapsed / 60,
        "data": f"{validation.name} {recipe.val_split}, {len(validation)} images at their own size",
        "val_miou": confusion.mean_iou(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "boundary_f": boundary.mean(),
        "classes": {name: {"iou": _number(iou), "boundary_f": _number(score)} for name, iou, score in scores},
        **complexity(recipe.network, len(validation.classes)),
        "recipe": msgspec.to_builtins(recipe),
        "revision": checkpoint["revision"],
        "torch": checkpoint["torch"],
        "machine": machine() | {"torch_threads": torch.get_num_threads(), "device": checkpoint["device"]},
    }


def complexity(name: str, classes: int) -> dict[str, float]:
    """Parameters in use, and 10^9 multiply-adds at 360x480, each side padded to the network's multiple."""
    with torch.device("meta"):
        network = build(name, classes).eval()
        height, width = (-(-side // network.multiple) * network.multiple for side in MACS_AT)
        macs = count_macs(network, height, width)
    return {"parameters": count_parameters(network), "gmac_360x480": macs / 1e9}


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def main() -> int:
    """Train and score the rows that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("comparison", type=Path, help="YAML with shared and rows")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of one JSON per row")
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"), help="folder of checkpoints")
    parser.add_argument("--row", action="append", help="only the row of this name")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    rows = rows_of(args.comparison)
    unknown = set(args.row or ()) - {row.name for row in rows}
    if unknown:
        raise ConfigError(f"no row {', '.join(sorted(unknown))} in {args.comparison}")
    keep_memory()
    cv2.setNumThreads(1)  # samples are augmented side by side
    args.out.mkdir(parents=True, exist_ok=True)
    for recipe in rows:
        result = args.out / f"{recipe.name}.json"
        if result.exists() or (args.row and recipe.name not in args.row):
            continue
        try:
            scores = measure(recipe, args.data, args.runs / recipe.name, args.device)
        except RtsegError as exc:
            print(f"{recipe.name}: {exc}", file=sys.stderr)  # the other rows do not depend on it
            continue
        write_text(result, json.dumps(scores, indent=2) + "\n")
        print(f"{recipe.name}: val mIoU {scores['val_miou']:.4f} after {scores['minutes']:.1f} minutes", flush=True)
    missing = [row.name for row in rows if not (args.out / f"{row.name}.json").exists()]
    return 1 if missing and not args.row else 0


if __name__ == "__main__":
    sys.exit(main())
