"""Scoring through the pipeline's own pieces, with a network whose answers are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from rtseg.cli.main import main
from rtseg.datasets import Dataset, class_pixels, open_dataset
from rtseg.errors import ConfigError, ModelError
from rtseg.evaluation import evaluate, table, write_scores
from rtseg.files import file_hash
from rtseg.packages.spec import ModelSpec
from rtseg.segmenter.host import HostSegmenter
from rtseg.training.data import CAMVID
from tests.onnx_models import conv_model
from tests.training.camvid import write_camvid

PACKAGE = Path(__file__).parents[2] / "engines" / "unet-fast0-camvid"


class Oracle:
    """A backend that answers with the truth at a quarter of the size, shifted by `shift` samples."""

    name, device, precision, depth = "oracle", "cpu", "fp32", 1

    def __init__(self, truth: Dataset, spec: ModelSpec, shift: int = 0) -> None:
        self.spec, self.truth, self.shift, self.calls = spec, truth, shift, 0

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def prepare(self, size: tuple[int, int]) -> None: ...

    def submit(self, tensor: np.ndarray[Any, Any]) -> None:
        self.size = tensor.shape[2:]

    def collect(self) -> np.ndarray[Any, Any]:
        label = self.truth.label(self.calls)
        self.calls += 1
        small = cv2.resize(label, (self.size[1] // 4, self.size[0] // 4), interpolation=cv2.INTER_NEAREST)
        small = np.roll(small, self.shift, axis=0)
        return (small == np.arange(11)[:, None, None]).astype(np.float32)

    def close(self) -> None: ...


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid", val=3, size=(96, 128))


def segmenter(data: Path, shift: int = 0, **changes: Any) -> HostSegmenter:
    spec = msgspec.structs.replace(CAMVID, short_side=96, output_stride=4, **changes)
    return HostSegmenter(Oracle(open_dataset(data, "val", name="camvid"), spec, shift))


def test_scores_of_a_network_that_is_right(data: Path) -> None:
    found = evaluate(segmenter(data), data=data)
    assert found["images"] == 3
    assert found["network_size"] == [96, 128]
    assert found["miou"] > 0.8  # its samples are four pixels wide
    assert found["pixel_accuracy"] > 0.95
    assert found["boundary_f"] > 0.5
    assert found["classes"]["Road"]["iou"] > 0.95
    assert found["classes"]["Pole"] == {"iou": None, "accuracy": None, "boundary_f": None}
    pixels = class_pixels(open_dataset(data, "val", name="camvid")).tolist()
    assert [sum(row) for row in found["confusion"]] == pixels
    recall = [row[index] / sum(row) for index, row in enumerate(found["confusion"]) if sum(row)]
    assert found["class_accuracy"] == pytest.approx(np.mean(recall))
    json.dumps(found, allow_nan=False)


def test_scores_fall_when_the_answer_is_shifted(data: Path) -> None:
    right, shifted = (evaluate(segmenter(data, shift), data=data) for shift in (0, 3))
    for key in ("miou", "pixel_accuracy", "class_accuracy", "boundary_f"):
        assert shifted[key] < right[key] - 0.05


def test_sequences_are_scored_apart_and_add_up(data: Path) -> None:
    for kind in ("val", "valannot"):
        for old, new in (("000", "0016E5_00001"), ("001", "0016E5_00003"), ("002", "Seq05VD_f00005")):
            (data / kind / f"{old}.png").rename(data / kind / f"{new}.png")
    found = evaluate(segmenter(data), data=data)
    first, second = found["sequences"]["0016E5"], found["sequences"]["Seq05VD"]
    assert (first["images"], second["images"]) == (2, 1)
    assert second["temporal_consistency"] is None
    assert found["temporal_consistency"] == first["temporal_consistency"]
    assert min(first["miou"], second["miou"]) < found["miou"] < max(first["miou"], second["miou"])
    assert f"Seq05VD           {second['miou']:.4f}" in table(found)


def test_limit_and_split(data: Path) -> None:
    assert evaluate(segmenter(data), data=data, limit=1)["images"] == 1
    with pytest.raises(ConfigError, match=r"no split 'test' in .*splits there: train, val"):
        evaluate(segmenter(data), data=data, split="test")


def test_other_classes_are_refused(data: Path) -> None:
    names = ("ground", *CAMVID.classes[1:])
    with pytest.raises(ModelError, match="camvid data differ in classes: only the model has ground; only the data has"):
        evaluate(segmenter(data, classes=names), data=data)


def test_classes_in_another_order_are_matched_by_name(data: Path) -> None:
    (data / "images").mkdir()
    (data / "masks").mkdir()
    for name in ("000", "001", "002"):
        shutil.copy(data / f"val/{name}.png", data / "images")
        label = cv2.imread(str(data / f"valannot/{name}.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(data / f"masks/{name}.png"), np.where(label == 11, 255, 10 - np.minimum(label, 10)))
    (data / "classes.txt").write_text("\n".join(name.upper() for name in reversed(CAMVID.classes)))
    (data / "split.txt").write_text("".join(f"{name} val\n" for name in ("000", "001", "002")))
    found = evaluate(segmenter(data), data=data, dataset="folders")
    assert found["classes"] == evaluate(segmenter(data), data=data)["classes"]
    assert found["dataset"] == "camvid" == data.name  # the folder's name


def test_scores_name_the_file_and_renew_the_card(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    conv_model(folder / "model.onnx")
    (folder / "spec.json").write_text(CAMVID.to_json())
    scores = evaluate(segmenter(data), data=data)
    write_scores(scores, tmp_path / "elsewhere.json", str(folder / "model.onnx"))
    assert not (folder / "CARD.md").exists()
    write_scores(scores, folder / "eval.json", str(folder / "model.onnx"))
    written = json.loads((folder / "eval.json").read_text())
    assert (written["sha256"], written["arithmetic"]) == (file_hash(folder / "model.onnx"), "float")
    assert f"{scores['miou']:.4f}" in (folder / "CARD.md").read_text()


def test_table(data: Path) -> None:
    lines = table(evaluate(segmenter(data), data=data)).splitlines()
    assert lines[0].split() == ["class", "IoU", "accuracy", "boundary", "F"]
    assert lines[3].split() == ["Pole", "-", "-", "-"]
    assert any(line.endswith("on 3 images of val") for line in lines)


@pytest.mark.data
def test_the_default_model_on_real_images(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (PACKAGE / "model.onnx").is_file():
        pytest.skip("the model package is not in this checkout")
    out = tmp_path / "scores.json"
    words = ["eval", "--data", str(data_dir / "camvid"), "--limit", "4", "--out", str(out), "--json"]
    assert main([*words, "--model", str(PACKAGE), "--backend", "openvino", "--precision", "fp32"]) == 0
    found = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out)["miou"] == found["miou"]
    assert found["pixel_accuracy"] > 0.7
    assert found["classes"]["Road"]["iou"] > 0.8
