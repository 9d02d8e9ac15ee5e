"""docs/model-zoo.md is what the result files say, and every row of it has its file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("zoo_tool", ROOT / "tools" / "zoo.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def rows_under(text: str, title: str) -> list[list[str]]:
    part = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_is_what_the_files_say(tool: ModuleType) -> None:
    page = (ROOT / "docs" / "model-zoo.md").read_text(encoding="utf-8")
    assert page == tool.page(ROOT), "run tools/zoo.py"
    files = {path.stem for path in (ROOT / "docs" / "zoo").glob("*.json") if ".eval" not in path.name}
    files.remove("own-size")
    assert {row[0] for row in rows_under(page, "Cost and speed")[2:]} == files
    assert {"pidnet-s", "unet-fast0-camvid", "unet-lite2-camvid"} <= files


def timing(median: float) -> dict[str, Any]:
    return {"median_ms": median, "ratio_to_reference": median / 10, "samples": 7}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    zoo = tmp_path / "docs" / "zoo"
    (zoo / "comparison").mkdir(parents=True)
    row = {
        "name": "street", "network": "pidnet-s", "weights": "trained", "arithmetic": "int8", "sha256": "abc",
        "bytes": 2_500_000, "output_stride": 8, "parameters": 7_620_000,
        "parity": {"openvino": {"largest_logit_difference": 2e-5, "largest_logit": 10.0}},
        "gmac": {"480x360": 3.95, "960x720": 15.6}, "machine": {"cores": 2, "cpu": "CPU"},
        "speed": {"openvino fp32": {"480x360": timing(12.34), "960x720": timing(50.0)}},
    }  # fmt: skip
    (zoo / "street.json").write_text(json.dumps(row))
    scores = {
        "backend": "onnxruntime", "precision": "fp32", "sha256": "abc", "miou": 0.71234, "boundary_f": 0.6,
        "refine": None, "classes": {"Sky": {"iou": 0.9}, "Car": {"iou": None}},
    }  # fmt: skip
    (zoo / "street.onnxruntime.eval.json").write_text(json.dumps(scores))
    (zoo / "street.openvino.eval.json").write_text(json.dumps({**scores, "backend": "openvino", "sha256": "other"}))
    for name, miou in (("low", 0.3), ("high", 0.4)):
        compared = {
            "network": name, "weights": "random", "steps": 300, "batch": 4, "crop": [256, 320], "val_miou": miou,
            "boundary_f": 0.2, "learning_rate": 0.002, "seconds_per_step": 1.5, "parameters": 1e6,
            "gmac_360x480": 2.0, "data": "camvid val", "classes": {"Sky": {"iou": 0.8}},
        }  # fmt: skip
        (zoo / "comparison" / f"{name}.json").write_text(json.dumps(compared))
    return tmp_path


def test_scores_are_those_of_the_very_file_that_was_timed(tool: ModuleType, results: Path) -> None:
    page = tool.page(results)
    (head, _, row, *_) = rows_under(page, "Trained on CamVid")
    assert dict(zip(head, row, strict=True)) == {
        "model": "street (not kept)", "network": "pidnet-s", "scored with": "onnxruntime int8", "val mIoU": "0.7123",
        "boundary F": "0.6000", "MB": "2.5", "M parameters": "7.62", "GMAC 480x360": "3.95", "GMAC 960x720": "15.60",
    }  # fmt: skip
    assert "openvino int8" not in page
    assert rows_under(page, "Trained on CamVid")[-1] == ["street", "onnxruntime int8", "0.900", "–"]


def test_speed_is_given_with_its_ratio_and_what_was_not_measured_is_a_dash(tool: ModuleType, results: Path) -> None:
    row = rows_under(tool.page(results), "Cost and speed")[2]
    assert row[:3] == ["street", "int8", "8"]
    assert row[3] == "2e-06"
    assert row[7:] == ["12.3 (1.23)", "50.0 (5.00)", "–", "–", "–", "–"]


def test_models_that_ship_are_compared_at_their_own_sizes(tool: ModuleType, results: Path) -> None:
    own = {
        name: {"median_ms": ms, "network_size": list(size)}
        for name, ms, size in (("street", 10.0, (352, 480)), (tool.DEFAULT_MODEL, 4.0, (256, 352)))
    }
    content = {"frame": "480x360", "speed": {"openvino fp32": own}, "machine": {"cores": 2, "cpu": "CPU"}}
    (results / "docs" / "zoo" / "own-size.json").write_text(json.dumps(content))
    rows = rows_under(tool.page(results), "Models at their own size")
    assert rows[0] == ["model", "network input", "val mIoU", "openvino fp32"]
    assert rows[2:] == [
        ["street (not kept)", "480x352", "0.7123", "10.0 (1.0x)"],
        [f"{tool.DEFAULT_MODEL} (default)", "352x256", "–", "4.0 (2.5x)"],
    ]


def test_the_comparison_is_sorted_by_score(tool: ModuleType, results: Path) -> None:
    page = tool.page(results)
    assert [row[:3] for row in rows_under(page, "One budget")[2:4]] == [
        ["high", "random", "0.4000"],
        ["low", "random", "0.3000"],
    ]
    assert "300 steps of 4 crops of 256x320" in page
    assert "Not all had this budget" not in page
