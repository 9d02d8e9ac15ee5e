"""What a person sees while frames flow: a bar with the remaining time for files, a live line for live sources.

Where standard error is no terminal, a line every ten seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rtseg import progress as lines
from rtseg.frame import StreamInfo
from rtseg.pipeline.loop import Pipeline

__all__ = ["watcher"]

REFRESH_SECONDS = 0.25


def watcher(
    console: Console, limit: int | None = None
) -> Callable[[Pipeline, StreamInfo], AbstractContextManager[Any]]:
    """A progress display on `console`; `limit` ends a run."""

    def watch(pipeline: Pipeline, info: StreamInfo) -> AbstractContextManager[Any]:
        total = None if info.live else min((count for count in (info.frames, limit) if count), default=None)
        if console.is_terminal:
            return _display(pipeline, console, total, "live" if info.live else "rtseg")
        return _lines(pipeline, console, total)

    return watch


@contextmanager
def _display(pipeline: Pipeline, console: Console, total: int | None, title: str) -> Iterator[None]:
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    if total is not None:
        columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    else:
        columns += [TextColumn("{task.completed} frames")]
    columns.append(TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(title, total=total, state="")

        def show() -> None:
            bar.update(task, completed=_done(pipeline), state=_state(pipeline, 50, 95), refresh=True)

        try:
            with _repeated(show, REFRESH_SECONDS):
                yield
        finally:
            show()


def _lines(pipeline: Pipeline, console: Console, total: int | None) -> AbstractContextManager[None]:
    of = "" if total is None else f" of {total}"

    def show() -> None:
        lines.print_line(console, f"{_done(pipeline)}{of} frames, {_state(pipeline, 50)}")

    return _repeated(show, lines.LINE_SECONDS)


def _done(pipeline: Pipeline) -> int:
    return len(pipeline.recorder.to_overlay)


def _state(pipeline: Pipeline, *percentiles: int) -> str:
    """Rate, latency and drops of the last frames."""
    rolling = pipeline.recorder.rolling
    latency = ", ".join(f"{rolling.latency_ms(each):.0f} ms p{each}" for each in percentiles)
    return f"{rolling.fps:.1f} fps, {latency}, {pipeline.drops + pipeline.delivery.drops} dropped"


@contextmanager
def _repeated(show: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `show` every `seconds` from a thread while the context lasts."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            show()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5)
