"""Train a network from a recipe: `python -m rtseg.training.train RECIPE --data FOLDER --out FOLDER`."""

from __future__ import annotations

import argparse
import copy
import csv
import importlib.metadata
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import ConfigError
from rtseg.frame import Image
from rtseg.models import build
from rtseg.models.blocks import Heads, Network
from rtseg.training.allocator import keep_memory
from rtseg.training.data import CAMVID, Batches, CamVid
from rtseg.training.depthwise import speed_up
from rtseg.training.losses import Criterion, LossWeights, class_weights
from rtseg.training.metrics import Confusion
from rtseg.training.transforms import Augmentation

__all__ = ["Recipe", "Run", "evaluate", "load_checkpoint", "main", "normalise", "read_recipe"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run, as in `configs/train/*.yaml`.

    The run ends after `epochs`, or after `minutes` of training where that is set (`--time-budget`): then the learning
    rate follows the elapsed time, so that the run ends annealed however busy the machine is; only a run by epochs can
    be repeated bit for bit. `weights` are published ones of the encoder (`rtseg.models.weights`); parameters whose name
    begins with one of `frozen` keep them, and those that begin with a key of `rates` learn at that multiple of the
    learning rate. `warm_up` is the fraction of the run with a rising learning rate, `ema` the decay per step
    of the averaged weights that are validated and exported.
    """

    name: str
    network: str
    weights: str | None = None
    frozen: tuple[str, ...] = ()
    rates: dict[str, float] = {}
    augmentation: Augmentation
    loss: LossWeights = LossWeights()
    epochs: int = 100
    minutes: float | None = None
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    clip: float = 10.0
    ema: float = 0.998
    precision: str = "bfloat16"
    seed: int = 1
    validate_every: int = 10


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; ConfigError with the file and the offending key otherwise."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Recipe)
    except OSError as exc:
        raise ConfigError(f"cannot read recipe {path}: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


class Run:
    """What a checkpoint holds: network, averaged network, optimiser, the step, and the seconds trained so far."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        network = build(recipe.network, len(CAMVID.classes), training_heads=True)
        if recipe.weights:
            load_encoder(network, recipe.weights)
        self.network: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Network = copy.deepcopy(self.network).eval()
        speed_up(self.network)
        self.optimizer = torch.optim.AdamW(_groups(self.network, recipe), lr=recipe.learning_rate)
        self.revision = _revision()
        self.step = 0
        self.elapsed = 0.0
        self.scores: dict[str, float] = {}

    def save(self, path: Path) -> None:
        """Write the checkpoint so that the name never holds half of it."""
        state = {
            "recipe": msgspec.json.encode(self.recipe).decode(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "scores": self.scores,
            "revision": self.revision,
            "torch": str(torch.__version__),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save(state, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe."""
        state = load_checkpoint(path)
        if msgspec.json.decode(state["recipe"], type=Recipe) != self.recipe:
            raise ConfigError(f"{path} was trained with another recipe: start afresh or use that recipe")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        self.step, self.elapsed, self.scores = state["step"], state["elapsed"], state["scores"]

    def progress(self, steps: int) -> float:
        """The fraction of the run that is done, by time where the recipe has a time budget, else by steps."""
        if self.recipe.minutes is not None:
            return self.elapsed / (self.recipe.minutes * 60)
        return self.step / (self.recipe.epochs * steps)

    def set_learning_rate(self, progress: float) -> float:
        """Linear warm-up, then a cosine down to 1 % of the recipe's learning rate; returns what was set."""
        warm_up = self.recipe.warm_up
        if progress < warm_up:
            factor = max(progress / warm_up, 0.01)
        else:
            rest = min((progress - warm_up) / (1 - warm_up), 1.0)
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest))
        rate = self.recipe.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights and batch statistics towards the current ones; the decay grows with the step."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def load_encoder(network: Network, source: str) -> None:
    """Load published weights into a network's encoder: `package:NAME` of an installed package that carries them."""
    files = importlib.metadata.files(source.removeprefix("package:")) or []
    (path,) = (file.locate() for file in files if file.suffix in (".pth", ".pt"))
    state = torch.load(path, map_location="cpu", weights_only=True)
    encoder = network.get_submodule("encoder")
    encoder.load_state_dict(
        {key: value for key, value in state.items() if not key.startswith(encoder.published_extras)}
    )


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups by learning rate factor and by whether they decay (matrices do, biases and norms do not)."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name.startswith(recipe.frozen):
            parameter.requires_grad_(False)
            continue
        factor = next((factor for prefix, factor in recipe.rates.items() if name.startswith(prefix)), 1.0)
        groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": recipe.weight_decay if decays else 0.0}
        for (factor, decays), parameters in groups.items()
    ]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint (tensors and plain values only); ConfigError if it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["recipe"], state["average"]
    except FileNotFoundError as exc:
        raise ConfigError(f"no checkpoint at {path}") from exc
    except Exception as exc:  # torch.load raises whatever its unpickler or zip reader meets
        raise ConfigError(f"{path} is not a training checkpoint: {exc}") from exc
    return dict(state)


def _revision() -> str:
    """The git revision of the code, with + when the tree differs from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def normalise(images: Image, network: Network) -> Tensor:
    """Turn NHWC uint8 BGR images into the NCHW float32 RGB tensor that a network takes (channels-last in memory)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).flip(1)  # NHWC BGR -> NCHW RGB
    mean, std = torch.tensor(network.mean).view(3, 1, 1), torch.tensor(network.std).view(3, 1, 1)
    return (x.float().mul_(1 / 255).sub_(mean).div_(std)).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def evaluate(network: Network, dataset: CamVid) -> Confusion:
    """Score a network in float32 on whole images, padded to its multiple, logits upsampled to the size of the labels."""
    network.eval()
    confusion = Confusion(len(CAMVID.classes), CAMVID.ignore_index)
    for image, label in zip(dataset.images, dataset.labels, strict=True):
        height, width = label.shape
        x = F.pad(normalise(image[None], network), (0, -width % network.multiple, 0, -height % network.multiple))
        logits = F.interpolate(network(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        confusion.add(logits[..., :height, :width].argmax(1)[0].numpy(), label)
    return confusion


def train_epoch(run: Run, batches: Batches, criterion: Criterion, last: int | None) -> Iterator[dict[str, float]]:
    """Train to the end of the epoch (or to step `last`, or until the time is up), yielding losses after each step."""
    recipe = run.recipe
    mixed = recipe.precision == "bfloat16"
    end = (run.step // batches.steps + 1) * batches.steps
    run.network.train()
    while run.step < end and run.step != last and run.progress(batches.steps) < 1:
        start = time.monotonic()
        rate = run.set_learning_rate(run.progress(batches.steps))
        images, labels = batches[run.step]
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs: Tensor | Heads = run.network(normalise(images, run.network))
        loss, terms = criterion(outputs, torch.from_numpy(labels).long())
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {run.step}: lower the learning rate")
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip)
        run.optimizer.step()
        run.step += 1
        run.update_average()
        run.elapsed += time.monotonic() - start
        yield {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}, "rate": rate}


def main(
    recipe: Path,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    time_budget: float | None = None,
    threads: int | None = None,
    stop_after: int | None = None,
) -> int:
    """Train `recipe` on the CamVid folder `data`; write `last.pt`, `best.pt` and `log.csv` to `out`.

    `time_budget` (minutes) overrides the recipe. `resume` continues from `out/last.pt`. `stop_after` ends the session
    after that many steps in total, with a checkpoint, as an interruption would.
    """
    settings = read_recipe(recipe)
    if time_budget is not None:
        settings = msgspec.structs.replace(settings, minutes=time_budget)
    if threads is not None:
        torch.set_num_threads(threads)
    keep_memory()
    cv2.setNumThreads(1)  # samples are augmented side by side
    run = Run(settings)
    if resume:
        run.restore(out / "last.pt")
    elif (out / "last.pt").exists():
        raise ConfigError(f"{out} already holds a run: pass --resume to continue it, or another --out")
    training, validation = CamVid(data, "train"), CamVid(data, "val")
    batches = Batches(training, settings.batch, settings.augmentation, settings.seed)
    balance = class_weights(training.class_pixels(), settings.loss.balance)
    criterion = Criterion(settings.loss, balance, CAMVID.ignore_index)
    out.mkdir(parents=True, exist_ok=True)

    while run.progress(batches.steps) < 1 and run.step != stop_after:
        start = time.monotonic()
        rows = list(train_epoch(run, batches, criterion, stop_after))
        row = {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}
        epoch = math.ceil(run.step / batches.steps)
        done = run.progress(batches.steps) >= 1
        row |= {"epoch": epoch, "step": run.step, "minutes": run.elapsed / 60, "seconds": time.monotonic() - start}
        if epoch % settings.validate_every == 0 or done:
            start = time.monotonic()
            score = evaluate(run.average, validation).mean_iou()
            run.elapsed += time.monotonic() - start
            row["val_miou"] = score
            better = score > run.scores.get("best", 0.0)
            run.scores |= {"last": score, "best": max(score, run.scores.get("best", 0.0))}
            if better:
                run.save(out / "best.pt")
        run.save(out / "last.pt")
        _log(out / "log.csv", row)
        print(" ".join(f"{key} {value:.5g}" for key, value in row.items()), flush=True)
    return 0


COLUMNS = (
    "epoch", "step", "minutes", "seconds", "rate", "loss", "main", "auxiliary", "boundary", "boundary_aware", "lovasz",
    "val_miou",
)  # fmt: skip


def _log(path: Path, row: dict[str, float]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if fresh:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__.split("\n")[0] if main.__doc__ else None)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--time-budget", type=float, metavar="MINUTES")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--stop-after", type=int, metavar="STEPS")
    sys.exit(main(**vars(parser.parse_args())))
