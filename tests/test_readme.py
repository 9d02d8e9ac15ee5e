"""The README's commands work as they stand, and its figures are those of the measurement files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.cli.main import main, make_parser
from tests.bags.recordings import drive, write_mcap
from tests.media import write_clip, write_images

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines()]
RTSEG = [words[1:] for words in COMMANDS if words[:1] == ["rtseg"]]
# A camera, a stream, a robot or a screen is not at hand everywhere, and training takes an hour.
ELSEWHERE = (
    "camera:0", "rtsp://camera/stream", "configs/camera-window.yaml", "CAMVID", "runs/unet-fast0/best.pt", "ros",
)  # fmt: skip


def test_there_are_commands() -> None:
    assert len(RTSEG) >= 8


@pytest.mark.parametrize("words", RTSEG, ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    assert make_parser().parse_args(words).command


@pytest.mark.parametrize("words", [words for words in RTSEG if not set(words) & set(ELSEWHERE)], ids=" ".join)
def test_commands_that_need_nothing_but_a_clip_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "drive.mp4", 4, (90, 160))
    write_images(tmp_path / "frames", ["1.png", "2.png"])
    write_mcap(tmp_path / "drive.mcap", drive(4, ["/camera/image"]))
    limits = {
        "run": ["--limit", "3", "--short-side", "64"],
        "bench": ["--duration", "0.2s", "--repetitions", "1", "--short-side", "64"],
    }
    # A machine that does other things may hold no rate and no budget, which is an answer too.
    answers = {0, 1} if {"--find-rate", "--budget"} & set(words) else {0}
    assert main([*words, *limits.get(words[0], [])]) in answers
    for pattern in ("out.mp4", "out.mcap", "stats.jsonl"):
        assert (tmp_path / pattern).exists() == (pattern in words)


def test_the_python_example_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    cv2.imwrite(str(tmp_path / "street.jpg"), np.full((90, 160, 3), 127, np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_ci_runs_the_readmes_test_command() -> None:
    assert ["make", "test"] in COMMANDS
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make test" in script
    assert "make lint" in script


def test_the_figures_are_those_of_the_files() -> None:
    done = subprocess.run(
        [sys.executable, "tools/update_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target
