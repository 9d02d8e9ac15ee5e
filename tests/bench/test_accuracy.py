"""Which score is a configuration's own, and which only its model's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rtseg.bench.accuracy import accuracy, distance
from rtseg.config import RunConfig
from rtseg.files import file_hash
from rtseg.packages.spec import find_package

MODEL = "unet-fast0-camvid"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the default model without its scores."""
    folder = tmp_path / "net"
    folder.mkdir()
    for name in ("model.onnx", "spec.json"):
        shutil.copy(find_package(MODEL).path.with_name(name), folder)
    return folder


def score(package: Path, name: str, miou: Any, size: Any, **more: Any) -> Path:
    path = package / name
    content = {"miou": miou, "network_size": size, "refine": None, "sha256": file_hash(package / "model.onnx"), **more}
    path.write_text(json.dumps(content))
    return path


def of(package: Path, size: list[int], **fields: Any) -> dict[str, Any] | None:
    return accuracy(RunConfig(input="x", model=str(package), **fields), size)


def test_the_model_in_the_repository_has_the_score_of_its_file() -> None:
    path = find_package(MODEL).path.with_name("eval.json")
    content = json.loads(path.read_text())
    found = accuracy(RunConfig(input="x", model=MODEL), [416, 768])
    assert found == {
        "miou": round(content["miou"], 4), "from": str(path), "network_size": content["network_size"], "as_run": True,
    }  # fmt: skip
    other = accuracy(RunConfig(input="x", model=MODEL), [256, 448])
    assert other is not None and not other["as_run"]


def test_the_nearest_size_that_was_scored_counts(package: Path) -> None:
    score(package, "eval.json", 0.7, [416, 576])
    small = score(package, "eval-256.json", 0.6, [256, 352])
    assert of(package, [256, 448]) == {
        "miou": 0.6, "from": str(small), "network_size": [256, 352], "as_run": True,
    }  # fmt: skip
    between = of(package, [288, 512])
    assert between is not None and (between["miou"], between["as_run"]) == (0.6, False)
    assert of(package, [416, 768]) == {**(of(package, [416, 576]) or {})}


def test_a_score_with_refinement_is_that_of_the_refined(package: Path) -> None:
    score(package, "eval.json", 0.7, [416, 576])
    plain = of(package, [416, 768], refine="crf")
    assert plain is not None and (plain["miou"], plain["as_run"]) == (0.7, False)
    score(package, "eval-crf.json", 0.71, [416, 576], refine="crf")
    refined = of(package, [416, 768], refine="crf")
    assert refined is not None and (refined["miou"], refined["as_run"]) == (0.71, True)
    unrefined = of(package, [416, 768])
    assert unrefined is not None and unrefined["miou"] == 0.7


def test_scores_of_another_file_and_rubbish_are_not_read(package: Path) -> None:
    score(package, "eval.json", 0.7, [416, 576], sha256="0" * 64)
    (package / "eval-a.json").write_text("{not json")
    (package / "eval-b.json").write_text("[1]")
    (package / "eval-c.json").write_bytes(b"\xff\xfe\x00")
    score(package, "eval-d.json", "high", [416, 576])
    score(package, "eval-e.json", 0.7, "416x576")
    found = of(package, [416, 768])
    assert found is not None
    assert (found["from"], found["as_run"]) == ("validation in training", True)
    assert found["miou"] == pytest.approx(0.7224)


def test_nothing_is_known_of_a_model_without_scores_or_provenance(package: Path) -> None:
    spec = json.loads((package / "spec.json").read_text())
    (package / "spec.json").write_text(json.dumps(spec | {"provenance": {}}))
    assert of(package, [416, 768]) is None
    assert accuracy(RunConfig(input="x", model="", backend="null"), [48, 80]) is None


def test_distance_is_of_the_short_sides_and_symmetric() -> None:
    assert distance([416, 768], [416, 576]) == 0
    assert distance([200, 300], [100, 300]) == distance([300, 100], [200, 900]) == pytest.approx(0.6931, abs=1e-4)
