"""A trained checkpoint becomes a package that every backend runs alike; a wrong one never gets its name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from rtseg.backends import open_backend
from rtseg.cli.main import main
from rtseg.errors import ConfigError, ModelError
from rtseg.export import checkpoint as export_module
from rtseg.export.checkpoint import check_parity, export, spec_of
from rtseg.models.pidnet import pidnet_s
from rtseg.packages.spec import METADATA_KEY, ModelSpec, read_spec
from rtseg.training.checkpoint import load_checkpoint, save_checkpoint
from rtseg.training.data import CAMVID
from rtseg.training.recipe import Recipe
from rtseg.training.run import Run
from rtseg.training.transforms import Augmentation

PROVENANCE = {"steps", "recipe", "revision", "torch", "val_miou_in_training", "data", "initial_weights", "checkpoint"}


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
    assert spec.provenance["checkpoint"] == "last" and "NC" in spec.license
    assert "AdamW" in (package / "CARD.md").read_text()


def test_a_spec_carries_the_colours_of_its_own_data_set_and_of_no_other() -> None:
    network = pidnet_s(3).eval()
    colors = CAMVID.palette[:3]
    own = msgspec.structs.replace(CAMVID, classes=CAMVID.classes[:3], palette=colors)
    foreign = msgspec.structs.replace(CAMVID, classes=("crop", "weed", "soil"), palette=colors)
    chosen = msgspec.structs.replace(foreign, palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert spec_of(network, own, name="t").palette == colors
    assert spec_of(network, foreign, name="t").palette == ()
    assert spec_of(network, chosen, name="t").palette == chosen.palette


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


def test_bad_checkpoint(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("of text")
    for arguments, told in (
        ([str(file), "--out", str(tmp_path / "out")], "is not a training checkpoint ("),
        ([str(checkpoint), "--out", str(file / "q")], "file/q (Not a directory): give another --out"),
    ):
        assert main(["export", *arguments]) == 1
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1
    with pytest.raises(ConfigError, match="no checkpoint at"):
        export(tmp_path / "none.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_provenance_says_of_checkpoint_and_weights(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    recipe = {"network_weights": "package:x"}
    assert export_module._provenance(recipe, state, checkpoint, "fp32")["initial_weights"] == "package:x"
    for kept, name, expected in (("best", "x.pt", "best"), (None, "last.pt", "last"), (None, "x.pt", "unknown")):
        found = export_module._provenance({}, state | {"kept": kept}, Path(name), "fp32")
        assert (found["checkpoint"], found["initial_weights"]) == (expected, "random")
