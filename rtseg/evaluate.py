"""Score a model on labelled images through the pipeline's own preprocess, backend and labels."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.card import write_card
from rtseg.errors import ModelError
from rtseg.report import file_hash
from rtseg.segmenter import Segmenter
from rtseg.spec import ModelSpec, find_package, write_text
from rtseg.training.datasets import Dataset, open_dataset
from rtseg.training.metrics import BoundaryScore, Confusion

__all__ = ["evaluate", "table", "write_scores"]


def evaluate(
    segmenter: Segmenter, *, data: Path, split: str = "val", dataset: str | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Label the images of a split and return the scores, ready for JSON.

    `dataset` names the layout of the folder `data`, None recognises it; its classes are the model's, in any order.

    mIoU, IoU per class, pixel accuracy and the boundary F-score (tolerance 0.75 % of the diagonal), void left out.
    Errors: ConfigError for the data, ModelError for a model with other classes.
    """
    spec = segmenter.spec
    images = open_dataset(data, split, name=dataset, limit=limit)
    ids = _model_ids(images, spec)
    confusion = Confusion(len(spec.classes), images.ignore_index)
    boundary = BoundaryScore(len(spec.classes), images.ignore_index)
    for index in range(len(images)):
        image, truth = images.read(index)
        labels, truth = segmenter(image), ids[truth]
        confusion.add(labels, truth)
        boundary.add(labels, truth)
    return {
        "model": spec.name,
        "backend": segmenter.backend.name,
        "device": segmenter.backend.device,
        "precision": segmenter.backend.precision,
        "data": data.resolve().name,
        "dataset": images.name,
        "split": split,
        "images": len(images),
        "refine": asdict(segmenter.crf) if segmenter.crf else None,
        "network_size": list(segmenter.fit(images.label(0).shape).network),
        "miou": confusion.mean_iou(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "boundary_f": boundary.mean(),
        "classes": {
            name: {"iou": _number(iou), "boundary_f": _number(score)}
            for name, iou, score in zip(spec.classes, confusion.iou(), boundary.scores(), strict=True)
        },
    }


def write_scores(scores: dict[str, Any], out: Path, model: str) -> None:
    """Write scores as JSON with the hash of the model file; as `eval.json` of its package they also renew CARD.md."""
    path = find_package(model).path
    write_text(out, json.dumps({**scores, "sha256": file_hash(path)}, indent=2) + "\n")
    if out.name == "eval.json" and out.resolve().parent == path.resolve().parent:
        write_card(path.parent)


def _model_ids(images: Dataset, spec: ModelSpec) -> NDArray[np.uint8]:
    """The model's class for each label of the data, (256,) uint8, matched by name in any order and case."""
    own, theirs = ([name.lower() for name in names] for names in (spec.classes, images.classes))
    lists = (f"only the model has {_few(own, theirs)}", f"only the data has {_few(theirs, own)}")
    if set(own) != set(theirs):
        raise ModelError(f"model {spec.name} and the {images.name} data differ in classes: {'; '.join(lists)}")
    ids = np.arange(256, dtype=np.uint8)
    ids[: len(theirs)] = [own.index(name) for name in theirs]
    return ids


def _few(names: list[str], without: list[str]) -> str:
    rest = [name for name in names if name not in without]
    return (", ".join(rest[:8]) + f" and {len(rest) - 8} more" * (len(rest) > 8)) or "none"


def _number(value: np.float64) -> float | None:
    """A score for JSON, which knows no NaN."""
    return None if math.isnan(value) else float(value)


def table(scores: dict[str, Any]) -> str:
    """The scores as lines of text."""
    lines = [f"{'class':<16} {'IoU':>7} {'boundary F':>11}"]
    for name, values in scores["classes"].items():
        iou, score = ("-" if value is None else f"{value:.4f}" for value in (values["iou"], values["boundary_f"]))
        lines.append(f"{name:<16} {iou:>7} {score:>11}")
    lines.append(f"{'mean':<16} {scores['miou']:>7.4f} {scores['boundary_f']:>11.4f}")
    lines.append(f"pixel accuracy {scores['pixel_accuracy']:.4f} on {scores['images']} images of {scores['split']}")
    return "\n".join(lines)
