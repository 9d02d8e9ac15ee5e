"""An int8 twin labels almost as its model does, in every runtime, and carries the whole spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from rtseg.backends import open_backend
from rtseg.cli.main import main
from rtseg.errors import BackendError
from rtseg.packages.onnx_file import is_quantised
from rtseg.packages.spec import METADATA_KEY, find_package, read_spec
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.synthetic import SyntheticSource
from tests.models.rtx import build_engine

MODEL = "unet-fast0-camvid"


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in CamVid's layout: four frames of the synthetic drive, unlabelled."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("train", "trainannot"):
        (folder / name).mkdir()
    with SyntheticSource("drive", size="96x128", length=40) as source:
        for frame in source:
            if frame.index % 10 == 0:
                cv2.imwrite(str(folder / "train" / f"{frame.index:03}.png"), frame.image)
                cv2.imwrite(str(folder / "trainannot" / f"{frame.index:03}.png"), np.full((96, 128), 11, np.uint8))
    return folder


@pytest.fixture(scope="module")
def twin(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engines") / "street-int8"
    command = ["quantize", MODEL, "--data", str(streets), "--out", str(out), "--images", "3"]
    assert main(command) == 0
    return out


def test_package_is_complete_and_half_the_size(twin: Path) -> None:
    assert sorted(file.name for file in twin.iterdir()) == ["CARD.md", "model.onnx", "spec.json"]
    source = find_package(MODEL)
    assert (twin / "model.onnx").stat().st_size < 0.55 * source.path.stat().st_size  # whose weights are float16
    spec = read_spec((twin / "spec.json").read_bytes(), "spec.json")
    assert source.spec is not None
    assert spec.name == "street-int8"
    assert (spec.classes, spec.mean, spec.multiple) == (source.spec.classes, source.spec.mean, source.spec.multiple)
    assert spec.provenance["quantized"]["calibrated_on"].startswith("3 images of camvid train")
    assert spec.provenance["recipe"] == source.spec.provenance["recipe"]
    graph = onnx.load(twin / "model.onnx")
    onnx.checker.check_model(graph)
    assert {entry.key: entry.value for entry in graph.metadata_props} == {METADATA_KEY: spec.to_json()}
    assert "int8" in (twin / "CARD.md").read_text()
    assert is_quantised(twin / "model.onnx")
    assert not is_quantised(source.path)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_it_labels_almost_as_its_model_does(twin: Path, streets: Path, backend: str) -> None:
    image = cv2.imread(str(next((streets / "train").iterdir())))
    assert image is not None
    with open_backend(backend, MODEL, precision="fp32") as first, open_backend(backend, str(twin)) as second:
        expected, found = HostSegmenter(first)(image), HostSegmenter(second)(image)
    assert len(np.unique(expected)) > 2
    assert (found == expected).mean() > 0.9
    assert found.shape == (96, 128)


def test_it_compiles_for_tensorrt(twin: Path) -> None:
    spec = read_spec((twin / "spec.json").read_bytes(), "spec.json")
    assert build_engine(twin / "model.onnx", spec) > 5e6


def test_torch_says_that_it_cannot_rebuild_it(twin: Path) -> None:
    with pytest.raises(BackendError, match=r"holds no weight .* or run it with --backend openvino"):
        open_backend("torch", str(twin))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--data": "nowhere"}, "nowhere"),
        ({"--images": "0"}, "0 images to calibrate on"),
        ({"--split": "test"}, "test"),
        ({"model": "pidnet-x"}, "no model 'pidnet-x'"),
        ({"--out": "engines/unet-fast0-camvid"}, "is the package to quantize itself"),
        ({"model": "twin"}, "is quantized already"),
        ({"--out": "README.md/q"}, "cannot write to the folder README.md/q (Not a directory): give another --out"),
    ],
)
def test_bad_input_is_told_in_one_line(
    changes: dict[str, str], told: str, twin: Path, streets: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    given = {"model": MODEL, "--data": str(streets), "--out": str(tmp_path / "out"), **changes}
    model = str(twin) if given.pop("model") == "twin" else changes.get("model", MODEL)
    assert main(["quantize", model, *(word for pair in given.items() for word in pair)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rtseg: error: ") and error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "out" / "model.onnx").exists()
