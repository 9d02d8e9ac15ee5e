"""The state of a training run: all that a checkpoint holds, and how far the run has come."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from rtseg.errors import ConfigError
from rtseg.models import build
from rtseg.models.blocks import Network
from rtseg.models.weights import load_classifier, load_weights
from rtseg.packages.spec import ModelSpec
from rtseg.training.checkpoint import load_checkpoint
from rtseg.training.depthwise import speed_up
from rtseg.training.optimisation import average_into, make_optimizer, rate_factor, set_rate
from rtseg.training.recipe import Recipe, differences, recipe_of

__all__ = ["Run"]

CPU = torch.device("cpu")


class Run:
    """Network, averaged network, optimiser, the step, the seconds trained so far, and what the next log row sums up.

    `base` is the spec of the data set (`spec_of_data`), `data` describes it in words. Without `published` the recipe's
    weights are not loaded: those of a checkpoint are to take their place.
    """

    def __init__(
        self, recipe: Recipe, base: ModelSpec, data: str = "", device: torch.device = CPU, *, published: bool = True
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.base, self.data, self.device = recipe, base, data, device
        network = build(recipe.network, len(base.classes), training_heads=True)
        if published and recipe.weights:
            load_classifier(network, _encoder(network, recipe), recipe.weights)
        if published and recipe.network_weights:
            load_weights(network, recipe.network_weights, skip=recipe.fresh)
        self.network: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Network = copy.deepcopy(self.network).eval()
        if device.type == "cpu":
            speed_up(self.network)
        self.optimizer = make_optimizer(self.network, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.revision = _revision()
        self.step = 0
        self.elapsed = 0.0
        self.scores: dict[str, float] = {}
        self.totals: dict[str, float] = {}
        self.seconds: list[float] = []

    def state(self, kept: Literal["last", "best"] = "last") -> dict[str, Any]:
        """What a checkpoint holds: tensors and plain values; `kept` is why: the newest, or of the best val mIoU."""
        return {
            "kept": kept,
            "recipe": msgspec.json.encode(self.recipe).decode(),
            "spec": self.base.to_json(),
            "data": self.data,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "scores": self.scores,
            "totals": self.totals,
            "seconds": self.seconds,
            "revision": self.revision,
            "torch": str(torch.__version__),
            "device": _device_name(self.device),
        }

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe and data; ConfigError naming what differs otherwise."""
        state = load_checkpoint(path)
        changed = differences(recipe_of(msgspec.json.decode(state["recipe"]), str(path)), self.recipe)
        if changed:
            raise ConfigError(
                f"{path} was trained with another recipe (other: {', '.join(changed)}): start over or use that recipe"
            )
        data = state.get("data") or self.data
        if self.data and data != self.data:
            raise ConfigError(
                f"{path} was trained on {data}; the data given are {self.data}: give the same, or start over"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.step, self.elapsed, self.scores = state["step"], state["elapsed"], state["scores"]
        self.totals, self.seconds = state.get("totals", {}), state.get("seconds", [])

    def progress(self, epoch_steps: int) -> float:
        """The fraction of the run that is done, by time where the recipe has `minutes`, else by steps."""
        if self.recipe.minutes is not None:
            return self.elapsed / (self.recipe.minutes * 60)
        return self.step / (self.recipe.steps or self.recipe.epochs * epoch_steps)

    def set_learning_rate(self, progress: float) -> float:
        """Set the learning rate of that point of the schedule, and return it."""
        rate = self.recipe.learning_rate * rate_factor(self.recipe, progress)
        set_rate(self.optimizer, rate)
        return rate

    def seed_step(self, rank: int) -> None:
        """Seed dropout and draws by the step alone, so that a resumed run has the same ones."""
        torch.manual_seed((self.recipe.seed << 40) + (self.step << 10) + rank)

    def update_average(self) -> None:
        """Move the averaged network towards the current one; the decay grows with the step."""
        average_into(self.average, self.network, min(self.recipe.ema, (1 + self.step) / (10 + self.step)))


def _encoder(network: Network, recipe: Recipe) -> nn.Module:
    """The part that published weights of a classifier are for; torchvision's networks call it backbone."""
    for name in ("encoder", "backbone"):
        if isinstance(part := getattr(network, name, None), nn.Module):
            return part
    raise ConfigError(f"{recipe.name}: {recipe.network} has no encoder that weights could be for: use network_weights")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _revision() -> str:
    """The git revision of the code, with + when the tree differs from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
