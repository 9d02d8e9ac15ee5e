"""What became of every single frame, kept until a repetition is over."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rtseg.frame import Frame
from rtseg.timing import Recorder, StageClock

__all__ = ["FrameRecorder", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One frame that was used: times are monotonic nanoseconds, `took` nanoseconds, `cpu` the process's so far."""

    index: int
    due: int
    started: dict[str, int]
    took: dict[str, int]
    overlay: int
    done: int
    cpu: int

    @property
    def latency(self) -> int:
        """Capture-to-overlay, nanoseconds."""
        return self.overlay - self.due

    def between(self, stages: tuple[str, ...]) -> int:
        """Nanoseconds up to the overlay that lie in none of `stages`, given in order."""
        at, gaps = self.due, 0
        for name in stages:
            gaps += max(0, self.started[name] - at)
            at = self.started[name] + self.took[name]
        return gaps + max(0, self.overlay - at)


class FrameRecorder(Recorder):
    """A Recorder that keeps a Row per frame in `rows`, and (index, monotonic ns) per sink and frame in `written`."""

    def __init__(self, stages: tuple[str, ...]) -> None:
        super().__init__(stages)
        self.rows: list[Row] = []
        self.written: list[tuple[int, int]] = []

    def add(self, frame: Frame, clock: StageClock, t_overlay: int) -> None:
        """Note a frame whose results are in hand."""
        super().add(frame, clock, t_overlay)
        self.rows.append(
            Row(
                frame.index,
                frame.t_capture,
                clock.started,
                clock.stages,
                t_overlay,
                time.monotonic_ns(),
                time.process_time_ns(),
            )
        )

    def add_written(self, frame: Frame, t_written: int) -> None:
        """Note that a sink finished a frame; called from sink threads."""
        super().add_written(frame, t_written)
        with self._lock:
            self.written.append((frame.index, t_written))
