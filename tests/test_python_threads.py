"""The code of docs/python-threads.md runs as it stands, and what the page says beside it is so."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import rtseg
from rtseg.sources.synthetic import SyntheticSource

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "python-threads.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def ran(path: Path, code: str) -> str:
    path.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_blocks_are_a_program(tmp_path: Path) -> None:
    assert len(BLOCKS) == 7
    ran(tmp_path / "page.py", "\n\n".join(BLOCKS[:-1]))


def test_the_last_block_is_a_program_with_processes_of_its_own(tmp_path: Path) -> None:
    assert ran(tmp_path / "processes.py", BLOCKS[-1]) == f"{5 * 120 * 160} pixels labelled\n"


def test_drawing_in_many_threads_gives_what_one_gives() -> None:
    scene = SyntheticSource("drive", size=(90, 160)).scene
    pairs = [scene.render(10 * index) for index in range(12)]
    with rtseg.Segmenter(size=(96, 128)) as segment:
        spec = segment.spec
    expected = [rtseg.draw(image, labels, spec, legend=True) for image, labels in pairs]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda pair: rtseg.draw(*pair, spec, legend=True), pairs * 4))
    for drawn, wanted in zip(found, expected * 4, strict=True):
        np.testing.assert_array_equal(drawn, wanted)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links and all((ROOT / "docs" / target).exists() for target in links)
