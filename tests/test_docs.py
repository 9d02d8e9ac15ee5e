"""The pages of docs/: commands are understood, examples run, every public name is on the page of the Python API.

`make docs` builds the site and finds links and anchors that lead nowhere.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import rtseg
from rtseg.cli.main import make_parser
from tests.media import write_clip
from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PYTHON = (DOCS / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every line of a block of commands that begins with rtseg, with its page."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if language not in ("", "sh"):
                continue
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if re.match(r"\s*rtseg [a-z]", line)]
    return found


def test_there_are_commands_on_many_pages() -> None:
    assert len({page for page, _ in commands()}) >= 8


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: str(value))
def test_every_command_is_understood(page: str, line: str) -> None:
    assert make_parser().parse_args(shlex.split(line, comments=True)[1:]).command


def test_every_public_name_is_on_the_page() -> None:
    assert sorted(re.findall(r"^::: rtseg\.(\w+)$", PYTHON, re.MULTILINE)) == sorted(
        set(rtseg.__all__) - {"__version__"}
    )


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
def test_the_examples_run(index: int, tmp_path: Path) -> None:
    write_clip(tmp_path / "drive.mp4", 4, (90, 160))
    cv2.imwrite(str(tmp_path / "street.jpg"), np.full((90, 160, 3), 127, np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[index]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("\n")
        == {"rtseg.stream": 3, "asyncio": 3, "cv2": 0}[
            next(word for word in ("rtseg.stream", "asyncio", "cv2") if word in EXAMPLES[index])
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[x](../tools/a.md)", "x (`tools/a.md` in the repository)"),
        ("[`tools/a.md`](../tools/a.md#part)", "`tools/a.md`"),
        (
            "[x](bench/a.json), [y](gpu.md#decisions)",
            "x (`docs/bench/a.json` in the repository), [y](gpu.md#decisions)",
        ),
        ("![x](overlay.jpg) [y](https://example.org/a)", "![x](overlay.jpg) [y](https://example.org/a)"),
    ],
)
def test_links_out_of_the_site_become_names(text: str, expected: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    with tool_modules(ROOT / "tools") as load:
        assert load("docs_hooks").on_page_markdown(text, page=page, config=None, files=None) == expected


def test_pictures_of_the_gallery_are_there_and_small() -> None:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = {DOCS / name for name in re.findall(r"\]\((gallery/[^)]+)\)", page)}
    assert shown == set((DOCS / "gallery").iterdir())
    assert sum(path.stat().st_size for path in shown) < 1.5e6
