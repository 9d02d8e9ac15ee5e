"""JSON lines: their values, and that only whole ones are ever seen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtseg.errors import SinkError
from tests.sinks.results import full_disk, open_to, result


def test_a_line_per_frame(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    with open_to(path) as sink:
        assert sink.needs == {"areas"}
        for index in range(3):
            sink.write(
                result(
                    index,
                    index / 25,
                    t_capture=1_000_000_000,
                    t_overlay=1_012_345_678,
                    stages={"infer": 8_000_000, "labels": 500_400},
                    drops=index,
                    areas=np.array([0.5, 0.25, 1 / 3]),
                )
            )
            assert len(path.read_text().splitlines()) == index + 1, "a line must be there as soon as it is written"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[2] == {
        "index": 2,
        "pts": 0.08,
        "stamp": None,
        "t_capture": 1_000_000_000,
        "latency_ms": 12.346,
        "stages_ms": {"infer": 8.0, "labels": 0.5},
        "drops": 2,
        "areas": {"road": 0.5, "car": 0.25, "sky": 0.333333},
    }


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    with open_to(tmp_path / "stats.jsonl") as sink:
        sink.write(result(0, float("nan"), areas=np.array([float("nan"), 0, 1])))
    line = json.loads((tmp_path / "stats.jsonl").read_text(), parse_constant=pytest.fail)
    assert line["pts"] is None
    assert line["areas"] == {"road": None, "car": 0.0, "sky": 1.0}


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text("old\n" * 100)
    with open_to(path) as sink:
        sink.write(result(0))
    assert len(path.read_text().splitlines()) == 1


def test_a_killed_run_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    code = (
        "import sys; from tests.sinks.results import open_to, result\n"
        "sink = open_to(sys.argv[1]).__enter__(); print('open', flush=True)\n"
        "for index in range(10**9): sink.write(result(index, index / 25))\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=root, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        while path.stat().st_size < 50_000:
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    lines = path.read_text().splitlines(keepends=True)
    assert lines[-1].endswith("}\n")
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))


def test_a_full_disk_takes_the_part_of_a_line_back(tmp_path: Path) -> None:
    with full_disk(tmp_path / "tiny", "8k") as folder:
        with pytest.raises(SinkError, match="the disk is full"), open_to(folder / "stats.jsonl") as sink:
            for index in range(1000):
                sink.write(result(index, 0.0))
        lines = (folder / "stats.jsonl").read_text().splitlines(keepends=True)
        assert lines[-1].endswith("}\n")
        assert len(lines) > 20


def test_a_device_that_is_always_full() -> None:
    with pytest.raises(SinkError, match="cannot write /dev/full: the disk is full"), open_to("stats:/dev/full") as sink:
        sink.write(result(0))


def test_no_folder_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="there is no folder"), open_to(tmp_path / "none" / "stats.jsonl"):
        pass
    with pytest.raises(SinkError, match="it is a folder"), open_to(f"stats:{tmp_path}"):
        pass
