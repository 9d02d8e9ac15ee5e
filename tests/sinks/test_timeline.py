"""Time stamps in a file: the source's own where they can be trusted, always increasing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rtseg.frame import Frame, StreamInfo
from rtseg.sinks._timeline import Timeline

BASE = Fraction(1, 1000)
PICTURE = np.zeros((1, 1, 3), np.uint8)


def ticks(
    pts: list[float | None],
    live: bool = False,
    captured: list[float] | None = None,
    fps: float | None = 10.0,
    rate: float | None = None,
    first: int = 0,
) -> list[int]:
    timeline = Timeline(StreamInfo("memory", live, fps), BASE, rate)
    captured = captured or [0.0] * len(pts)
    return [
        timeline.tick(Frame(first + index, round(capture * 1e9), stamp, None, PICTURE))
        for index, (stamp, capture) in enumerate(zip(pts, captured, strict=True))
    ]


def test_a_files_stamps_are_kept_also_at_a_variable_rate_and_with_a_small_start() -> None:
    assert ticks([0.08, 0.12, 0.5, 0.501]) == [80, 120, 500, 501]


@pytest.mark.parametrize("start", [12.5, -0.04])
def test_a_file_entered_in_the_middle_or_before_zero_starts_at_zero(start: float) -> None:
    assert ticks([start, start + 0.1, start + 0.3]) == [0, 100, 300]


def test_equal_or_slightly_falling_stamps_move_by_one_tick() -> None:
    assert ticks([0.0, 0.1, 0.1, 0.05, 0.3]) == [0, 100, 101, 102, 300]


def test_a_loop_goes_on_one_frame_after_the_last() -> None:
    assert ticks([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]) == [0, 1000, 2000, 2100, 3100, 4100]


def test_a_gap_in_a_file_is_kept() -> None:
    assert ticks([0.0, 0.1, 60.1]) == [0, 100, 60_100]


def test_a_live_source_starts_at_zero_and_follows_its_own_clock() -> None:
    assert ticks([5000.0, 5000.1, 5000.2], live=True, captured=[3.0, 3.15, 3.2]) == [0, 100, 200]


@pytest.mark.parametrize("restart", [0.0, 90_000.0])
def test_a_reconnected_stream_with_another_clock_goes_on_after_the_time_that_passed(restart: float) -> None:
    pts = [500.0, 500.1, restart, restart + 0.1]
    assert ticks(pts, live=True, captured=[0.0, 0.1, 4.1, 4.2]) == [0, 100, 4100, 4200]


def test_a_live_source_without_stamps_uses_the_time_of_capture() -> None:
    assert ticks([None] * 3, live=True, captured=[7.0, 7.04, 7.5]) == [0, 40, 500]


def test_a_file_without_stamps_counts_at_its_rate_with_gaps_kept() -> None:
    assert ticks([None] * 3) == [0, 100, 200]
    assert ticks([None] * 2, fps=None) == [0, 40]


def test_a_given_rate_replaces_all_stamps() -> None:
    assert ticks([0.0, 0.5, 0.4], rate=4, first=9) == [0, 250, 500]
