"""What a person sees while frames flow: a bar with the remaining time for files, a live line for live sources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rtseg.frame import StreamInfo
from rtseg.pipeline.loop import Pipeline

__all__ = ["watcher"]

REFRESH_SECONDS = 0.25


def watcher(
    console: Console, limit: int | None = None
) -> Callable[[Pipeline, StreamInfo], AbstractContextManager[Any]]:
    """A progress display on `console`, or nothing when it is not a terminal; `limit` ends a run."""

    def watch(pipeline: Pipeline, info: StreamInfo) -> AbstractContextManager[Any]:
        return _display(pipeline, info, console, limit) if console.is_terminal else nullcontext()

    return watch


@contextmanager
def _display(pipeline: Pipeline, info: StreamInfo, console: Console, limit: int | None) -> Iterator[None]:
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    total = None if info.live else min((count for count in (info.frames, limit) if count), default=None)
    if total is not None:
        columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    else:
        columns += [TextColumn("{task.completed} frames")]
    columns.append(TextColumn("{task.fields[state]}"))
    done = threading.Event()
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("live" if info.live else "rtseg", total=total, state="")

        def refresh() -> None:
            while not done.wait(REFRESH_SECONDS):
                show()

        def show() -> None:
            rolling = pipeline.recorder.rolling
            state = (
                f"{rolling.fps:.1f} fps, {rolling.latency_ms(50):.0f} ms p50, {rolling.latency_ms(95):.0f} ms p95, "
                f"{pipeline.drops + pipeline.delivery.drops} dropped"
            )
            progress.update(task, completed=len(pipeline.recorder.to_overlay), state=state, refresh=True)

        thread = threading.Thread(target=refresh, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(5)
            show()
