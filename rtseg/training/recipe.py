"""A training run as a YAML file: every key of `configs/train/*.yaml` is a field of Recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from rtseg.config import from_mapping
from rtseg.errors import ConfigError, nearest
from rtseg.training.losses import LossWeights
from rtseg.training.transforms import Augmentation

__all__ = ["Recipe", "differences", "read_recipe", "read_yaml", "recipe_of"]

SEEDS = 1 << 24
"""Seeds that leave torch's 64 bits room for the step and the process (`Run.seed_step`)."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run; every field is a key of `configs/train/*.yaml`.

    Runs by `steps` or `epochs` can be repeated bit for bit; one by `minutes` (`--time-budget`) follows the clock.

    Raises:
        ConfigError: A value is out of its range; the message names the field.
    """

    name: str
    """What the run is called, in its log and in the checkpoint."""
    network: str
    """A name of `rtseg.models.names()`, such as `pidnet-s` or `unet-resnet18`."""
    dataset: str | None = None
    """Layout of the labelled images (`rtseg.datasets`); left out, it is recognised."""
    train_split: str = "train"
    """The split that is learnt."""
    val_split: str = "val"
    """The split that is scored."""
    weights: str | None = None
    """Published weights of the encoder: a name or a file (`rtseg.models.weights`)."""
    network_weights: str | None = None
    """Published weights of the whole network, instead of `weights`."""
    fresh: tuple[str, ...] = ()
    """Parameters whose names begin so are not taken from `network_weights`."""
    frozen: tuple[str, ...] = ()
    """Parameters whose names begin so keep their values."""
    frozen_norm: bool = False
    """Batch normalisation keeps its statistics."""
    rates: dict[str, float] = {}
    """Multiples of the learning rate, by the beginning of the parameters' names."""
    augmentation: Augmentation
    """How samples are varied: the keys of Augmentation."""
    loss: LossWeights = LossWeights()
    """What is minimised: the keys of LossWeights."""
    epochs: int = 100
    """Length of the run, unless `steps` or `minutes` is set."""
    steps: int | None = None
    """Length in steps, unless `minutes` is set."""
    minutes: float | None = None
    """Length in minutes; the learning rate then follows the clock, so that the run ends annealed."""
    batch: int = 8
    """Samples per step, over all processes."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with momentum."""
    momentum: float = 0.9
    """Momentum of sgd."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    bias_rate: float = 1.0
    """Multiple of the learning rate for biases."""
    weight_decay: float = 0.05
    """Decay of weights, not of biases and normalisation."""
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: along a cosine to 1 %, as a polynomial to 0, or not at all."""
    power: float = 0.9
    """Exponent of `poly`."""
    warm_up: float = 0.05
    """Fraction of the run in which the learning rate rises."""
    clip: float | None = 10.0
    """Bound of the gradient's norm; null for none."""
    ema: float = 0.998
    """Decay per step of the averaged weights that are validated and exported; 0 for none."""
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Arithmetic of forward and backward passes."""
    seed: int = 1
    """Seed of everything that is drawn."""
    validate_every: int = 10
    """Epochs between validations, 0 for never; the end is always validated."""
    checkpoint_minutes: float = 2.0
    """Minutes between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, beside those by the clock."""

    def __post_init__(self) -> None:
        for key in ("epochs", "steps", "minutes", "batch", "learning_rate", "clip", "checkpoint_steps"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ConfigError(f"{key} is {value}: expected more than 0")
        for key in ("bias_rate", "weight_decay", "power", "validate_every", "checkpoint_minutes"):
            if not getattr(self, key) >= 0:
                raise ConfigError(f"{key} is {getattr(self, key)}: expected 0 or more")
        for prefix, rate in self.rates.items():
            if not rate >= 0:
                raise ConfigError(f"rates has {rate} for '{prefix}': expected 0 or more")
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f"seed is {self.seed}: expected 0 to {SEEDS - 1}")
        for key in ("warm_up", "ema", "momentum"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"{key} is {getattr(self, key)}: expected 0 or more and less than 1")
        if self.weights and self.network_weights:
            raise ConfigError("weights (of the encoder) and network_weights (of all of it): give one of them")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; ConfigError with the file, the offending key and the nearest known one otherwise."""
    return recipe_of(read_yaml(path), str(path))


def recipe_of(content: dict[str, Any], origin: str) -> Recipe:
    """A checked recipe out of plain data; `origin` is named in errors."""
    for table, kind in (("augmentation", Augmentation), ("loss", LossWeights)):
        fields = [field.name for field in msgspec.structs.fields(kind)]
        for key in content[table] if isinstance(content.get(table), dict) else ():
            if key not in fields:
                raise ConfigError(f"{origin}: unknown key '{table}.{key}': {nearest(str(key), fields)}")
    return from_mapping(content, Recipe, origin)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; ConfigError naming it otherwise."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read recipe {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return content


def differences(one: Recipe, other: Recipe) -> list[str]:
    """The names of the fields in which two recipes differ."""
    return [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]
