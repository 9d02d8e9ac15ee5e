"""What is known of a model's accuracy: the scores that `rtseg eval` wrote beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rtseg.config import RunConfig
from rtseg.files import file_hash
from rtseg.packages.spec import find_package

__all__ = ["accuracy", "distance"]

SAME = 0.05
"""Short sides that differ by less than this fraction count as the same size."""


def accuracy(config: RunConfig, network_size: list[int]) -> dict[str, Any] | None:
    """The mIoU of the configured model at the nearest size that was scored; None where nothing is known.

    Read from eval*.json beside the ONNX file, of that very file (by its hash), else from the spec's provenance.
    `as_run` is whether it was scored at this size and with this refinement, so that the figure is this configuration's.
    """
    if not config.model:
        return None  # the null backend needs none
    package = find_package(config.model, config.spec)
    refine = None if config.refine == "none" else config.refine
    found = [(path, _read(path)) for path in sorted(package.path.parent.glob("eval*.json"))]
    digest = file_hash(package.path) if found else None
    scores = [(path, content) for path, content in found if content is not None and content["sha256"] == digest]
    if scores:
        path, content = min(
            scores, key=lambda one: (one[1].get("refine") != refine, distance(one[1]["network_size"], network_size))
        )
        size = content["network_size"]
        same = content.get("refine") == refine and distance(size, network_size) < SAME
        return {"miou": round(content["miou"], 4), "from": str(path), "network_size": size, "as_run": same}
    miou = package.spec.provenance.get("val_miou_in_training") if package.spec else None
    if package.spec is None or not isinstance(miou, float):
        return None
    size = list(package.spec.size or (package.spec.short_side,) * 2)
    same = refine is None and distance(size, network_size) < SAME
    return {"miou": round(miou, 4), "from": "validation in training", "network_size": size, "as_run": same}


def distance(size: list[int], other: list[int]) -> float:
    """How far two network sizes are apart: the logarithm of the ratio of their short sides."""
    return abs(math.log(min(size) / min(other)))


def _read(path: Path) -> dict[str, Any] | None:
    """The scores in a file of `rtseg eval`; None for any other."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("miou"), float):
        return None
    size = content.get("network_size")
    known = "sha256" in content and isinstance(size, list) and len(size) == 2
    return content if known else None
