"""The folder of results is there and takes files, or the error says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtseg.errors import ConfigError
from rtseg.files import make_folder


def test_it_is_made_with_those_above_it_and_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    make_folder(folder)
    assert folder.is_dir() and not list(folder.iterdir())


def test_places_that_take_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(ConfigError, match=r"folder .*/file \(it is a file\): give another --out"):
        make_folder(file)
    with pytest.raises(ConfigError, match=r"folder .*/file/q \(Not a directory\)"):
        make_folder(file / "q")
    assert file.read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nothing can be made")
@pytest.mark.parametrize("path", ["/proc/rtseg", "/proc/xx/y"])
def test_places_where_nothing_can_be_written(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot write to the folder {path} \("):
        make_folder(Path(path))


def test_a_place_that_is_there_but_takes_no_files() -> None:
    with pytest.raises(ConfigError, match="cannot write to the folder /proc/self"):
        make_folder(Path("/proc/self"))
