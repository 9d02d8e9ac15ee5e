"""The README's commands work as they stand, and its figures are those of the measurement files."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.cli.main import main, make_parser
from rtseg.sources.synthetic import SyntheticSource
from tests.bags.recordings import drive, write_mcap
from tests.media import write_clip, write_images
from tests.sources.rtsp_server import RtspServer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines()]
COMMANDS = [words for words in LINES if words]
RTSEG = [words[1:] for words in COMMANDS if words[0] == "rtseg"]
NOT_RUN = {
    "pip install .": "minutes of packages: test_packaging installs the wheel",
    "pipx install .": "the same",
    "pip install .[train] -c constraints.txt": "the same, with torch",
    "make demo": "fetches its drive; test_demo has the parts",
    "make test": "this very run",
    "rtseg run camera:0 window: --hud --legend": "a camera",
    "rtseg run --config configs/camera-window.yaml": "a camera; test_config reads the file",
    "rtseg ros --image /camera/image_raw": "a node that runs until it is stopped: tests/ros",
}
"""Why a command is not run here, by its words."""
STREAM = "rtsp://camera/stream"
"""Stands for the test's own server."""
TRAINING = [words for words in RTSEG if words[0] in ("data", "train", "export", "eval", "quantize")]
"""A chain: each needs what those before it wrote."""
ALONE = [
    words
    for words in RTSEG
    if shlex.join(["rtseg", *words]).replace("'", "") not in NOT_RUN and words not in TRAINING and STREAM not in words
]
FEW = {
    "run": ["--limit", "3", "--short-side", "64"],
    "bench": ["--duration", "0.2s", "--repetitions", "1", "--short-side", "64"],
    "train": ["--time-budget", "0.01"],
}
"""What makes a command short."""


def test_every_command_is_run_or_has_its_reason() -> None:
    run = [["rtseg", *words] for words in [*ALONE, *TRAINING, *(words for words in RTSEG if STREAM in words)]]
    left = [shlex.join(words).replace("'", "") for words in COMMANDS if words not in run]
    assert sorted(left) == sorted(NOT_RUN)
    assert len(run) >= 15


@pytest.mark.parametrize("words", RTSEG, ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    assert make_parser().parse_args(words).command


@pytest.mark.parametrize("words", ALONE, ids=" ".join)
def test_commands_that_need_nothing_but_a_clip_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "drive.mp4", 4, (90, 160))
    write_images(tmp_path / "frames", ["1.png", "2.png"])
    write_mcap(tmp_path / "drive.mcap", drive(4, ["/camera/image"]))
    # A machine that does other things may hold no rate and no budget, which is an answer too.
    answers = {0, 1} if {"--find-rate", "--budget"} & set(words) else {0}
    assert main([*words, *FEW.get(words[0], [])]) in answers
    for pattern in ("out.mp4", "out.mcap", "stats.jsonl"):
        assert (tmp_path / pattern).exists() == (pattern in words)


def test_the_stream_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (words,) = [words for words in RTSEG if STREAM in words]
    # Its frames may be over before the network is ready: it is connected to again, as the command says.
    with RtspServer(40, connections=99) as server:
        assert main([server.url if word == STREAM else word for word in words] + FEW["run"]) == 0
    assert (tmp_path / "out.mp4").stat().st_size > 0


@pytest.mark.slow
def test_from_data_to_a_scored_and_quantized_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of training, one after the other, on nine frames in the layout of CamVid."""
    monkeypatch.chdir(tmp_path)
    scene = SyntheticSource("drive", size=(360, 480))
    for split, numbers in {"train": range(9), "val": range(20, 22)}.items():
        for number in numbers:
            for folder, picture in zip((split, f"{split}annot"), scene.render(number * 10), strict=True):
                (tmp_path / "CAMVID" / folder).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(tmp_path / "CAMVID" / folder / f"{number}.png"), picture)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setattr("rtseg.packages.spec.package_folders", lambda: [tmp_path / "engines"])
    for words in TRAINING:
        assert main([*words, *FEW.get(words[0], [])]) == 0, capsys.readouterr().err
    assert {path.parent.name for path in Path("engines").glob("*/model.onnx")} == {"my-model", "my-model-int8"}
    assert 0 <= json.loads(Path("scores.json").read_text(encoding="utf-8"))["miou"] <= 1
    assert "<html" in Path("worst.html").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    cv2.imwrite(str(tmp_path / "street.jpg"), np.full((90, 160, 3), 127, np.uint8))
    write_clip(tmp_path / "drive.mp4", 3)
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert cv2.imread(str(tmp_path / "latest.jpg")) is not None


def test_ci_runs_the_readmes_test_command() -> None:
    assert ["make", "test"] in COMMANDS
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.split()[1] for line in script if line.startswith("make ")][:3] == ["lint", "docs", "test"]


def test_the_figures_are_those_of_the_files() -> None:
    done = subprocess.run(
        [sys.executable, "tools/update_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target
