"""Train a network from a recipe: `rtseg train RECIPE --data FOLDER --out FOLDER`, alone or under `torchrun`."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.datasets import Dataset, class_pixels, open_dataset
from rtseg.errors import ConfigError
from rtseg.evaluation.metrics import Confusion
from rtseg.files import make_folder
from rtseg.frame import Image, Labels
from rtseg.models.blocks import Heads, Network
from rtseg.training.allocator import keep_memory
from rtseg.training.checkpoint import load_checkpoint, save_checkpoint, sweep
from rtseg.training.data import Batches, spec_of_data
from rtseg.training.distributed import Processes, joined
from rtseg.training.interruption import Interruption
from rtseg.training.log import append_row, forget_rows
from rtseg.training.losses import Criterion, class_weights
from rtseg.training.optimisation import freeze_norm
from rtseg.training.recipe import Recipe, read_recipe
from rtseg.training.run import Run
from rtseg.training.watch import Watch

if TYPE_CHECKING:
    from rtseg.training.board import Board

__all__ = ["evaluate", "load_checkpoint", "main", "normalise", "predict", "train", "train_step"]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
PANELS = 4
SCALARS_EVERY = 10


def main(
    recipe: Path,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    time_budget: float | None = None,
    threads: int | None = None,
    device: str = "auto",
    tensorboard: bool | None = None,
) -> int:
    """Train `recipe` on the folder `data`; `time_budget` (minutes) overrides its length. The rest as `train`."""
    settings = read_recipe(recipe)
    if time_budget is not None:
        settings = msgspec.structs.replace(settings, minutes=time_budget)
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"--threads is {threads}: expected 1 or more")
        torch.set_num_threads(threads)
    keep_memory()
    cv2.setNumThreads(1)  # samples are augmented side by side
    train(settings, data=data, out=out, resume=resume, device=device, tensorboard=tensorboard)
    return 0


def train(
    recipe: Recipe,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    device: str = "auto",
    tensorboard: bool | None = None,
    stop_after: int | None = None,
) -> Run:
    """Train on the data set in `data`; write `last.pt`, `best.pt`, `log.csv` and `tensorboard/` to `out`.

    `resume` continues from `out/last.pt`. TensorBoard is written where it is installed, unless set otherwise.
    `stop_after` ends after that many steps in all, with a checkpoint, as Ctrl-C would. Errors: ConfigError.
    """
    last, log = out / "last.pt", out / "log.csv"
    if not resume and last.exists():
        raise ConfigError(f"{out} already holds a run: pass --resume to continue it, or another --out")
    if resume and not last.exists():
        raise ConfigError(f"no checkpoint at {last} to continue from: train without --resume, or give its --out")
    with ExitStack() as stack:
        processes = stack.enter_context(joined(device))
        splits = (recipe.train_split, recipe.val_split)
        training, validation = (open_dataset(data, split, name=recipe.dataset) for split in splits)
        _check_focus(recipe, training)
        if processes.first:
            make_folder(out)
            sweep(out)
        run = Run(recipe, spec_of_data(training), _described(training), processes.device, published=not resume)
        if resume:
            run.restore(last)
        batches = Batches(
            training, recipe.batch, recipe.augmentation, recipe.seed,
            rank=processes.rank, count=processes.count, workers=min(8, os.cpu_count() or 1),
        )  # fmt: skip
        balance = _balance(training, recipe.loss.balance, processes)
        criterion = Criterion(recipe.loss, balance, training.ignore_index).to(run.device)
        if processes.count > 1 and run.device.type == "cuda":
            run.network = nn.SyncBatchNorm.convert_sync_batchnorm(run.network)  # type: ignore[no-untyped-call]
        model = processes.wrap(run.network)
        if processes.first:
            forget_rows(log, run.step)
        watch = stack.enter_context(Watch(silent=not processes.first))
        board = _board(tensorboard, out, run, stack) if processes.first else None
        interruption = stack.enter_context(Interruption())
        watch.say(
            f"{recipe.name}: {recipe.network} on {len(training)} images of {training.name}, "
            f"{run.device}, {recipe.precision}"
        )
        watch.started(run, batches.steps, last)
        saved = time.monotonic()

        while True:
            asked = interruption.asked or run.step == stop_after
            run.elapsed, stopped = processes.agree(run.elapsed, asked)
            done = run.progress(batches.steps) >= 1
            if run.seconds and not stopped and (done or run.step % batches.steps == 0):
                if processes.first:
                    end_epoch(run, validation, batches.steps, out, watch, board, lambda: interruption.asked)
                else:
                    run.seconds = []
                continue
            if stopped or done:
                break
            terms = train_step(run, model, batches, criterion, processes)
            watch.step(run, terms, batches.steps)
            if board and run.step % SCALARS_EVERY == 0:
                board.scalars({f"train/{name}": value for name, value in terms.items()}, run.step)
            due = time.monotonic() - saved > recipe.checkpoint_minutes * 60
            if due or (recipe.checkpoint_steps and run.step % recipe.checkpoint_steps == 0):
                if processes.first:
                    save_checkpoint(run.state(), last)
                saved = time.monotonic()
        if processes.first:
            save_checkpoint(run.state(), last)
            if stopped and (not done or run.seconds):  # after the last step its validation may be left
                watch.stopped(run, batches.steps, last)
    interruption.pass_on()
    return run


def train_step(
    run: Run, model: nn.Module, batches: Batches, criterion: Criterion, processes: Processes
) -> dict[str, float]:
    """One step of the optimiser; returns loss, its terms and the learning rate, averaged over the processes.

    `model` is the run's network, or what `processes` wrapped around it. Errors: ConfigError for a loss
    that is not finite.
    """
    start = time.monotonic()
    recipe, device = run.recipe, run.device
    rate = run.set_learning_rate(run.progress(batches.steps))
    run.seed_step(processes.rank)
    model.train()
    if recipe.frozen_norm:
        freeze_norm(model)
    images, labels = batches[run.step]
    with torch.autocast(device.type, DTYPES[recipe.precision], enabled=recipe.precision != "float32"):
        outputs = _outputs(model, normalise(images, run.network, device))
    loss, parts = criterion(outputs, torch.from_numpy(labels).to(device).long())
    values = processes.mean([loss.item(), *(part.item() for part in parts.values())])
    if not math.isfinite(values[0]):
        raise ConfigError(f"the loss is {values[0]} at step {run.step}: lower the learning rate, or use float32")
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    if recipe.clip is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    run.update_average()
    terms = {"loss": values[0], **dict(zip(parts, values[1:], strict=True)), "rate": rate}
    for name, value in terms.items():
        run.totals[name] = run.totals.get(name, 0.0) + value
    run.seconds.append(time.monotonic() - start)
    run.elapsed += run.seconds[-1]
    return terms


def _outputs(model: nn.Module, images: Tensor) -> Tensor | Heads:
    try:
        outputs: Tensor | Heads = model(images)
    except ValueError as exc:
        if "more than 1 value per channel" not in str(exc):
            raise
        count, _, height, width = images.shape
        raise ConfigError(
            f"a batch of {count} with crops of {height}x{width} leaves batch normalisation one value per channel: "
            "use a batch of 2 or more in each process, or larger crops"
        ) from exc
    return outputs


def end_epoch(
    run: Run,
    validation: Dataset,
    epoch_steps: int,
    out: Path,
    watch: Watch,
    board: Board | None,
    stop: Callable[[], bool],
) -> None:
    """Validate where the recipe says so, log the steps since the last row, keep the best; nothing if `stop` says so."""
    count = len(run.seconds)
    epoch = math.ceil(run.step / epoch_steps)
    row = {
        "epoch": epoch,
        "step": run.step,
        "seconds": sum(run.seconds),
        "step_seconds": statistics.median(run.seconds),
    }
    row |= {name: total / count for name, total in run.totals.items()}
    every = run.recipe.validate_every
    better = False
    if run.progress(epoch_steps) >= 1 or (every and epoch % every == 0):
        start = time.monotonic()

        def show(index: int, image: Image, label: Labels, predicted: Labels) -> None:
            watch.validation(index + 1, len(validation))
            if board and index < PANELS:
                board.panel(f"val/{index}", image, label, predicted, run.step)

        confusion = evaluate(run.average, validation, run.device, show=show, stop=stop)
        run.elapsed += time.monotonic() - start
        if confusion is None:
            return
        score = row["val_miou"] = confusion.mean_iou()
        better = score > run.scores.get("best", 0.0)
        run.scores |= {"last": score, "best": max(score, run.scores.get("best", 0.0))}
    row["minutes"] = run.elapsed / 60
    run.totals, run.seconds = {}, []
    append_row(out / "log.csv", row)
    watch.say(" ".join(f"{name} {value:.5g}" for name, value in row.items()))
    if board:
        board.scalars({f"epoch/{name}": value for name, value in row.items()}, run.step)
    if better:
        save_checkpoint(run.state("best"), out / "best.pt")


@torch.inference_mode()
def evaluate(
    network: Network,
    dataset: Dataset,
    device: torch.device,
    *,
    show: Callable[[int, Image, Labels, Labels], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Confusion | None:
    """Score a network on the whole images of a data set; None if `stop` returned True in between.

    `show` is given each index, image, label map and prediction.
    """
    network.eval()
    confusion = Confusion(len(dataset.classes), dataset.ignore_index)
    for index in range(len(dataset)):
        if stop():
            return None
        image, label = dataset[index]
        predicted = predict(network, image, device)
        confusion.add(predicted, label)
        show(index, image, label, predicted)
    return confusion


def predict(network: Network, image: Image, device: torch.device) -> Labels:
    """Label a whole image in float32 at its own size; it is padded to the network's multiple."""
    height, width = image.shape[:2]
    x = normalise(image[None], network, device)
    x = F.pad(x, (0, -width % network.multiple, 0, -height % network.multiple))
    logits = F.interpolate(network(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
    labels: Labels = logits[0, :, :height, :width].argmax(0).to(torch.uint8).cpu().numpy()
    return labels


def normalise(images: Image, network: Network, device: torch.device) -> Tensor:
    """Turn NHWC uint8 BGR images into the NCHW float32 RGB tensor that a network takes (channels-last in memory)."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).flip(1)  # NHWC BGR -> NCHW RGB
    mean, std = (torch.tensor(value, device=device).view(3, 1, 1) for value in (network.mean, network.std))
    return (x.float().mul_(1 / 255).sub_(mean).div_(std)).contiguous(memory_format=torch.channels_last)


def _board(wanted: bool | None, out: Path, run: Run, stack: ExitStack) -> Board | None:
    if wanted is False or (wanted is None and find_spec("tensorboard") is None):
        return None
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs tensorboard: pip install 'rtseg[train]'")
    from rtseg.training.board import Board

    board = Board(out / "tensorboard", run.base.palette, run.step)
    stack.callback(board.close)
    return board


def _balance(dataset: Dataset, balance: float, processes: Processes) -> Tensor:
    """Weights of the classes; label maps are read where they are not all 1, by the first process for all of them."""
    if not balance:
        return torch.ones(len(dataset.classes))
    pixels = class_pixels(dataset) if processes.first else np.zeros(len(dataset.classes), np.int64)
    return class_weights(np.array(processes.agree(*pixels.tolist()), np.int64), balance)


def _check_focus(recipe: Recipe, dataset: Dataset) -> None:
    wrong = [index for index in recipe.augmentation.focus_classes if not 0 <= index < len(dataset.classes)]
    if wrong:
        raise ConfigError(f"focus_classes has {wrong[0]}: {dataset.name} has classes 0 to {len(dataset.classes) - 1}")


def _described(dataset: Dataset) -> str:
    height, width = dataset.label(0).shape
    return f"{dataset.name} {dataset.split}, {len(dataset)} images, the first {height}x{width}"
