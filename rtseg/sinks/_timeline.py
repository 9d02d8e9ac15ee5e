"""A frame's time in an output file, as whole ticks of its clock, always increasing."""

from __future__ import annotations

from fractions import Fraction

from rtseg.frame import Frame, StreamInfo

__all__ = ["Timeline"]

DEFAULT_RATE = 25.0
KEPT_START = 1.0
"""A source's first time stamp up to this many seconds is kept, so that clips stay aligned with their audio."""
JUMP = 1.0
"""A backward step, or a live clock off by more than this many seconds, is a new clock, not jitter."""


class Timeline:
    """Turns frames into time stamps for a file that starts at or near zero.

    A file's stamps are the source's own. They start at zero instead where the source is live or starts later than
    KEPT_START (`--start`). A stamp that does not increase is moved one tick after the last one; one that falls back by
    more than JUMP (a loop, a reconnected stream) starts a new stretch, one frame after the last. Without stamps a
    live source's capture times are used, and otherwise the frame's index at the source's rate. `rate`, in frames per
    second, overrides all of it: every frame written lasts 1/rate.
    """

    def __init__(self, info: StreamInfo, time_base: Fraction, rate: float | None = None) -> None:
        self._info, self._time_base, self._rate = info, time_base, rate
        self._offset = 0.0
        self._first_capture = 0
        self._last: tuple[int, float, int] | None = None  # tick, seconds in the file, t_capture
        self._count = 0
        self.nominal = 1 / (rate or info.fps or DEFAULT_RATE)

    def tick(self, frame: Frame) -> int:
        """The time stamp of the next frame written, in ticks of the time base."""
        if self._rate is not None:
            self._count += 1
            return round((self._count - 1) / self._rate / self._time_base)
        if self._last is None:
            self._first_capture = frame.t_capture
        seconds = self._source_seconds(frame)
        if self._last is None:
            if self._info.live or not 0 <= seconds <= KEPT_START:
                self._offset = -seconds
        else:
            expected = self._expected(frame, seconds)
            if expected is not None:
                self._offset += expected - (seconds + self._offset)
        seconds += self._offset
        tick = round(seconds / self._time_base)
        if self._last is not None:
            tick = max(tick, self._last[0] + 1)
        self._last = tick, seconds, frame.t_capture
        return tick

    def _source_seconds(self, frame: Frame) -> float:
        if frame.pts is not None:
            return frame.pts
        if self._info.live:
            return (frame.t_capture - self._first_capture) / 1e9
        return frame.index * self.nominal

    def _expected(self, frame: Frame, seconds: float) -> float | None:
        """Where the frame belongs in the file if its clock is not the one before, else None."""
        assert self._last is not None
        _, last, capture = self._last
        here = seconds + self._offset
        if self._info.live and frame.pts is not None:
            passed = last + (frame.t_capture - capture) / 1e9
            return passed if abs(here - passed) > JUMP else None
        return last + self.nominal if here < last - JUMP else None
