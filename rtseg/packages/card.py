"""CARD.md of a model package, written from its spec and its measured scores: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rtseg.files import file_hash, write_text
from rtseg.packages.spec import ModelSpec, read_spec

__all__ = ["write_card"]


def write_card(package: Path) -> None:
    """Write `CARD.md` of a package folder out of `spec.json` and, if it belongs to this model.onnx, `eval.json`."""
    spec = read_spec((package / "spec.json").read_bytes(), str(package / "spec.json"))
    model = package / "model.onnx"
    scores: dict[str, Any] | None = None
    if (package / "eval.json").is_file():
        scores = json.loads((package / "eval.json").read_text(encoding="utf-8"))
        if scores is not None and scores.get("sha256") != file_hash(model):
            scores = None  # of an earlier model
    write_text(package / "CARD.md", _card(spec, model.stat().st_size, scores))


def _card(spec: ModelSpec, size: int, scores: dict[str, Any] | None) -> str:
    recipe = spec.provenance.get("recipe", {})
    lines = [
        f"# {spec.name}",
        "",
        "Written by `rtseg export` and `rtseg eval`.",
        "",
        "| | |",
        "| --- | --- |",
        f"| network | {spec.network} |",
        f"| classes | {', '.join(spec.classes)} |",
        f"| input | {spec.channels} {spec.dtype}, {spec.layout}, sides multiples of {spec.multiple}, "
        f"short side {spec.short_side} by default |",
        f"| output | {spec.output_kind} at 1/{spec.output_stride} of the input's size |",
        f"| file | model.onnx, {size / 1e6:.1f} MB |",
        f"| license | {spec.license} |",
        f"| trained on | {spec.provenance.get('data', 'unknown')} |",
        f"| initial weights | {spec.provenance.get('initial_weights', 'unknown')} |",
        f"| recipe | {_recipe(recipe)} |",
        f"| training | {spec.provenance.get('steps', 0)} steps of {recipe.get('batch', '?')} images, "
        f"{spec.provenance.get('minutes', 0)} minutes on a {spec.provenance.get('device', 'unknown')} |",
        f"| code | revision {spec.provenance.get('revision', 'unknown')}, torch {spec.provenance.get('torch')} |",
        "",
        "## Scores",
        "",
    ]
    if scores:
        lines += _scores(scores) + _reservation(spec, scores)
    else:
        lines.append("Not evaluated yet: run `rtseg eval`.")
    return "\n".join(lines) + "\n"


def _recipe(recipe: dict[str, Any]) -> str:
    """What decides a training run, in one line; all of it is in the spec's provenance."""
    if not recipe:
        return "unknown"
    height, width = recipe["augmentation"]["crop"]
    smallest, largest = recipe["augmentation"]["scale"]
    return (
        f"`{recipe['name']}`: {_optimizer(recipe)}, learning rate {recipe['learning_rate']:g}, "
        f"weight decay {recipe['weight_decay']:g}, {recipe['precision']}, "
        f"crops {height}x{width} at {smallest:g} to {largest:g} times the size, "
        + (f"averaged weights (decay {recipe['ema']:g}), " if recipe["ema"] else "")
        + f"seed {recipe['seed']}; in full in spec.json"
    )


def _optimizer(recipe: dict[str, Any]) -> str:
    if recipe.get("optimizer") == "sgd":
        return f"SGD with momentum {recipe['momentum']:g}"
    return "AdamW"  # the only one when recipes did not name it


def _scores(scores: dict[str, Any]) -> list[str]:
    lines = [
        f"{scores['images']} images of {scores['data']}/{scores['split']} through the whole pipeline "
        f"({scores['backend']}, {scores['precision']}, network input {scores['network_size'][0]}x"
        f"{scores['network_size'][1]}); void is not scored.",
        "",
        "| mIoU | pixel accuracy | boundary F-score |",
        "| --- | --- | --- |",
        f"| {scores['miou']:.4f} | {scores['pixel_accuracy']:.4f} | {scores['boundary_f']:.4f} |",
        "",
        "| class | IoU | boundary F-score |",
        "| --- | --- | --- |",
    ]
    for name, values in scores["classes"].items():
        cells = ["not in the data" if values[key] is None else f"{values[key]:.4f}" for key in ("iou", "boundary_f")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return lines


def _reservation(spec: ModelSpec, scores: dict[str, Any]) -> list[str]:
    """Why scores on the split that a training was validated on are higher than those elsewhere will be."""
    split = spec.provenance.get("recipe", {}).get("val_split", "val")
    if scores["split"] != split:
        return []
    chosen = {
        "best": f"the checkpoint was chosen by its {split} mIoU",
        "last": None,  # the end of the run, whatever it scores
    }.get(spec.provenance.get("checkpoint", "unknown"), f"the checkpoint may have been chosen by its {split} mIoU")
    if split == "val" and scores.get("dataset", "camvid") == "camvid":
        same = "CamVid's val split is a part of a drive that is also in train (same street, same light)"
        return ["", f"{same}{f', and {chosen}' if chosen else ''}: expect less on another drive."]
    return ["", f"{chosen[0].upper()}{chosen[1:]}: expect a little less on other images."] if chosen else []
