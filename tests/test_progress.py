"""Things that are done one after another: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from rtseg import progress


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool | None, items: int = 25) -> str:
    """What is printed while each of the items takes a second; None is no console."""
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    out = io.StringIO()
    console = None if terminal is None else Console(file=out, force_terminal=terminal, width=80, color_system=None)
    found = []
    for item in progress.shown(range(items), items, "scoring val", console):
        now += 1
        found.append(item)
    assert found == list(range(items))
    return out.getvalue()


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, False).splitlines() == ["scoring val: 10 of 25", "scoring val: 20 of 25"]
    assert shown(monkeypatch, False, 9) == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, True)
    assert "scoring val" in text and "━" in text and "of 25" not in text


def test_no_console_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, None) == ""
