"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tests.gpu"]

# A shell starts background jobs with SIGINT ignored, which the processes that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

INSTALLABLE = "apt install"
"""What the reason of a skipped test holds where a package of the system would let it run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--complete`, which CI passes: what it should have installed is no reason to skip a test."""
    parser.addoption(
        "--complete",
        action="store_true",
        help="a test that lacks a program of the system fails instead of being skipped",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of an installable program into a failure under `--complete`."""
    report = yield
    if report.skipped and item.config.getoption("complete") and INSTALLABLE in str(report.longrepr):
        report.outcome, report.longrepr = "failed", f"skipped under --complete: {report.longrepr}"
    return report


DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with CamVid and the driving clips; tests that use it are marked `data`."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data (CamVid and driving clips), which is not part of the repository")
    return DATA
