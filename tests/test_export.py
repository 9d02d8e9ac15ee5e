"""A trained checkpoint becomes a package that every backend runs alike; a wrong one never gets its name."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from rtseg import export as export_module
from rtseg.backends import open_backend
from rtseg.card import write_card
from rtseg.cli import main
from rtseg.errors import ConfigError, ModelError
from rtseg.export import check_parity, export
from rtseg.models.pidnet import pidnet_s
from rtseg.report import file_hash
from rtseg.spec import METADATA_KEY, ModelSpec, read_spec
from rtseg.training.checkpoint import save_checkpoint
from rtseg.training.data import CAMVID
from rtseg.training.recipe import Recipe
from rtseg.training.run import Run
from rtseg.training.transforms import Augmentation

PROVENANCE = {"steps", "recipe", "revision", "torch", "val_miou_in_training", "data", "initial_weights"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights whose averages have seen a few images."""
    run = Run(Recipe(name="t", network="pidnet-s", augmentation=Augmentation(crop=(64, 64))), CAMVID)
    run.network.train()
    with torch.no_grad():
        for _ in range(30):
            run.network(torch.randn(2, 3, 128, 160))
    run.average.load_state_dict(run.network.state_dict())
    run.step, run.elapsed, run.scores = 7, 90.0, {"last": 0.25, "best": 0.5}
    path = tmp_path_factory.mktemp("run") / "last.pt"
    save_checkpoint(run.state(), path)
    return path


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engines") / "toy"
    assert main(["export", str(checkpoint), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> torch.nn.Module:
    state = torch.load(checkpoint, weights_only=True)["average"]
    built = pidnet_s(11)
    built.load_state_dict({key: value for key, value in state.items() if "seghead" not in key})
    return built.eval()


def test_package_is_complete(package: Path) -> None:
    assert sorted(file.name for file in package.iterdir()) == ["CARD.md", "model.onnx", "spec.json"]
    assert (package / "model.onnx").stat().st_size < 32e6
    spec = read_spec((package / "spec.json").read_bytes(), "spec.json")
    assert (spec.name, spec.network, spec.multiple, spec.output_stride) == ("toy", "pidnet-s", 8, 8)
    assert spec.provenance["steps"] == 7
    assert spec.provenance["minutes"] == 1.5
    assert spec.provenance["val_miou_in_training"] == 0.25
    assert spec.provenance.keys() >= PROVENANCE
    assert "NC" in spec.licence


def test_the_file_names_its_axes_and_carries_its_spec(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    onnx.checker.check_model(model)
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    assert shapes == [[1, 3, "height", "width"], [1, 11, "height/8", "width/8"]]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "logits")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata[METADATA_KEY] == (package / "spec.json").read_text()
    assert {node.op_type for node in model.graph.node if node.domain} == set()


def test_weights_keep_their_names_and_values(package: Path, network: torch.nn.Module) -> None:
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(package / "model.onnx").graph.initializer}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert np.array_equal(weights[name], value.numpy()), name


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_backends_agree_with_torch(package: Path, network: torch.nn.Module, backend: str) -> None:
    rng = np.random.default_rng(1)
    with open_backend(backend, str(package), precision="fp32") as runtime:
        for size in ((64, 64), (72, 200), (32, 40), (264, 88)):
            image = rng.normal(size=(1, 3, *size)).astype(np.float32)
            runtime.submit(image)
            found = runtime.collect()
            with torch.inference_mode():
                expected = network(torch.from_numpy(image))[0].numpy()
            assert found.shape == (11, size[0] // 8, size[1] // 8)
            assert expected.std() > 0.01
            assert np.abs(found - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
            best = np.sort(expected, axis=0)
            clear = best[-1] - best[-2] > 1e-3 * np.abs(expected).max()
            assert clear.mean() > 0.9
            np.testing.assert_array_equal(found.argmax(0)[clear], expected.argmax(0)[clear])


def test_a_file_that_computes_something_else_is_refused(
    package: Path, network: torch.nn.Module, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec((package / "spec.json").read_bytes(), "spec.json")
    other = pidnet_s(11).eval()
    with pytest.raises(ModelError, match="differs from torch by"):
        check_parity(other, spec, package / "model.onnx")
    before = {file.name: file.read_bytes() for file in package.iterdir()}

    def write_other(wrong: torch.nn.Module, wrong_spec: ModelSpec, path: Path, precision: str) -> None:
        path.write_bytes(before["model.onnx"])

    monkeypatch.setattr(export_module, "write_onnx", write_other)
    with pytest.raises(ModelError, match="differs from torch by"):
        export_module.write_package(other, msgspec.structs.replace(spec, name="wrong"), package)
    assert {file.name: file.read_bytes() for file in package.iterdir()} == before


def test_bad_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint at"):
        export(tmp_path / "none.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def scores(package: Path, **changes: object) -> dict[str, object]:
    return {
        "backend": "openvino", "precision": "fp32", "data": "camvid", "split": "val", "images": 101,
        "network_size": [360, 480], "miou": 0.61234, "pixel_accuracy": 0.9, "boundary_f": 0.5,
        "classes": {"Sky": {"iou": 0.91, "boundary_f": 0.8}, "Bicyclist": {"iou": None, "boundary_f": None}},
        "sha256": file_hash(package / "model.onnx"), **changes,
    }  # fmt: skip


def test_card_shows_the_scores_of_this_very_file(package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    for name in ("model.onnx", "spec.json"):
        (folder / name).write_bytes((package / name).read_bytes())
    write_card(folder)
    card = (folder / "CARD.md").read_text()
    assert card == (package / "CARD.md").read_text()
    assert "Not evaluated yet" in card and "CC BY-NC 4.0" in card and "7 steps of 8 images" in card
    assert "AdamW, learning rate 0.001, weight decay 0.05" in card

    (folder / "eval.json").write_text(json.dumps(scores(folder)))
    write_card(folder)
    card = (folder / "CARD.md").read_text()
    assert "| 0.6123 | 0.9000 | 0.5000 |" in card
    assert "| Sky | 0.9100 | 0.8000 |" in card and "| Bicyclist | not in the data |" in card
    assert "expect less on another drive" in card.replace("\n", " ")

    (folder / "eval.json").write_text(json.dumps(scores(folder, sha256="of another file")))
    write_card(folder)
    assert "Not evaluated yet" in (folder / "CARD.md").read_text()
