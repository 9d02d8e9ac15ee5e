"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

pytest_plugins = ["tests.gpu"]

# A shell starts background jobs with SIGINT ignored, which the processes that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with CamVid and the driving clips; tests that use it are marked `data`."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data (CamVid and driving clips), which is not part of the repository")
    return DATA
