"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with CamVid and the driving clips; tests that use it are marked `data`."""
    if not DATA.is_dir():
        pytest.skip("needs ../shared/data (CamVid and driving clips), which is not part of the repository")
    return DATA
