"""C++ that tests need, compiled by g++ once for each content and kept in the temporary folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import pytest

SECONDS = 150


def shared_library(name: str, sources: Sequence[Path], flags: Sequence[str], others: Sequence[Path] = ()) -> Path:
    """The library made of `sources`; `others` are the files that they include, whose changes count too."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ : apt install g++")
    digest = hashlib.sha256("\0".join((compiler, *flags, *map(str, sources))).encode())
    for path in (*sources, *others):
        digest.update(path.read_bytes())
    kept = Path(gettempdir()) / f"rtseg-tests-{os.getuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    if kept.stat().st_uid != os.getuid():
        pytest.fail(f"{kept} belongs to another user")
    target = kept / digest.hexdigest()[:16] / name
    if target.is_file():
        return target
    # In place at once or not at all, so that two runs of the tests may compile at the same time.
    folder = Path(mkdtemp(dir=kept))
    command = [compiler, "-shared", "-fPIC", *flags, *map(str, sources), "-o", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"g++ cannot compile {sources[0].name}:\n{done.stderr}"
    try:
        folder.rename(target.parent)
    except OSError:  # Another run was first.
        shutil.rmtree(folder)
    return target
