"""The table of engines that the tests of the zoo have built, at the end of their output."""

from __future__ import annotations

from typing import Any

from tests.models.rtx import BUILDS


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name, precision, seconds and size of every build."""
    if not BUILDS:
        return
    terminalreporter.section("TensorRT-RTX builds, inputs and outputs as their specs say")
    width = max(len(name) for name, *_ in BUILDS)
    terminalreporter.write_line(f"{'network':{width}}  precision  seconds  plan MB")
    for name, precision, seconds, size in sorted(BUILDS):
        terminalreporter.write_line(f"{name:{width}}  {precision:9}  {seconds:7.2f}  {size / 1e6:7.1f}")
