"""What concerns OpenVINO alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.onnx_models import conv_model

INTERLEAVED = """
import json, signal, sys
from rtseg.backends import open_backend
from tests.onnx_models import NORMALISATION
first = open_backend("openvino", sys.argv[1], overrides=NORMALISATION)
first.prepare((64, 96))
second = open_backend("openvino", sys.argv[1], overrides=NORMALISATION)
second.prepare((64, 96))
first.close()
del first
second.close()
del second
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupting_after_two_networks_of_overlapping_lives(tmp_path: Path) -> None:
    """The signal stack of the CPU plugin is still there for Python's handler."""
    path = conv_model(tmp_path / "conv.onnx")
    command = [sys.executable, "-c", INTERLEAVED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=Path.cwd())
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
