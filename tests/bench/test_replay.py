"""The load generator: when frames are due, what counts as late, what is held, and that it always ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rtseg.bench.replay import Clip, Replay, hold
from rtseg.config import RunConfig
from rtseg.errors import ConfigError, SourceError
from tests.media import write_clip

MS = 1_000_000


def test_frames_are_due_at_a_fixed_rate_and_carry_that_time(clip: Clip) -> None:
    replay = Replay(clip, rate=400, seconds=0.05, warm_up=3)
    replay.begin()
    frames = []
    for frame in replay:
        assert time.monotonic_ns() >= frame.t_capture
        frames.append(frame)
    assert [frame.index for frame in frames] == list(range(23))  # 3 and 0.05 s at 400 per second
    assert [frame.t_capture - replay.t_begin for frame in frames] == [index * 2_500_000 for index in range(23)]
    assert all(frame.image is clip.images[frame.index % 5] for frame in frames)
    assert [frame.pts for frame in frames[:2]] == [0, 1 / 400]
    assert (replay.info.live, replay.info.frames, replay.info.size) == (True, 23, (48, 80))


class Sleepy(Replay):
    """Wakes up late before some frames, without really waiting."""

    late_by = {1: 9 * MS, 5: 7 * MS, 6: MS, 8: 4 * MS}  # noqa: RUF012 - not written to

    def wait_until(self, due: int) -> int:
        return due + self.late_by.get(round((due - self.t_begin) * 100 / 1e9), 0)


def test_a_generator_that_is_late_says_so_and_keeps_the_time_that_was_due(clip: Clip) -> None:
    replay = Sleepy(clip, rate=100, seconds=0.1, warm_up=2)
    replay.begin()
    due = [frame.t_capture - replay.t_begin for frame in replay]
    assert due == [index * 10 * MS for index in range(12)]
    # Frame 1 is of the warm-up, and 1 ms is what a clock may take.
    assert (replay.late, replay.late_worst_ns) == (2, 7 * MS)


def test_after_a_block_all_frames_that_were_due_come_at_once(clip: Clip) -> None:
    replay = Replay(clip, rate=200, seconds=0.1)
    replay.begin()
    frames = iter(replay)
    next(frames)
    time.sleep(0.06)
    due = [next(frames).t_capture - replay.t_begin for _ in range(10)]
    assert due == [index * 5 * MS for index in range(1, 11)]
    assert replay.late >= 10


def test_a_closed_loop_hands_out_a_frame_whenever_one_is_wanted(clip: Clip) -> None:
    replay = Replay(clip, rate=None, seconds=0.05, warm_up=4)
    replay.begin()
    before, frames = time.monotonic_ns(), []
    for frame in replay:
        assert before <= frame.t_capture <= time.monotonic_ns()
        frames.append(frame)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(frames) >= 5
    assert frames[-1].t_capture - frames[4].t_capture < 50 * MS <= time.monotonic_ns() - frames[4].t_capture
    assert not replay.info.live


def test_a_closed_loop_has_at_least_one_frame_that_counts(clip: Clip) -> None:
    replay = Replay(clip, rate=None, seconds=1e-9, warm_up=2)
    replay.begin()
    assert [frame.index for frame in replay] == [0, 1, 2]


@pytest.mark.parametrize("begin", [False, True])
def test_closing_ends_the_wait(clip: Clip, begin: bool) -> None:
    replay, frames = Replay(clip, rate=0.001, seconds=5000), list[int]()
    if begin:
        replay.begin()
    thread = threading.Thread(target=lambda: frames.extend(frame.index for frame in replay), daemon=True)
    thread.start()
    time.sleep(0.2)
    assert begin or frames == []
    with replay:
        pass
    thread.join(10)
    assert not thread.is_alive()
    assert frames == ([0] if begin else [])


def test_a_clip_is_held_as_it_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", 12, (48, 80))
    clip = hold(RunConfig(input=str(path)), memory_mb=10)
    assert len(clip.images) == 12
    assert (clip.size, clip.source) == ((48, 80), str(path))
    assert clip.decode["frames"] == clip.decode["ms"]["samples"] == 12
    assert clip.decode["ms"]["p50"] > 0
    assert clip.held_mb == pytest.approx(12 * 48 * 80 * 3 / 2**20)
    assert len({image.tobytes() for image in clip.images}) > 1


def test_what_is_held_is_bounded_in_frames_and_in_memory() -> None:
    endless = RunConfig(input="synthetic:shapes", source={"size": "64x64"})
    assert len(hold(endless, memory_mb=1000, frames=7).images) == 7
    assert len(hold(endless, memory_mb=0.1).images) == 8  # of 12 KiB each
    with pytest.raises(ConfigError, match=r"a frame of synthetic:shapes takes 0\.0 MiB: raise --memory above 0\.01"):
        hold(endless, memory_mb=0.01)


def test_what_cannot_be_played_again() -> None:
    with pytest.raises(ConfigError, match="is live: a benchmark plays the same frames several times"):
        hold(RunConfig(input="synthetic:drive", source={"live": True, "size": "48x64"}), memory_mb=10)
    with pytest.raises(SourceError, match="does not exist"):
        hold(RunConfig(input="none.mp4"), memory_mb=10)


def test_frames_of_the_held_clip_are_not_shared_with_the_reader() -> None:
    clip = hold(RunConfig(input="synthetic:drive", source={"size": "48x64"}), memory_mb=10, frames=4)
    assert all(not np.shares_memory(a, b) for a, b in zip(clip.images, clip.images[1:], strict=False))
