"""Processes in which packages are not there, whatever is installed: for what must run on machines that lack them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCKER = """
from importlib.machinery import PathFinder

class Blocked(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else super().find_spec(name, path, target)

import sys

sys.meta_path[sys.meta_path.index(PathFinder)] = Blocked
"""
OLDER_OPENCV = """
import cv2

del cv2.FontFace
"""


def environment(folder: Path, *packages: str, older_opencv: bool = False) -> dict[str, str]:
    """Environment variables for Python processes, and their children, in which importing `packages` fails.

    `older_opencv` takes from cv2 what only OpenCV 5 has. `folder` is written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = BLOCKER.format(names=packages) + (OLDER_OPENCV if older_opencv else "")
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join((str(folder), str(ROOT)))
    return {**os.environ, "PYTHONPATH": path}


def run(code: str, folder: Path, *packages: str, older_opencv: bool = False) -> str:
    """What Python prints for `code` without `packages`; AssertionError with its errors where it fails."""
    variables = environment(folder, *packages, older_opencv=older_opencv)
    done = subprocess.run([sys.executable, "-c", code], env=variables, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
