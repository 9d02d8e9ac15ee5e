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
    """One training run.

    **What.** `dataset` is a layout of `rtseg.datasets`, recognised unless given; `train_split` is learnt,
    `val_split` scored. `weights` are published ones of the encoder, `network_weights` of the whole network, less what
    begins with one of `fresh` (`rtseg.models.weights`). Parameters whose name begins with one of `frozen` keep their
    values; `frozen_norm` keeps the statistics of batch normalisation.

    **How long.** `minutes` of training where that is set (`--time-budget`), else `steps`, else `epochs`. By minutes
    the learning rate follows the elapsed time, so that the run ends annealed however busy the machine is; only runs by
    steps or epochs can be repeated bit for bit.

    **How fast.** `warm_up` is the fraction of the run with a rising learning rate; then it falls along a cosine to 1 %,
    as a polynomial of `power` to 0, or stays. Names that begin with a key of `rates` learn at that multiple of it, and
    biases at `bias_rate` times that. `clip` bounds the norm of the gradient, null leaves it. `ema` is the decay per
    step of the averaged weights that are validated and exported, 0 for none.

    **When.** Validation every `validate_every` epochs (0: never) and at the end; a checkpoint every
    `checkpoint_minutes`, and every `checkpoint_steps` where that is set.
    """

    name: str
    network: str
    dataset: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    weights: str | None = None
    network_weights: str | None = None
    fresh: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    frozen_norm: bool = False
    rates: dict[str, float] = {}
    augmentation: Augmentation
    loss: LossWeights = LossWeights()
    epochs: int = 100
    steps: int | None = None
    minutes: float | None = None
    batch: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    bias_rate: float = 1.0
    weight_decay: float = 0.05
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    power: float = 0.9
    warm_up: float = 0.05
    clip: float | None = 10.0
    ema: float = 0.998
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    seed: int = 1
    validate_every: int = 10
    checkpoint_minutes: float = 2.0
    checkpoint_steps: int | None = None

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
