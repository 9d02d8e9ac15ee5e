"""Recipes: those of the project load, and faults are named with their place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.models import build, names
from rtseg.registry import DATASETS
from rtseg.training.optimisation import make_optimizer
from rtseg.training.recipe import Recipe, differences, read_recipe
from rtseg.training.transforms import Augmentation

FOLDER = Path(__file__).parents[2] / "configs" / "train"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "compare")
TINY = "name: tiny\nnetwork: fcn-same\naugmentation: {crop: [32, 48]}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_project_load(path: Path) -> None:
    found = read_recipe(path)
    assert found.name == path.stem
    assert found.network in names()
    with torch.device("meta"):
        network = build(found.network, 11, training_heads=True)
    assert all(side % network.multiple == 0 for side in found.augmentation.crop)
    make_optimizer(network, found)  # every prefix names something
    assert found.dataset is None or found.dataset in DATASETS


@pytest.mark.parametrize(("base", "rate"), [("alexnet", 1e-3), ("vgg16", 1e-4), ("googlenet", 1e-5)])
def test_the_fcn_papers_guideline(base: str, rate: float) -> None:
    recipe = read_recipe(FOLDER / f"fcn-{base}.yaml")
    assert (recipe.optimizer, recipe.momentum, recipe.batch, recipe.schedule) == ("sgd", 0.9, 20, "constant")
    assert recipe.learning_rate == rate and recipe.bias_rate == 2 and recipe.weight_decay == 5e-4
    assert recipe.weights


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 1\n", r"tiny.yaml: unknown key 'learning_rat': did you mean 'learning_rate'"),
        ("loss: {hard_fractio: 1}\n", r"tiny.yaml: unknown key 'loss.hard_fractio': did you mean 'hard_fraction'"),
        ("batch: many\n", r"tiny.yaml: .*\$.batch"),
        ("loss: 3\n", r"tiny.yaml: .*\$.loss"),
        ("batch: 0\n", r"tiny.yaml: batch is 0: expected more than 0"),
        ("warm_up: 1\n", r"tiny.yaml: warm_up is 1.0: expected 0 or more and less than 1"),
        ("optimizer: adam\n", r"tiny.yaml: .*adam"),
        ("weights: a\nnetwork_weights: b\n", "give one of them"),
        ("batch: [\n", "tiny.yaml: not valid YAML"),
        ("weight_decay: -1\n", "weight_decay is -1.0: expected 0 or more"),
        ("clip: 0\n", "clip is 0.0: expected more than 0"),
        ("rates: {conv: -2}\n", "rates has -2.0 for 'conv': expected 0 or more"),
        ("seed: -1\n", "seed is -1: expected 0 to 16777215"),
        ("seed: 16777216\n", "seed is 16777216: expected 0 to 16777215"),
        ("minutes: .nan\n", "minutes is nan: expected more than 0"),
    ],
)
def test_faults_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(written(tmp_path, TINY + line))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("crop: [0, 96]", r"crop is \[0, 96\]: expected a height and a width of 1 or more"),
        ("label_stride: 0", "label_stride is 0: expected 1 to 32"),
        ("label_stride: 33", "label_stride is 33: expected 1 to 32"),
        ("scale: [0, 1]", r"scale is \[0, 1\]: expected low and high with 0 < low <= high"),
        ("scale: [2, 1]", r"scale is \[2, 1\]"),
        ("gamma: [0, 1]", r"gamma is \[0, 1\]: expected low and high with 0 < low <= high"),
        ("gamma: [1, .inf]", r"gamma is \[1, inf\]"),
        ("gain: [-1, 1]", r"gain is \[-1, 1\]: expected low and high with 0 <= low <= high"),
        ("saturation: [0, .nan]", r"saturation is \[0, nan\]"),
        ("focus: 1.5", "focus is 1.5: expected 0 to 1"),
        ("noise: -0.1", "noise is -0.1: expected 0 to 1"),
        ("stretch: 0", "stretch is 0: expected 1"),
        ("rotation: -3", "rotation is -3: expected 0 to 180 degrees"),
    ],
)
def test_faults_of_the_augmentation(tmp_path: Path, values: str, message: str) -> None:
    crop = "" if values.startswith("crop") else "crop: [32, 48], "
    with pytest.raises(ConfigError, match=rf"tiny.yaml: {message}.* - at `\$.augmentation`"):
        read_recipe(written(tmp_path, TINY.replace("crop: [32, 48]", crop + values)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("hard_probability: 0", "hard_probability is 0: expected more than 0, and at most 1"),
        ("boundary_probability: 1", "boundary_probability is 1: expected more than 0, less than 1"),
        ("hard_fraction: 1.1", "hard_fraction is 1.1: expected 0 to 1"),
        ("balance: -1", "balance is -1: expected 0 to 1"),
        ("lovasz: .nan", "lovasz is nan: expected 0 or more"),
    ],
)
def test_faults_of_the_loss(tmp_path: Path, values: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml: {message} - at `\$.loss`"):
        read_recipe(written(tmp_path, f"{TINY}loss: {{{values}}}\n"))


def test_changed_recipes_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="minutes is 0: expected more than 0"):
        msgspec.structs.replace(read_recipe(written(tmp_path, TINY)), minutes=0)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe .*none.yaml: No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="expected keys and values"):
        read_recipe(written(tmp_path, "- a\n"))


def test_differences_are_named() -> None:
    one = Recipe(name="a", network="fcn-same", augmentation=Augmentation(crop=(8, 8)))
    other = msgspec.structs.replace(one, batch=3, augmentation=Augmentation(crop=(8, 16)))
    assert differences(one, one) == []
    assert differences(one, other) == ["augmentation", "batch"]


def test_deeplabv3_learns_the_augmented_masks_of_voc() -> None:
    recipe = read_recipe(FOLDER / "deeplabv3-resnet50-voc.yaml")
    assert (recipe.dataset, recipe.train_split, recipe.val_split) == ("voc", "trainaug", "val")


def test_recipes_of_earlier_checkpoints_are_read() -> None:
    """A checkpoint holds its recipe as JSON with the fields of its day."""
    text = '{"name":"a","network":"pidnet-s","augmentation":{"crop":[8,8]},"loss":{"lovasz":0.5},"minutes":65.0}'
    found = msgspec.json.decode(text, type=Recipe)
    assert (found.minutes, found.optimizer, found.schedule, found.clip) == (65.0, "adamw", "cosine", 10.0)
    assert (found.train_split, found.val_split) == ("train", "val")
