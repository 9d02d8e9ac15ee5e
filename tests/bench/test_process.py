"""Memory and revision of the process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from rtseg.bench import process
from rtseg.bench.process import memory_mb, reset_peak, revision


def test_the_peak_is_that_since_the_reset() -> None:
    block = np.ones(64 << 20, np.uint8)
    before = memory_mb()
    del block
    if not reset_peak():
        pytest.skip("this system does not let the peak be reset")
    after = memory_mb()
    assert before["peak"] >= before["final"]
    assert after["peak"] <= before["peak"] - 48


def test_where_there_is_no_proc_the_peak_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PROC", tmp_path / "none")
    assert not reset_peak()
    assert memory_mb()["peak"] == memory_mb()["final"] > 1


def test_the_revision_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = revision()
    root = Path(process.__file__).parent
    try:
        words = ["git", "-C", str(root), "rev-parse", "HEAD"]
        head = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        assert found is None
    else:
        assert found is not None and found["commit"] == head
    copy = tmp_path / "process.py"  # in nobody's checkout
    copy.touch()
    monkeypatch.setattr(process, "__file__", str(copy))
    assert revision() is None
