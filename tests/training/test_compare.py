"""The comparison of networks: its rows load, and each is trained, scored and written once."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.models import build
from rtseg.training.optimisation import make_optimizer
from tests.training.camvid import write_camvid

ROOT = Path(__file__).parents[2]
SMALL = """
shared: {dataset: camvid, steps: 3, batch: 2, validate_every: 0, augmentation: {crop: [16, 16]}}
rows:
  - {name: plain, network: fcn-same}
  - {name: wrong, network: fcn-same, frozen: [encoder]}
"""


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", ROOT / "tools" / "compare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_projects_comparison_differs_only_where_it_must(compare: ModuleType) -> None:
    rows = compare.rows_of(ROOT / "configs" / "train" / "compare.yaml")
    assert {"fcn-32s", "fcn-16s", "fcn-8s", "segnet", "unet", "pspnet", "deeplabv3plus", "pidnet-s"} <= {
        row.name for row in rows
    }
    may_differ = {"name", "network", "weights", "rates", "learning_rate"}
    for row in rows:
        differing = {key for key in row.__struct_fields__ if getattr(row, key) != getattr(rows[0], key)}
        assert differing <= may_differ
        with torch.device("meta"):
            network = build(row.network, 11, training_heads=True)
        make_optimizer(network, row)
        assert all(side % network.multiple == 0 for side in row.augmentation.crop)


def test_rows_are_trained_once(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare.cv2, "setNumThreads", lambda count: None)
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    data = write_camvid(tmp_path / "camvid")
    flags = ["--data", str(data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["compare.py", str(file), *flags])
    assert compare.main() == 1  # one row cannot be trained; the other one is
    assert "wrong: no parameter of fcn-same begins with 'encoder'" in capsys.readouterr().err
    (result,) = (tmp_path / "out").iterdir()
    row = json.loads(result.read_text())
    assert (row["name"], row["network"], row["weights"], row["steps"]) == ("plain", "fcn-same", "random", 3)
    assert row["parameters"] == sum(p.numel() for p in build("fcn-same", 11).parameters())
    assert row["gmac_360x480"] == pytest.approx(360 * 480 * (27 * 64 + 5 * 9 * 64 * 64 + 64 * 11) / 1e9)
    assert 0 <= row["val_miou"] <= 1 and row["seconds_per_step"] > 0 and len(row["classes"]) == 11
    before = result.stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", ["compare.py", str(file), *flags, "--row", "plain"])
    assert compare.main() == 0 and result.stat().st_mtime_ns == before
    monkeypatch.setattr(sys, "argv", ["compare.py", str(file), *flags, "--row", "none"])
    with pytest.raises(ConfigError, match="no row none"):
        compare.main()
