"""What a person sees of a training: a line per epoch, and between them a bar with the remaining time.

Where standard output is no terminal, a line every ten seconds takes the bar's place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rtseg.progress import Every, print_line
from rtseg.training.recipe import Recipe
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
        self._every = Every()

    def __enter__(self) -> Watch:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        print_line(self._console, line)

    def started(self, run: Run, epoch_steps: int, last: Path) -> None:
        """Say when the training will end, and how it is stopped and resumed; `last` is its checkpoint."""
        length = _length(run.recipe, epoch_steps)
        begin = f"resuming at step {run.step} of {length}" if run.step else f"training for {length}"
        self.say(f"{begin}; Ctrl-C stops with a checkpoint in {last}, the same command with --resume continues")

    def stopped(self, run: Run, epoch_steps: int, last: Path) -> None:
        """Say how far an interrupted training is, and how it is resumed."""
        done, length = min(run.progress(epoch_steps), 1.0), _length(run.recipe, epoch_steps)
        self.say(f"stopped at step {run.step}, {done:.0%} of {length}; to continue from {last} add --resume")

    def step(self, run: Run, terms: Mapping[str, float], epoch_steps: int) -> None:
        """Show one step."""
        if not self._bar and not self._every.due():
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
        epoch, done = f"epoch {math.ceil(run.step / epoch_steps)}", min(progress, 1.0)
        if self._bar:
            self._bar.update(self._task, description=epoch, completed=done, state=state)
        else:
            self.say(f"{epoch}, {done:.0%}, {state}")

    def validation(self, done: int, count: int) -> None:
        """Show that `done` of `count` images are scored."""
        state = f"validation, image {done} of {count}"
        if self._bar:
            self._bar.update(self._task, state=state)
        elif self._every.due():
            self.say(state)


def _length(recipe: Recipe, epoch_steps: int) -> str:
    """When a training by this recipe ends, in words."""
    if recipe.minutes is not None:
        return f"{recipe.minutes:g} minutes"
    if recipe.steps is not None:
        return f"{recipe.steps} steps ({recipe.steps / epoch_steps:.1f} epochs)"
    return f"{recipe.epochs} epochs ({recipe.epochs * epoch_steps} steps)"
