"""Scores of a whole split keep a package's eval.json and card up to date; others leave them alone, and say why."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rtseg.cli.main import main
from rtseg.config import RunConfig
from rtseg.evaluation import record_scores
from rtseg.files import file_hash
from rtseg.training.data import CAMVID
from tests.onnx_models import conv_model
from tests.training.camvid import write_camvid

PACKAGE = Path(__file__).parents[2] / "engines" / "unet-fast0-camvid"
SCORES: dict[str, Any] = {
    "backend": "openvino", "precision": "fp32", "data": "camvid", "dataset": "camvid", "split": "val", "images": 3,
    "network_size": [96, 128], "miou": 0.61234, "pixel_accuracy": 0.9, "boundary_f": 0.5, "classes": {},
}  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    conv_model(folder / "model.onnx")
    (folder / "spec.json").write_text(CAMVID.to_json())
    return folder


def config(package: Path | str, **changes: Any) -> RunConfig:
    return RunConfig(input="none", model=str(package), **changes)


def untouched(package: Path) -> bool:
    return sorted(path.name for path in package.iterdir()) == ["model.onnx", "spec.json"]


def test_a_package_is_refreshed_by_its_folder_and_by_its_file(package: Path) -> None:
    for name in (package, package / "model.onnx"):
        lines = record_scores(SCORES, config(name))
        assert lines == [f"refreshed {package}/eval.json and {package}/CARD.md"]
        assert json.loads((package / "eval.json").read_text())["sha256"] == file_hash(package / "model.onnx")
        assert "| 0.6123 |" in (package / "CARD.md").read_text()
        (package / "eval.json").unlink()


def test_another_file_is_written_as_well(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    lines = record_scores(SCORES, config(package), out=out)
    assert lines == [f"wrote {out}", f"refreshed {package}/eval.json and {package}/CARD.md"]
    assert out.read_text() == (package / "eval.json").read_text()


def test_the_file_of_the_package_by_name_is_written_whatever_was_scored(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(package)
    out = Path("eval.json")
    assert record_scores(SCORES, config(package), out=out, limit=3) == ["wrote eval.json and CARD.md"]
    assert "| 0.6123 |" in (package / "CARD.md").read_text()


@pytest.mark.parametrize(
    ("scores", "settings", "limit", "why"),
    [
        ({}, {}, 3, "the split was scored in part (--limit 3)"),
        ({}, {"refine": "crf"}, None, "scored with another setting (refine)"),
        ({}, {"short_side": 96, "ignore_class": ("Car",)}, None, "another setting (short_side, ignore_class)"),
        ({}, {"spec_fields": {"std": (1.0, 1.0, 1.0)}}, None, "scored with another setting (spec_fields)"),
        ({"split": "train"}, {}, None, "the model was trained on the split train"),
    ],
)
def test_scores_that_are_not_the_models_own_leave_it(
    scores: dict[str, Any], settings: dict[str, Any], limit: int | None, why: str, package: Path
) -> None:
    (line,) = record_scores({**SCORES, **scores}, config(package, **settings), limit=limit)
    assert line.startswith(f"{package}/eval.json stays as it is: ") and line.endswith(why)
    assert untouched(package)


def test_a_backend_or_precision_of_choice_is_named_in_the_scores_and_does_not_count(package: Path) -> None:
    (line,) = record_scores(SCORES, config(package, backend="onnxruntime", precision="fp32", threads=1))
    assert line.startswith("refreshed ")


def test_an_installed_package_stays(package: Path, tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages" / "rtseg" / "engines" / "toy"
    shutil.copytree(package, installed)
    (line,) = record_scores(SCORES, config(installed))
    assert line == f"{installed}/eval.json stays as it is: the package is an installed one"
    assert untouched(installed)


def test_a_read_only_package_stays(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != package)  # root may write anywhere
    (line,) = record_scores(SCORES, config(package))
    assert line == f"{package}/eval.json stays as it is: the folder is read-only"
    assert untouched(package)


def test_what_is_no_package_has_nothing_to_refresh(package: Path) -> None:
    (package / "spec.json").rename(package / "net.json")
    assert record_scores(SCORES, config(package, spec=str(package / "net.json"))) == []
    assert record_scores(SCORES, config("", backend="null")) == []


def test_the_command_refreshes_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, folder = write_camvid(tmp_path / "camvid", val=2, size=(96, 128)), tmp_path / "own"
    folder.mkdir()
    for name in ("model.onnx", "spec.json"):
        shutil.copy(PACKAGE / name, folder)
    words = ["eval", "--data", str(data), "--model", str(folder), "--backend", "openvino", "--precision", "fp32"]
    assert main([*words, "--limit", "1"]) == 0
    assert f"{folder}/eval.json stays as it is: the split was scored in part" in capsys.readouterr().err
    assert main(words) == 0
    text, said = capsys.readouterr()
    assert f"refreshed {folder}/eval.json and {folder}/CARD.md" in said.splitlines()
    found = json.loads((folder / "eval.json").read_text())
    assert found["images"] == 2
    assert f"mean {found['miou']:>19.4f}" in text
    (folder / "eval.json").unlink()
    assert main([*words, "--json"]) == 0
    text, said = capsys.readouterr()
    assert said == "" and json.loads(text)["miou"] == json.loads((folder / "eval.json").read_text())["miou"]
