"""The training script: it learns, resumes bit for bit, keeps its time, and writes checkpoints whole."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.training import train
from rtseg.training.data import CAMVID, Batches, CamVid
from rtseg.training.losses import Criterion, LossWeights, class_weights
from rtseg.training.train import Recipe, Run, load_checkpoint, main, normalise, read_recipe, train_epoch
from rtseg.training.transforms import Augmentation
from tests.training.camvid import write_camvid

RECIPES = sorted(Path(__file__).parents[2].glob("configs/train/*.yaml"))
TINY = """
name: tiny
network: pidnet-s
epochs: 2
batch: 2
validate_every: 1
warm_up: 0.25
augmentation: {crop: [32, 48], label_stride: 2, scale: [0.8, 1.5]}
"""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.cv2, "setNumThreads", lambda count: None)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid")


def settings(**changes: object) -> Recipe:
    return Recipe(name="t", network="pidnet-s", augmentation=Augmentation(crop=(32, 32)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_project_load(path: Path) -> None:
    found = read_recipe(path)
    assert found.name == path.stem
    assert all(side % 8 == 0 for side in found.augmentation.crop)
    assert all(index < len(CAMVID.classes) for index in found.augmentation.focus_classes)


def test_bad_recipes_are_named(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe .*none.yaml"):
        read_recipe(tmp_path / "none.yaml")
    recipe.write_text(TINY + "learning_rat: 1\n")
    with pytest.raises(ConfigError, match=r"tiny.yaml: .*learning_rat"):
        read_recipe(recipe)
    recipe.write_text(TINY + "batch: many\n")
    with pytest.raises(ConfigError, match=r"tiny.yaml: .*\$.batch"):
        read_recipe(recipe)


def test_learning_rate_rises_then_falls() -> None:
    run = Run(settings(learning_rate=1.0, warm_up=0.1))
    rates = [run.set_learning_rate(progress) for progress in (0.0, 0.05, 0.1, 0.55, 1.0, 1.5)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.01 + 0.99 / 2, 0.01, 0.01])
    assert {group["lr"] for group in run.optimizer.param_groups} == {rates[-1]}


def test_progress_by_epochs_and_by_time() -> None:
    run = Run(settings(epochs=4))
    run.step, run.elapsed = 10, 30.0
    assert run.progress(steps=5) == pytest.approx(0.5)
    run.recipe = msgspec.structs.replace(run.recipe, minutes=2.0)
    assert run.progress(steps=5) == pytest.approx(0.25)


def test_weight_decay_leaves_biases_and_normalisation_alone() -> None:
    run = Run(settings(weight_decay=0.3))
    decayed, plain = run.optimizer.param_groups
    assert decayed["weight_decay"] == 0.3 and plain["weight_decay"] == 0
    assert all(p.ndim == 4 for p in decayed["params"]) and all(p.ndim == 1 for p in plain["params"])
    count = len(list(run.network.parameters()))
    assert len(decayed["params"]) + len(plain["params"]) == count


def test_average_follows_the_network() -> None:
    run = Run(settings(ema=0.9))
    run.step = 10**6
    with torch.no_grad():
        for tensor in run.network.state_dict().values():
            tensor.fill_(1)
        for tensor in run.average.state_dict().values():
            tensor.zero_()
    run.update_average()
    state = run.average.state_dict()
    assert state["conv1.0.weight"].unique().tolist() == pytest.approx([0.1])
    assert state["conv1.1.running_var"].unique().tolist() == pytest.approx([0.1])
    assert state["conv1.1.num_batches_tracked"].item() == 1
    run.step = 1  # early on the average forgets fast: (1 + 1) / (10 + 1)
    run.update_average()
    assert state["conv1.0.weight"].unique().tolist() == pytest.approx([1 - 0.9 * 2 / 11])


def test_normalise_turns_bgr_bytes_into_what_the_spec_says() -> None:
    image = np.zeros((1, 2, 3, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 100, 200  # B, G, R
    tensor = normalise(image, CAMVID)
    assert tensor.shape == (1, 3, 2, 3)
    expected = [(v / 255 - m) / s for v, m, s in zip((200, 100, 10), CAMVID.mean, CAMVID.std, strict=True)]
    assert tensor[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_resumed_run_is_the_same_run(recipe: Path, data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(recipe, data=data, out=whole) == 0
    assert main(recipe, data=data, out=parts, stop_after=1) == 0  # in the middle of the first epoch
    assert load_checkpoint(parts / "last.pt")["step"] == 1
    torch.manual_seed(1234)  # a new process has another generator
    assert main(recipe, data=data, out=parts, resume=True) == 0
    one, other = load_checkpoint(whole / "last.pt"), load_checkpoint(parts / "last.pt")
    assert one["step"] == other["step"] == 4
    assert torch.equal(one["generator"], other["generator"])
    for part in ("network", "average"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])
    for index, state in one["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(value, other["optimizer"]["state"][index][key])
    assert any(not torch.equal(one["network"][key], one["average"][key]) for key in one["network"])
    with (whole / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert all(math.isfinite(float(row["loss"])) and 0 <= float(row["val_miou"]) <= 1 for row in rows)
    assert not list(whole.glob(".*"))


def test_learns_a_tiny_data_set(tmp_path: Path) -> None:
    plain = Augmentation(
        crop=(96, 128), scale=(1, 1), stretch=1, rotation=0, gamma=(1, 1), gain=(1, 1), offset=0, white_balance=0,
        saturation=(1, 1), blur=0, noise=0,
    )  # fmt: skip
    run = Run(settings(epochs=16, batch=4, learning_rate=1e-3, warm_up=0.2, clip=1.0, precision="float32"))
    dataset = CamVid(write_camvid(tmp_path / "camvid", size=(96, 128)), "train")
    batches = Batches(dataset, 4, plain, seed=0)
    criterion = Criterion(LossWeights(boundary=1.0), class_weights(dataset.class_pixels(), 0.5), CAMVID.ignore_index)
    losses = []
    while run.progress(batches.steps) < 1:
        losses += list(train_epoch(run, batches, criterion, None))
    assert len(losses) == run.step == 16
    for term in ("main", "auxiliary"):
        assert losses[-1][term] < 0.4 * losses[0][term]


def test_the_best_average_is_kept(recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.25])
    monkeypatch.setattr(train, "evaluate", lambda network, dataset: SimpleNamespace(mean_iou=lambda: next(scores)))
    assert main(recipe, data=data, out=tmp_path / "run") == 0
    best, last = (load_checkpoint(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    assert (best["step"], last["step"]) == (2, 4)
    assert best["scores"] == {"last": 0.5, "best": 0.5}
    assert last["scores"] == {"last": 0.25, "best": 0.5}


def test_a_time_budget_ends_the_run_annealed(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10**6, 20))  # each look at the clock is 20 seconds after the last one
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(now)))
    assert main(recipe, data=data, out=tmp_path / "run", time_budget=1.5) == 0
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] < 8 and state["elapsed"] >= 90
    with (tmp_path / "run" / "log.csv").open() as file:
        assert list(csv.DictReader(file))[-1]["val_miou"]  # the last epoch is always scored


def test_refuses_to_mix_runs(recipe: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(recipe, data=data, out=out, stop_after=1)
    with pytest.raises(ConfigError, match="already holds a run: pass --resume"):
        main(recipe, data=data, out=out)
    recipe.write_text(TINY + "learning_rate: 0.5\n")
    with pytest.raises(ConfigError, match="was trained with another recipe"):
        main(recipe, data=data, out=out, resume=True)
    with pytest.raises(ConfigError, match="no checkpoint at"):
        main(recipe, data=data, out=tmp_path / "other", resume=True)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(settings())
    path = tmp_path / "last.pt"
    run.save(path)
    before = path.read_bytes()

    def fail(state: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(train.torch, "save", fail)
    run.step = 5
    with pytest.raises(OSError, match="disk full"):
        run.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_checkpoint_is_data_not_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"recipe": re.compile("x"), "average": {}}, path)
    with pytest.raises(ConfigError, match=r"evil.pt is not a training checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="is not a training checkpoint"):
        load_checkpoint(path)


def test_a_loss_that_is_not_a_number_stops_the_run(recipe: Path, data: Path, tmp_path: Path) -> None:
    recipe.write_text(TINY + "learning_rate: 1.0e+30\nclip: 1.0e+30\nprecision: float32\n")
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        main(recipe, data=data, out=tmp_path / "run")


def test_evaluation_is_the_networks_score(data: Path) -> None:
    validation = CamVid(data, "val")

    class Oracle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            label = torch.from_numpy(validation.labels[self.calls]).long()
            self.calls += 1
            return torch.nn.functional.one_hot(label, 12).permute(2, 0, 1)[None, :11].float()

    confusion = train.evaluate(Oracle(), validation)
    assert confusion.mean_iou() == 1.0
    assert confusion.matrix.sum() == sum(int((label != 11).sum()) for label in validation.labels)
