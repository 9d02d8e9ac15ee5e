"""Where scores go: to the requested file, and to the model's own package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rtseg.config import RunConfig
from rtseg.evaluation.scores import write_scores
from rtseg.files import disk_errors
from rtseg.packages.spec import Package, find_package

__all__ = ["record_scores"]

SETTINGS = ("size", "short_side", "fit", "antialias", "refine", "ignore_class", "spec", "spec_fields")
"""With any of these changed, the scores are not those of the model as it runs by default."""


def record_scores(
    scores: dict[str, Any], config: RunConfig, *, out: Path | None = None, limit: int | None = None
) -> list[str]:
    """Write scores to `out` and refresh `eval.json` and `CARD.md` of the package; returns what was done, in lines.

    A package is refreshed by scores of a whole split (no `limit`) that it was not trained on, with the model as it
    runs by default; one that is installed or cannot be written to stays as it is.

    Raises:
        SinkError: the disk does not take a file.
    """
    package = None if config.backend == "null" else find_package(config.model, config.spec)
    own = None
    if package is not None and package.path.name == "model.onnx" and package.path.with_name("spec.json").is_file():
        own = package.path.with_name("eval.json")
    lines = []
    if out is not None:
        with disk_errors(out):
            write_scores(scores, out, config.model)
        if own is not None and out.resolve() == own.resolve():
            return [f"wrote {out} and {out.with_name('CARD.md')}"]
        lines.append(f"wrote {out}")
    if own is None or package is None:
        return lines
    reason = _kept_because(package, scores, config, limit)
    if reason:
        return [*lines, f"{own} stays as it is: {reason}"]
    with disk_errors(own):
        write_scores(scores, own, config.model)
    return [*lines, f"refreshed {own} and {own.with_name('CARD.md')}"]


def _kept_because(package: Package, scores: dict[str, Any], config: RunConfig, limit: int | None) -> str | None:
    """Why the scores in a package are not replaced by these; None where they are."""
    usual = RunConfig(input=config.input)
    changed = [name for name in SETTINGS if getattr(config, name) != getattr(usual, name)]
    trained = package.spec.provenance.get("recipe", {}).get("train_split", "train") if package.spec else None
    if limit is not None:
        return f"the split was scored in part (--limit {limit})"
    if changed:
        return f"scored with another setting ({', '.join(changed)})"
    if scores["split"] == trained:
        return f"the model was trained on the split {trained}"
    if {"site-packages", "dist-packages"} & set(package.path.resolve().parts):
        return "the package is an installed one"
    if not os.access(package.path.parent, os.W_OK):
        return "the folder is read-only"
    return None
