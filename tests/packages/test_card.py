"""CARD.md says what the spec and the scores of this very file say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rtseg.files import file_hash
from rtseg.packages.card import write_card
from rtseg.training.data import CAMVID
from rtseg.training.recipe import Recipe
from rtseg.training.transforms import Augmentation

RECIPE = Recipe(name="t", network="pidnet-s", augmentation=Augmentation(crop=(64, 64)))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as `rtseg export` writes it, but for a model that is no network."""
    write_spec(tmp_path, RECIPE, checkpoint="best")
    (tmp_path / "model.onnx").write_bytes(b"model")
    return tmp_path


def write_spec(folder: Path, recipe: Recipe | dict[str, Any], **provenance: Any) -> None:
    provenance = {"recipe": msgspec.to_builtins(recipe), "steps": 7, "data": "camvid train", **provenance}
    spec = msgspec.structs.replace(CAMVID, name="toy", network="pidnet-s", provenance=provenance)
    (folder / "spec.json").write_text(spec.to_json())


def card(folder: Path) -> str:
    write_card(folder)
    return (folder / "CARD.md").read_text()


def scores(package: Path, **changes: object) -> dict[str, object]:
    return {
        "backend": "openvino", "precision": "fp32", "data": "camvid", "split": "val", "images": 101,
        "network_size": [360, 480], "miou": 0.61234, "pixel_accuracy": 0.9, "boundary_f": 0.5,
        "classes": {"Sky": {"iou": 0.91, "boundary_f": 0.8}, "Bicyclist": {"iou": None, "boundary_f": None}},
        "sha256": file_hash(package / "model.onnx"), **changes,
    }  # fmt: skip


SAME_STREET = "CamVid's val split is a part of a drive that is also in train (same street, same light)"
LAST_ROW = "| Bicyclist | not in the data | not in the data |"


@pytest.mark.parametrize(
    ("checkpoint", "changes", "last_line"),
    [
        ("last", {}, f"{SAME_STREET}: expect less on another drive."),
        (
            "best",
            {},
            f"{SAME_STREET}, and the checkpoint was chosen by its val mIoU: expect less on another drive.",
        ),
        (
            None,
            {},
            f"{SAME_STREET}, and the checkpoint may have been chosen by its val mIoU: expect less on another drive.",
        ),
        (
            "best",
            {"dataset": "voc"},
            "The checkpoint was chosen by its val mIoU: expect a little less on other images.",
        ),
        ("last", {"dataset": "voc"}, LAST_ROW),
        ("best", {"split": "test"}, LAST_ROW),
    ],
)
def test_it_says_how_the_checkpoint_was_chosen(
    package: Path, checkpoint: str | None, changes: dict[str, str], last_line: str
) -> None:
    """Packages of earlier exports do not know it."""
    write_spec(package, RECIPE, **({"checkpoint": checkpoint} if checkpoint else {}))
    (package / "eval.json").write_text(json.dumps(scores(package, **changes)))
    assert card(package).splitlines()[-1] == last_line


def test_it_names_the_optimiser_and_the_averaging(package: Path) -> None:
    found = card(package)
    assert "`t`: AdamW, learning rate 0.001, weight decay 0.05" in found and "averaged weights (decay 0.998)" in found
    write_spec(package, msgspec.structs.replace(RECIPE, optimizer="sgd", momentum=0.8, ema=0.0))
    found = card(package)
    assert "`t`: SGD with momentum 0.8, learning rate 0.001" in found
    assert "AdamW" not in found and "averaged" not in found


def test_recipes_of_earlier_exports(package: Path) -> None:
    """They name no optimiser and no splits."""
    recipe = msgspec.to_builtins(RECIPE)
    for key in ("optimizer", "momentum", "train_split", "val_split"):
        del recipe[key]
    write_spec(package, recipe)
    (package / "eval.json").write_text(json.dumps(scores(package)))
    assert "`t`: AdamW" in card(package) and SAME_STREET in card(package)
    write_spec(package, {})
    assert "| recipe | unknown |" in card(package)


def test_it_shows_the_scores_of_this_very_file(package: Path) -> None:
    found = card(package)
    assert "Not evaluated yet" in found and "CC BY-NC 4.0" in found and "7 steps of 8 images" in found

    (package / "eval.json").write_text(json.dumps(scores(package)))
    found = card(package)
    assert "| 0.6123 | 0.9000 | 0.5000 |" in found and "Not evaluated yet" not in found
    assert "| Sky | 0.9100 | 0.8000 |" in found and LAST_ROW in found

    (package / "eval.json").write_text(json.dumps(scores(package, sha256="of another file")))
    assert "Not evaluated yet" in card(package)
