"""What a person sees of a training: a bar with the remaining time on a terminal, a line per epoch anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rtseg.training.run import Run

__all__ = ["Watch"]

BAR_WIDTH = 20
"""In columns; it leaves room for the time that remains on a terminal of 80."""


class Watch:
    """Shows the progress of a run on standard output; a `silent` one shows nothing. A context manager."""

    def __init__(self, *, silent: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(quiet=silent)
        self._bar: Progress | None = None
        if self._console.is_terminal and not silent:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(BAR_WIDTH),
                TaskProgressColumn(),
                TextColumn("{task.fields[state]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("starting", total=1.0, state="")
        self._begun: tuple[float, float] | None = None

    def __enter__(self) -> Watch:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._console.file.flush()

    def step(self, run: Run, terms: Mapping[str, float], epoch_steps: int) -> None:
        """Show one step."""
        if not self._bar:
            return
        progress, now = run.progress(epoch_steps), time.monotonic()
        start, before = self._begun = self._begun or (now, progress)
        left = (now - start) / (progress - before) * (1 - progress) if progress > before else None
        state = f"step {run.step}, loss {terms['loss']:.3f}"
        if left is not None:
            state += f", {max(left, 0) / 60:.0f} min left"
        state += f", {run.seconds[-1]:.2f} s/step"
        if "last" in run.scores:
            state += f", val mIoU {run.scores['last']:.3f}"
        epoch = math.ceil(run.step / epoch_steps)
        self._bar.update(self._task, description=f"epoch {epoch}", completed=min(progress, 1.0), state=state)

    def validation(self, done: int, count: int) -> None:
        """Show that `done` of `count` images are scored."""
        if self._bar:
            self._bar.update(self._task, state=f"validation, image {done} of {count}")
