"""The training script: it learns, resumes bit for bit after a kill, keeps its time, and runs in several processes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch

from rtseg import cli
from rtseg.datasets import Dataset, class_pixels, open_dataset
from rtseg.errors import ConfigError, ModelError
from rtseg.models import build
from rtseg.packages.spec import ModelSpec
from rtseg.training import train as script
from rtseg.training.checkpoint import load_checkpoint
from rtseg.training.data import CAMVID, Batches
from rtseg.training.distributed import Processes, find_device
from rtseg.training.log import read_rows
from rtseg.training.losses import Criterion, class_weights
from rtseg.training.recipe import Recipe, read_recipe
from rtseg.training.run import Run
from rtseg.training.train import evaluate, normalise, predict, train, train_step
from tests.training.camvid import write_camvid

CPU = torch.device("cpu")
TINY = """
name: tiny
network: fcn-same
epochs: 2
batch: 2
validate_every: 1
warm_up: 0.25
augmentation: {crop: [16, 24], scale: [0.8, 1.5]}
loss: {lovasz: 0.5}
"""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(script.cv2, "setNumThreads", lambda count: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def recipe(path: Path) -> Recipe:
    return read_recipe(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid")


def changed(recipe: Recipe, **fields: object) -> Recipe:
    return msgspec.structs.replace(recipe, **fields)


def same(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same run: weights, averages, optimiser, step and sums, bit for bit."""
    first, second = load_checkpoint(one), load_checkpoint(other)
    tensors = [{**state["network"], **{f"a.{k}": v for k, v in state["average"].items()}} for state in (first, second)]
    for state, flat in zip((first, second), tensors, strict=True):
        for index, values in state["optimizer"]["state"].items():
            flat |= {f"o.{index}.{key}": value for key, value in values.items()}
    assert tensors[0].keys() == tensors[1].keys()
    return (
        all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
        and (first["step"], first["totals"], first["scores"]) == (second["step"], second["totals"], second["scores"])
        and first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]
    )


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from rtseg.training import train as script
torch.set_num_threads(1)
step = script.train_step
def until_five(run, *rest):
    if run.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(run, *rest)
script.train_step = until_five
script.train(script.read_recipe(Path(sys.argv[1])), data=Path(sys.argv[2]), out=Path(sys.argv[3]),
             device="cpu", tensorboard=False)
"""


@pytest.mark.parametrize(
    "fields", ["optimizer: adamw\nprecision: bfloat16\n", "optimizer: sgd\nprecision: float16\nlearning_rate: 0.01\n"]
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(path: Path, data: Path, tmp_path: Path, fields: str) -> None:
    path.write_text(TINY + fields + "steps: 7\ncheckpoint_steps: 3\n")  # two steps are an epoch: 3 is in the middle
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(read_recipe(path), data=data, out=whole, device="cpu", tensorboard=False)
    child = [sys.executable, "-c", KILLED, str(path), str(data), str(parts)]
    killed = subprocess.run(child, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert load_checkpoint(parts / "last.pt")["step"] == 3
    assert [row["step"] for row in read_rows(parts / "log.csv")] == [2, 4]  # the second one is trained again
    torch.manual_seed(1234)
    train(read_recipe(path), data=data, out=parts, resume=True, device="cpu", tensorboard=False)
    assert same(whole / "last.pt", parts / "last.pt") and same(whole / "best.pt", parts / "best.pt")
    logs = [read_rows(run / "log.csv") for run in (whole, parts)]
    for row in (row for log in logs for row in log):
        for key in ("minutes", "seconds", "step_seconds"):
            del row[key]
    assert logs[0] == logs[1] and [row["step"] for row in logs[0]] == [2, 4, 6, 7]
    assert all(math.isfinite(row["loss"]) and 0 <= row["val_miou"] <= 1 for row in logs[0])
    assert not list(whole.glob(".*"))


def test_a_resumed_run_needs_the_published_weights_no_more(path: Path, data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "published.pth"
    network = build("fcn-same", 11, training_heads=True)
    torch.save(network.state_dict(), weights)
    start = "frozen: [layers.0, layers.1.1.bias]\nrates: {layers.2: 0.1}\n"
    path.write_text(f"{TINY}{start}network_weights: {weights}\nprecision: float32\n")
    recipe, whole, parts = read_recipe(path), tmp_path / "whole", tmp_path / "parts"
    train(recipe, data=data, out=whole, device="cpu", tensorboard=False)
    train(recipe, data=data, out=parts, device="cpu", tensorboard=False, stop_after=3)
    weights.unlink()
    with pytest.raises(ModelError, match="no weights file"):
        train(recipe, data=data, out=tmp_path / "fresh", device="cpu", tensorboard=False)
    train(recipe, data=data, out=parts, resume=True, device="cpu", tensorboard=False)
    assert same(whole / "last.pt", parts / "last.pt")
    learnt, published = load_checkpoint(parts / "last.pt")["network"], network.state_dict()
    kept = {name for name, _ in network.named_parameters() if torch.equal(learnt[name], published[name])}
    assert kept == {"layers.0.0.weight", "layers.0.1.weight", "layers.0.1.bias", "layers.1.1.bias"}


def test_another_data_set_is_no_resumption(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "run", write_camvid(tmp_path / "other", train=6)
    train(recipe, data=data, out=out, device="cpu", tensorboard=False, stop_after=1)
    message = r"was trained on camvid train, 4 images.*; the data given are camvid train, 6 images"
    with pytest.raises(ConfigError, match=message):
        train(recipe, data=other, out=out, resume=True, device="cpu", tensorboard=False)


def test_splits_of_the_recipe(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    swapped = changed(recipe, train_split="val", val_split="train", steps=1)
    train(swapped, data=data, out=out, device="cpu", tensorboard=False)
    assert load_checkpoint(out / "last.pt")["data"] == "camvid val, 2 images, the first 48x64"
    with pytest.raises(ConfigError, match=r"another recipe \(other: train_split, val_split, steps\)"):
        train(recipe, data=data, out=out, resume=True, device="cpu", tensorboard=False)
    for field in ("train_split", "val_split"):
        missing = changed(recipe, **{field: "trainaug"})
        with pytest.raises(ConfigError, match=r"no split 'trainaug' in .* \(splits there: train, val"):
            train(missing, data=data, out=tmp_path / "other", device="cpu", tensorboard=False)


def test_label_maps_are_counted_only_for_a_balance(
    recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def count(dataset: Dataset) -> np.ndarray:
        counted.append(dataset.split)
        return class_pixels(dataset)

    monkeypatch.setattr(script, "class_pixels", count)
    for balance, expected in ((0.0, []), (0.5, ["train"])):
        loss = msgspec.structs.replace(recipe.loss, balance=balance)
        balanced = changed(recipe, loss=loss, steps=1)
        train(balanced, data=data, out=tmp_path / str(balance), device="cpu", tensorboard=False)
        assert counted == expected


def test_dropout_and_draws_depend_on_the_step_alone(recipe: Recipe) -> None:
    run = Run(recipe, CAMVID)
    drawn = []
    for step, rank in ((3, 0), (4, 0), (3, 1), (3, 0)):
        run.step = step
        run.seed_step(rank)
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[3] and len(set(drawn)) == 3


def test_sigterm_saves_and_ends_with_its_exit_code(path: Path, data: Path, tmp_path: Path) -> None:
    path.write_text(TINY + "steps: 1000000\n")
    code = (
        "import os, signal, sys, threading\nfrom rtseg import cli\nfrom rtseg.training import train as script\n"
        "step = script.train_step\n"
        "def third(run, *rest):\n"
        "    if run.step == 2:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return step(run, *rest)\n"
        "script.train_step = third\nsys.exit(cli.main(sys.argv[1:]))\n"
    )
    out = tmp_path / "run"
    flags = ["train", str(path), "--data", str(data), "--out", str(out), "--device", "cpu", "--no-tensorboard"]
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (143, "")
    assert load_checkpoint(out / "last.pt")["step"] == 3  # the step in hand was finished
    lines = done.stdout.splitlines()
    assert lines[1].startswith("training for 1000000 steps (")
    assert lines[-1].startswith("stopped at step 3, 0% of 1000000 steps (")
    assert lines[-1].endswith(f"; to continue from {out}/last.pt add --resume")


def test_learns_a_tiny_data_set(recipe: Recipe, data: Path) -> None:
    dataset = open_dataset(data, "train")
    run = Run(changed(recipe, steps=30, learning_rate=0.01, clip=1.0, precision="float32"), CAMVID)
    batches = Batches(dataset, 2, recipe.augmentation, seed=0)
    criterion = Criterion(recipe.loss, class_weights(class_pixels(dataset), 0.5), dataset.ignore_index)
    losses = [train_step(run, run.network, batches, criterion, Processes(CPU)) for _ in range(30)]
    assert run.step == len(run.seconds) == 30
    assert sum(terms["main"] for terms in losses[-3:]) < 0.5 * sum(terms["main"] for terms in losses[:3])
    assert run.totals["loss"] == pytest.approx(sum(terms["loss"] for terms in losses))
    assert losses[0]["loss"] == pytest.approx(losses[0]["main"] + losses[0]["lovasz"], rel=1e-5)


def test_the_checkpoint_says_what_it_was_trained_on(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    train(recipe, data=data, out=tmp_path / "run", device="cpu", tensorboard=False, stop_after=1)
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    spec = msgspec.json.decode(state["spec"], type=ModelSpec)
    assert (spec.classes, spec.palette, spec.ignore_index) == (CAMVID.classes, CAMVID.palette, 11)
    assert spec.name == "camvid" and spec.short_side == 48 and spec.license.startswith("CC BY-NC 4.0")
    assert state["data"] == "camvid train, 4 images, the first 48x64"
    assert state["step"] == 1 and state["device"] == "cpu"


def test_the_best_average_is_kept(recipe: Recipe, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.25])
    monkeypatch.setattr(script, "evaluate", lambda *_, **__: SimpleNamespace(mean_iou=lambda: next(scores)))
    train(recipe, data=data, out=tmp_path / "run", device="cpu", tensorboard=False)
    best, last = (load_checkpoint(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    assert (best["step"], last["step"]) == (2, 4)
    assert (best["kept"], last["kept"]) == ("best", "last")
    assert best["scores"] == {"last": 0.5, "best": 0.5} and last["scores"] == {"last": 0.25, "best": 0.5}


def test_tensorboard_has_curves_and_panels(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    long = changed(recipe, steps=11, validate_every=3)  # two steps are an epoch
    train(long, data=data, out=tmp_path / "run", device="cpu", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [10]
    assert {"train/main", "train/lovasz", "train/rate"} <= set(events.Tags()["scalars"])
    scores = [(event.step, event.value) for event in events.Scalars("epoch/val_miou")]
    rows = [row for row in read_rows(tmp_path / "run" / "log.csv") if "val_miou" in row]
    assert scores == [(row["step"], pytest.approx(row["val_miou"], abs=1e-5)) for row in rows]
    assert [step for step, _ in scores] == [6, 11]
    assert sorted(events.Tags()["images"]) == ["val/0", "val/1"]
    pictures = [(event.step, event.height, event.width) for event in events.Images("val/0")]
    assert pictures == [(6, 48, 3 * 64), (11, 48, 3 * 64)]


def test_a_time_budget_ends_the_run_annealed(
    path: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10**6, 20))  # each look at the clock is 20 seconds after the last one
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: next(now)))
    out = tmp_path / "run"
    assert script.main(path, data=data, out=out, time_budget=1.5, device="cpu", tensorboard=False) == 0
    state = load_checkpoint(out / "last.pt")
    assert state["step"] < 8 and state["elapsed"] >= 90
    assert "val_miou" in read_rows(out / "log.csv")[-1]  # the last epoch is always scored


def test_progress(recipe: Recipe) -> None:
    run = Run(changed(recipe, epochs=4), CAMVID)
    run.step, run.elapsed = 10, 30.0
    assert run.progress(5) == pytest.approx(0.5)
    run.recipe = changed(run.recipe, steps=40)
    assert run.progress(5) == pytest.approx(0.25)
    run.recipe = changed(run.recipe, minutes=2.5)
    assert run.progress(5) == pytest.approx(0.2)


def test_refuses_to_mix_runs(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe, data=data, out=out, device="cpu", tensorboard=False, stop_after=1)
    with pytest.raises(ConfigError, match="already holds a run: pass --resume"):
        train(recipe, data=data, out=out, device="cpu")
    other = changed(recipe, learning_rate=0.5, batch=4)
    with pytest.raises(ConfigError, match=r"another recipe \(other: batch, learning_rate\)"):
        train(other, data=data, out=out, resume=True, device="cpu")
    with pytest.raises(ConfigError, match="no checkpoint at"):
        train(recipe, data=data, out=tmp_path / "other", resume=True, device="cpu")


def test_faults_in_a_line(path: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", str(data), "--out", str(tmp_path / "run"), "--no-tensorboard", "--device"]
    for fields, device, message in (
        ("learning_rate: 1.0e+30\nclip: null\nprecision: float32\n", "cpu", "lower the learning rate"),
        ("dataset: voc\n", "cpu", "holds no voc data"),
        ("batch: 9\n", "cpu", "a batch of 9 from 4 images"),
        ("weights: package:x\n", "cpu", "fcn-same has no encoder"),
        ("seed: 2\n", "cuda:99", "no device 'cuda:99'"),
    ):
        path.write_text(TINY.replace("batch: 2\n", "" if "batch" in fields else "batch: 2\n") + fields)
        assert cli.main(["train", str(path), *flags, device]) == 1
        assert message in capsys.readouterr().err
    focus = TINY.replace("scale:", "focus: 1.0, focus_classes: [11], scale:")
    path.write_text(focus)
    assert cli.main(["train", str(path), *flags, "cpu"]) == 1
    assert "focus_classes has 11: camvid has classes 0 to 10" in capsys.readouterr().err


def test_misuse_in_a_line(path: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = TINY.replace("fcn-same", "pidnet-s").replace("batch: 2", "batch: 1").replace("[16, 24]", "[64, 96]")
    file = tmp_path / "file"
    file.write_text("")
    for text, flags, message in (
        (TINY, ["--threads", "0"], "--threads is 0: expected 1 or more"),
        (TINY, ["--time-budget", "0"], "minutes is 0.0: expected more than 0"),
        (TINY, ["--resume"], "no checkpoint at"),
        (TINY, ["--out", str(file / "run")], "file/run (Not a directory): give another --out"),
        (small, [], "a batch of 1 with crops of 64x96 leaves batch normalisation one value per channel: use a batch"),
        (small.replace("batch: 1", "batch: 2").replace("64, 96", "63, 96"), [], "63x96"),
    ):
        path.write_text(text)
        common = ["--data", str(data), "--out", str(tmp_path / "run"), "--no-tensorboard", "--device", "cpu"]
        assert cli.main(["train", str(path), *common, *flags]) == 1, text
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("run/*.pt"))


def test_devices_by_name() -> None:
    assert find_device("cpu") == CPU
    assert find_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        find_device("gpu")


def test_normalise_turns_bgr_bytes_into_what_the_spec_says() -> None:
    image = np.zeros((1, 2, 3, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 100, 200  # B, G, R
    tensor = normalise(image, CAMVID, CPU)  # type: ignore[arg-type]
    assert tensor.shape == (1, 3, 2, 3)
    expected = [(v / 255 - m) / s for v, m, s in zip((200, 100, 10), CAMVID.mean, CAMVID.std, strict=True)]
    assert tensor[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


class Oracle(torch.nn.Module):
    """Logits at stride 8 that are right on squares of 8x8 pixels, for images whose sides are multiples of 32."""

    multiple, mean, std = 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, label: np.ndarray) -> None:
        super().__init__()
        self.label = torch.from_numpy(label).long()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2] % 32 == images.shape[3] % 32 == 0
        assert images.shape[2] - self.label.shape[0] < 32 and not images[:, :, self.label.shape[0] :].any()
        coarse = torch.nn.functional.one_hot(self.label[3::8, 3::8], 3).permute(2, 0, 1)[None].float()
        return torch.nn.functional.pad(
            coarse, (0, images.shape[3] // 8 - coarse.shape[3], 0, images.shape[2] // 8 - coarse.shape[2])
        )


def test_a_prediction_has_the_images_own_size() -> None:
    label = np.kron(np.random.default_rng(0).integers(0, 3, (5, 9)), np.ones((8, 8), int)).astype(np.uint8)
    image = np.full((40, 72, 3), 255, np.uint8)
    with torch.inference_mode():
        found = predict(Oracle(label), image, CPU)  # type: ignore[arg-type]
    assert found.shape == label.shape and found.dtype == np.uint8
    assert np.array_equal(found[3::8, 3::8], label[3::8, 3::8])  # the middles of the squares


def test_evaluation_counts_every_labelled_pixel(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validation = open_dataset(data, "val")
    truth = iter([validation[index][1] for index in range(len(validation))])
    monkeypatch.setattr(script, "predict", lambda network, image, device: next(truth))
    shown: list[int] = []
    confusion = evaluate(Oracle(validation[0][1]), validation, CPU, show=lambda index, *_: shown.append(index))  # type: ignore[arg-type]
    assert confusion is not None and confusion.mean_iou() == 1.0 and shown == [0, 1]
    assert confusion.matrix.sum() == sum(int((validation[i][1] != 11).sum()) for i in range(2))
    assert evaluate(Oracle(validation[0][1]), validation, CPU, stop=lambda: True) is None  # type: ignore[arg-type]


def test_two_processes_have_the_loss_curve_of_one(path: Path, data: Path, tmp_path: Path) -> None:
    path.write_text(
        "name: tiny\nnetwork: fcn-same\nepochs: 3\nbatch: 2\nvalidate_every: 3\noptimizer: sgd\nlearning_rate: 0.1\n"
        "frozen_norm: true\nprecision: float32\nloss: {hard_fraction: 1.0, balance: 0.5}\n"
        "augmentation: {crop: [16, 24], scale: [1.5, 2.0], rotation: 0.0, stretch: 1.0}\n"
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(read_recipe(path), data=data, out=one, device="cpu", tensorboard=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "rtseg", "train", str(path), "--data", str(data), "--out", str(two)]
    command += ["--device", "cpu", "--threads", "1", "--no-tensorboard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    curves = [[row["loss"] for row in read_rows(run / "log.csv")] for run in (one, two)]
    assert len(curves[0]) == 3 and curves[1] == pytest.approx(curves[0], rel=2e-3)
    assert curves[0][-1] < curves[0][0]
    states = [load_checkpoint(run / "last.pt")["network"] for run in (one, two)]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=2e-2, atol=1e-3)
