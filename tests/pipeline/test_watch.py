"""What a terminal shows while frames flow, and that nothing else shows anything."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from rtseg import progress
from rtseg.frame import Frame, StreamInfo
from rtseg.pipeline.loop import Pipeline
from rtseg.pipeline.watch import watcher
from rtseg.timing import Recorder, StageClock

IMAGE = np.zeros((2, 2, 3), np.uint8)


def shown(info: StreamInfo, terminal: bool = True, limit: int | None = None, lines: int = 0) -> str:
    """What is on the screen when three frames are done and two were lost, and `lines` lines are there."""
    out, recorder = io.StringIO(), Recorder()
    for index in range(3):
        done = (index + 1) * 100_000_000
        recorder.add(Frame(index, done - 20_000_000, None, None, IMAGE), StageClock(), done)
    parts = SimpleNamespace(recorder=recorder, drops=2, delivery=SimpleNamespace(drops=0))
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with watcher(console, limit)(cast(Pipeline, cast(Any, parts)), info):
        deadline = time.monotonic() + 10
        while out.getvalue().count("\n") < lines and time.monotonic() < deadline:
            time.sleep(0.005)
    return out.getvalue()


def stream(frames: int | None, live: bool = False) -> StreamInfo:
    return StreamInfo("x", live, 30.0, (48, 64), frames)


@pytest.mark.parametrize(
    ("frames", "limit", "total"), [(24, None, "3/24"), (24, 7, "3/7"), (24, 99, "3/24"), (None, 9, "3/9")]
)
def test_a_file_has_a_bar_up_to_its_end_or_the_limit(frames: int | None, limit: int | None, total: str) -> None:
    text = shown(stream(frames), limit=limit)
    assert total in text.replace(" ", "")
    assert "10.0 fps, 20 ms p50, 20 ms p95, 2 dropped" in text


@pytest.mark.parametrize("info", [stream(None), stream(50, live=True)])
def test_what_has_no_known_end_has_a_line(info: StreamInfo) -> None:
    text = shown(info)
    assert "3 frames 10.0 fps" in text
    assert "━" not in text


def test_a_short_run_prints_no_line_where_there_is_no_terminal() -> None:
    assert shown(stream(24), terminal=False) == ""


@pytest.mark.parametrize(
    ("info", "limit", "count"),
    [(stream(24), None, "3 of 24"), (stream(24), 7, "3 of 7"), (stream(None), None, "3"), (stream(9, True), None, "3")],
)
def test_a_line_now_and_then_where_there_is_no_terminal(
    info: StreamInfo, limit: int | None, count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    lines = shown(info, terminal=False, limit=limit, lines=2).splitlines()
    assert len(lines) >= 2
    assert set(lines) == {f"{count} frames, 10.0 fps, 20 ms p50, 2 dropped"}
