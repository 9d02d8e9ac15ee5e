"""`--complete`, with which CI runs the tests: what it should have installed is no reason to skip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_missing_program_fails_under_complete_alone(tmp_path: Path) -> None:
    for folder in ("tests", "rtseg"):
        (tmp_path / folder).mkdir()
    (tmp_path / "conftest.py").write_text(
        (ROOT / "tests/conftest.py").read_text(encoding="utf-8").replace('pytest_plugins = ["tests.gpu"]', "")
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_one(): pytest.skip('needs Xvfb: apt install xvfb')\n"
        "def test_two(): pytest.skip('needs an NVIDIA GPU')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    plain = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "2 skipped" in plain.stdout and plain.returncode == 0, plain.stdout
    strict = subprocess.run([*command, "--complete"], capture_output=True, text=True, cwd=tmp_path)
    assert "1 failed, 1 skipped" in strict.stdout and strict.returncode == 1, strict.stdout
