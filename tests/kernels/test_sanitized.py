"""The twin tests once more, on kernels.cu compiled so that undefined behaviour ends the process: misaligned vectors,
indices beyond an array, overflows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys
import pytest
from tests.kernels import host
host.EXTRA = ("-fsanitize=undefined", "-fno-sanitize-recover=all", "-O1")
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/kernels/test_twins.py"]))
"""
PROBE = "int main(int n, char **) { int at[2] = {0, 0}; return at[n + 1]; }"


@pytest.mark.slow
def test_no_undefined_behaviour(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile kernels.cu for the CPU: apt install g++")
    probe = tmp_path / "probe.cpp"
    probe.write_text(PROBE)
    made = subprocess.run(
        [compiler, "-fsanitize=undefined", "-fno-sanitize-recover=all", str(probe), "-o", str(tmp_path / "probe")]
    )
    if made.returncode:
        pytest.skip("needs g++ with libubsan")
    assert subprocess.run([str(tmp_path / "probe")], capture_output=True).returncode != 0
    done = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
