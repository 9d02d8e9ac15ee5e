"""Checkpoints are written whole, and reading one runs no code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.training import checkpoint
from rtseg.training.checkpoint import load_checkpoint, save_checkpoint, sweep


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
    assert "re._compile" in told(path)


def told(path: Path) -> str:
    """The one line about a file that is no checkpoint."""
    with pytest.raises(ConfigError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text and "weights_only" not in text and len(text) < 200 + len(str(path))
    return text


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    is_none, do = f"{path} is not a training checkpoint (", "): give last.pt or best.pt of an rtseg train run"
    path.write_text("# A page\n\nof text")
    assert len(told(path)) > len(is_none + do) and told(path).startswith(is_none) and told(path).endswith(do)
    path.write_bytes(b"")
    assert told(path) == is_none + "EOFError" + do
    path.write_bytes(b"PK\x03\x04" + bytes(60))
    assert len(told(path)) > len(is_none + do) and told(path).startswith(is_none) and told(path).endswith(do)
    torch.save([1], path)
    assert told(path) == is_none + "it has no recipe" + do
    torch.save({"recipe": "{}", "state_dict": {}}, path)
    assert told(path) == is_none + "it has no average" + do
    assert told(tmp_path / "none.pt") == f"no checkpoint at {tmp_path / 'none.pt'}"
    assert told(tmp_path) == f"cannot read checkpoint {tmp_path}: Is a directory"


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(30)
    kept = {"last.pt", f".last.pt.{os.getppid()}", ".last.pt.copy", ".notes.1", "tensorboard"}
    stale = {f".last.pt.{child.pid}", f".best.pt.{child.pid}", f".last.pt.{os.getpid()}", ".last.pt.99999999999999"}
    for name in kept | stale:
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == kept
