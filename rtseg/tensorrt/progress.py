"""The builder's progress: bars on a terminal, a line of the log elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from rtseg.tensorrt.library import trt

__all__ = ["Monitor", "progress"]


@dataclass(slots=True)
class _Phase:
    """One phase of the builder: how many steps it has and how many are done, and how deep it lies in others."""

    steps: int
    depth: int
    done: int = 0
    task: TaskID | None = None


class Monitor(trt.IProgressMonitor):
    """Follows the builder's phases, shows them where there are bars, and stops it on request.

    TensorRT calls it from its own threads; a phase is known by its name.
    """

    def __init__(self, bars: Progress | None) -> None:
        super().__init__()
        self.bars = bars
        self._phases: dict[str, _Phase] = {}
        self.stopped = threading.Event()

    @property
    def at(self) -> str:
        """The phases that are open, outermost first, each with its steps."""
        return ", ".join(f"{name} {phase.done}/{phase.steps}" for name, phase in tuple(self._phases.items()))

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self.phase_finish(phase_name)
        parent = self._phases.get(parent_phase or "")
        phase = self._phases[phase_name] = _Phase(num_steps, 0 if parent is None else parent.depth + 1)
        if self.bars is not None:
            phase.task = self.bars.add_task("  " * phase.depth + phase_name, total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        phase = self._phases.get(phase_name)
        if phase is not None:
            phase.done = step + 1
            if self.bars is not None and phase.task is not None:
                self.bars.update(phase.task, completed=phase.done)
        return not self.stopped.is_set()

    def phase_finish(self, phase_name: str) -> None:
        phase = self._phases.pop(phase_name, None)
        if phase is not None and self.bars is not None and phase.task is not None:
            self.bars.remove_task(phase.task)


@contextmanager
def progress(console: Console | None) -> Iterator[Progress | None]:
    """Bars on `console`; None where that is no terminal."""
    if console is None or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars
