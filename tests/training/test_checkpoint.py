"""Checkpoints are written whole, and reading one runs no code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.training import checkpoint
from rtseg.training.checkpoint import load_checkpoint, save_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint({"recipe": "{}", "average": {"w": torch.tensor([1.5])}, "step": 3, "seconds": [0.5]}, path)
    state = load_checkpoint(path)
    assert state["average"]["w"].tolist() == [1.5] and state["step"] == 3 and state["seconds"] == [0.5]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint({"step": 1}, path)
    before = path.read_bytes()

    def fail(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint({"step": 2}, path)
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
    torch.save([1], path)
    with pytest.raises(ConfigError, match="is not a training checkpoint"):
        load_checkpoint(path)
    with pytest.raises(ConfigError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.pt")
