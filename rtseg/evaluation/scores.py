"""Score a model on labelled images through the pipeline's own preprocess, backend and labels."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtseg.datasets import Dataset, open_dataset
from rtseg.errors import ModelError
from rtseg.evaluation.metrics import BoundaryScore, Confusion
from rtseg.evaluation.temporal import TemporalConsistency, place_of
from rtseg.evaluation.worst import Worst
from rtseg.files import file_hash, write_text
from rtseg.frame import Image, Labels
from rtseg.packages.card import write_card
from rtseg.packages.onnx_file import is_quantised
from rtseg.packages.spec import ModelSpec, find_package
from rtseg.progress import shown
from rtseg.segmenter.contract import Stages

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["evaluate", "table", "write_scores"]


class Sums:
    """What scores are made of, summed over the images of one sequence or of all."""

    def __init__(self, classes: int, ignore: int) -> None:
        self.images = 0
        self.confusion, self.boundary = Confusion(classes, ignore), BoundaryScore(classes, ignore)
        self.temporal = TemporalConsistency(classes, ignore)

    def add(self, number: int | None, image: Image, labels: Labels, truth: Labels) -> Confusion:
        """Count an image and return its own confusion."""
        one = Confusion(len(self.confusion.matrix), self.confusion.ignore)
        one.add(labels, truth)
        self.images += 1
        self.confusion.include(one)
        self.boundary.add(labels, truth)
        self.temporal.add(number, image, labels, truth)
        return one

    def include(self, other: Sums) -> None:
        """Count what another has counted."""
        self.images += other.images
        self.confusion.include(other.confusion)
        self.boundary.include(other.boundary)
        self.temporal.include(other.temporal)

    def scores(self) -> dict[str, Any]:
        """The means, ready for JSON."""
        return {
            "images": self.images,
            "miou": _number(self.confusion.mean_iou()),
            "pixel_accuracy": _number(self.confusion.pixel_accuracy()),
            "class_accuracy": _number(self.confusion.mean_accuracy()),
            "boundary_f": _number(self.boundary.mean()),
            "temporal_consistency": self.temporal.scores(),
        }


def evaluate(
    segmenter: Stages,
    *,
    data: Path,
    split: str = "val",
    dataset: str | None = None,
    limit: int | None = None,
    worst: Worst | None = None,
    progress: Console | None = None,
) -> dict[str, Any]:
    """Label the images of a split and return the scores, ready for JSON, having shown every image to `worst`.

    `dataset` names the layout of the folder `data`, None recognises it; its classes are the model's, in any order.
    Void is left out of all scores: mIoU, pixel and class accuracy, the boundary F-score (tolerance 0.75 % of the
    diagonal), the confusion matrix (rows: truth; last column: given no class) and, where frames are consecutive,
    temporal consistency. Means are given per sequence too. Errors: ConfigError for the data, ModelError for a model
    with other classes.
    """
    spec = segmenter.spec
    images = open_dataset(data, split, name=dataset, limit=limit)
    ids = _model_ids(images, spec)
    sequences: dict[str, Sums] = {}
    for index in shown(range(len(images)), len(images), f"scoring {split}", progress):
        image, truth = images.read(index)
        labels, truth = segmenter(image), ids[truth]
        sequence, number = place_of(images.names[index]) if images.facts.drives else (split, None)
        if sequence not in sequences:
            sequences[sequence] = Sums(len(spec.classes), images.ignore_index)
        own = sequences[sequence].add(number, image, labels, truth)
        if worst is not None:
            worst.add(images.names[index], image, labels, truth, own)
    total = Sums(len(spec.classes), images.ignore_index)
    for sums in sequences.values():
        total.include(sums)
    return {
        "model": spec.name,
        "backend": segmenter.backend.name,
        "device": segmenter.backend.device,
        "precision": segmenter.backend.precision,
        "data": data.resolve().name,
        "dataset": images.name,
        "split": split,
        "refine": asdict(segmenter.crf) if segmenter.crf else None,
        "network_size": list(segmenter.place(images.label(0).shape).network),
        **total.scores(),
        "classes": {
            name: {"iou": _number(iou), "accuracy": _number(accuracy), "boundary_f": _number(score)}
            for name, iou, accuracy, score in zip(
                spec.classes,
                total.confusion.iou(),
                total.confusion.class_accuracy(),
                total.boundary.scores(),
                strict=True,
            )
        },
        "confusion": total.confusion.matrix.tolist(),
        "sequences": {sequence: sums.scores() for sequence, sums in sequences.items()},
    }


def write_scores(scores: dict[str, Any], out: Path, model: str) -> None:
    """Write scores as JSON with the model file's arithmetic and hash; as its package's `eval.json`, CARD.md too."""
    path = find_package(model).path
    arithmetic = "int8" if path.suffix == ".onnx" and is_quantised(path) else "float"
    file = {"arithmetic": arithmetic, "sha256": file_hash(path)}
    write_text(out, json.dumps({**scores, **file}, indent=2) + "\n")
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


def _number(value: float | np.float64) -> float | None:
    """A score for JSON, which knows no NaN."""
    return None if math.isnan(value) else float(value)


def table(scores: dict[str, Any]) -> str:
    """The scores as lines of text."""
    lines = [f"{'class':<16} {'IoU':>7} {'accuracy':>9} {'boundary F':>11}"]
    for name, values in scores["classes"].items():
        lines.append(
            f"{name:<16} {_cell(values['iou'])} {_cell(values['accuracy'], 9)} {_cell(values['boundary_f'], 11)}"
        )
    lines.append(_means("mean", scores))
    if len(scores["sequences"]) > 1:
        lines += ["", f"{'sequence':<16} {'mIoU':>7} {'accuracy':>9} {'boundary F':>11}"]
        lines += [_means(name, values) for name, values in scores["sequences"].items()]
    lines.append(f"pixel accuracy {_cell(scores['pixel_accuracy'])} on {scores['images']} images of {scores['split']}")
    temporal = scores["temporal_consistency"]
    if temporal:
        lines.append(
            f"temporal consistency {temporal['miou']:.4f} on {temporal['pairs']} pairs of consecutive frames "
            f"(the annotation itself: {temporal['truth_miou']:.4f})"
        )
    return "\n".join(lines)


def _means(name: str, scores: dict[str, Any]) -> str:
    cells = (_cell(scores["miou"]), _cell(scores["class_accuracy"], 9), _cell(scores["boundary_f"], 11))
    return f"{name:<16} {' '.join(cells)}"


def _cell(value: float | None, width: int = 7) -> str:
    return "-".rjust(width) if value is None else f"{value:{width}.4f}"
