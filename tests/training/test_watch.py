"""A bar with the remaining time on a terminal, lines anywhere."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rtseg import progress
from rtseg.training import watch as module
from rtseg.training.recipe import Recipe
from rtseg.training.transforms import Augmentation
from rtseg.training.watch import Watch


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def run_at(step: int, of: int, **scores: float) -> Any:
    return SimpleNamespace(step=step, seconds=[0.25], scores=scores, progress=lambda epoch_steps: step / of)


def bar(watch: Watch) -> str:
    """The line that is shown, as it is cut to the terminal."""
    assert watch._bar is not None
    console = terminal(watch._console.width)
    console.print(watch._bar.get_renderable())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 1
    return str(text.rstrip())


def test_the_bar_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 160.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with Watch(console=terminal()) as watch:
        assert bar(watch).startswith("starting") and " 0%" in bar(watch)
        watch.step(run_at(10, 40), {"loss": 1.5}, 10)
        assert bar(watch).startswith("epoch 1 ") and bar(watch).endswith(" 25% step 10, loss 1.500, 0.25 s/step")
        watch.step(run_at(20, 40), {"loss": 1.25}, 10)  # a quarter took a minute: half is left
        assert bar(watch).startswith("epoch 2 ") and "50% step 20, loss 1.250, 2 min left, 0.25 s/step" in bar(watch)
        watch.validation(3, 101)
        assert bar(watch).endswith(" 50% validation, image 3 of 101")


def test_the_last_score_is_shown() -> None:
    with Watch(console=terminal(120)) as watch:
        watch.step(run_at(40, 40, last=0.625), {"loss": 1.0}, 10)
        assert bar(watch).startswith("epoch 4 ") and bar(watch).endswith(
            "100% step 40, loss 1.000, 0.25 s/step, val mIoU 0.625"
        )


def test_lines_go_above_the_bar_and_anywhere() -> None:
    for console in (terminal(), Console(file=io.StringIO(), width=20)):
        with Watch(console=console) as watch:
            watch.step(run_at(1, 2), {"loss": 1.0}, 10)
            watch.validation(1, 2)
            watch.say("[a] line longer than twenty columns")
        assert "[a] line longer than twenty columns\n" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_silent_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(silent=True) as watch:
        watch.step(run_at(1, 2), {"loss": 1.0}, 10)
        watch.say("a line")
    assert capsys.readouterr().out == ""


def text_of(watch: Watch) -> str:
    return str(watch._console.file.getvalue())  # type: ignore[attr-defined]


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    with Watch(console=Console(file=io.StringIO())) as watch:
        for step in range(1, 31):
            now += 1
            watch.step(run_at(step, 40), {"loss": 1.5}, 10)
        for image in range(1, 12):
            now += 1
            watch.validation(image, 101)
    lines = text_of(watch).splitlines()
    assert lines[0] == "epoch 1, 25%, step 10, loss 1.500, 0.25 s/step"
    assert lines[1].startswith("epoch 2, 50%, step 20, loss 1.500, ") and lines[2].startswith("epoch 3, 75%, ")
    assert lines[3:] == ["validation, image 10 of 101"]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ({"epochs": 30}, "30 epochs (300 steps)"),
        ({"steps": 45}, "45 steps (4.5 epochs)"),
        ({"steps": 45, "minutes": 90.0}, "90 minutes"),
    ],
)
def test_when_it_ends_and_how_it_goes_on(length: dict[str, Any], words: str) -> None:
    recipe = Recipe(name="t", network="unet", augmentation=Augmentation(crop=(64, 64)), **length)
    with Watch(console=Console(file=io.StringIO())) as watch:
        for step in (0, 9):
            run = run_at(step, 45)
            run.recipe = recipe
            watch.started(run, 10, Path("out/last.pt"))
        watch.stopped(run, 10, Path("out/last.pt"))
    stops = "; Ctrl-C stops with a checkpoint in out/last.pt, the same command with --resume continues"
    assert text_of(watch).splitlines() == [
        f"training for {words}{stops}",
        f"resuming at step 9 of {words}{stops}",
        f"stopped at step 9, 20% of {words}; to continue from out/last.pt add --resume",
    ]
