"""What `rtseg data check` counts, what it finds wrong, and the sheet that it draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.cli.main import main
from rtseg.datasets.check import check_data, report
from rtseg.datasets.contact_sheet import TILE, check_target, choose, contact_sheet
from rtseg.drawing.palette import resolve_palette
from rtseg.errors import ConfigError
from rtseg.kernels import cpu as kernels
from rtseg.packages.spec import ModelSpec
from tests.datasets import pictures as make
from tests.training.camvid import write_camvid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in train, one of them larger, two in val."""
    folder = make.write_folders(tmp_path / "mine")
    make.write_image(folder / "images/02.png", 9, (12, 8))
    make.write_mask(folder / "masks/02.png", 1, size=(12, 8))
    (folder / "split.txt").write_text("00 train\n01 train\n02 train\n03 val\n04 val\n")
    return folder


def test_shares(folder: Path) -> None:
    found = report(folder, check_data(folder))
    assert (found["dataset"], found["classes"], found["problems"]) == ("mine", 3, 0)
    train = found["splits"]["train"]
    assert (train["images"], train["readable"]) == (3, 3)
    assert train["sizes"] == {"6x8": 2, "12x8": 1}
    # Of 2 * 48 + 96 pixels 2 * 24 are void; a row is 8 pixels.
    assert train["void_share"] == pytest.approx(48 / 192)
    assert train["classes"]["sky"] == {"share": pytest.approx(16 / 144), "images": 2}
    assert train["classes"]["road"] == {"share": pytest.approx(112 / 144), "images": 3}
    assert found["splits"]["val"]["classes"]["car"]["images"] == 2
    assert list(report(folder, check_data(folder, split="val"))["splits"]) == ["val"]


def test_all_problems_are_listed(folder: Path) -> None:
    make.write_mask(folder / "masks/00.png", 0, 7)
    (folder / "images/01.png").write_bytes(b"")
    (folder / "masks/02.png").unlink()
    shutil.copy(folder / "images/03.png", folder / "images/05.png")
    shutil.copy(folder / "masks/03.png", folder / "masks/05.png")
    shutil.copy(folder / "images/03.png", folder / "images/06.png")
    shutil.copy(folder / "masks/03.png", folder / "masks/06.png")
    with (folder / "split.txt").open("a") as file:
        file.write("05 train\n06 val\n")
    found = report(folder, check_data(folder))
    train, val = (found["splits"][split]["problems"] for split in ("train", "val"))
    assert len(train) == 4
    assert "images/02.png has no mask" in train[0]
    assert "lists 02, which is not there or has no mask" in train[1]
    assert "masks/00.png: id 7 at row 1, column 0" in train[2]
    assert "images/01.png is empty" in train[3]
    assert val[0] == "images/02.png has no mask: expected masks/02.png"
    assert val[1:] == [
        f"images/{name}.png is the same picture as images/05.png of train: keep it in one split"
        for name in ("03", "06")
    ]
    assert found["problems"] == 7
    assert found["splits"]["train"]["readable"] == 1


def test_a_split_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    folder = write_camvid(tmp_path / "camvid")
    for name in ("train", "val"):
        for path in (folder / name).iterdir():
            path.unlink()
    found = report(folder, check_data(folder))
    assert found["splits"]["train"]["images"] == 0
    assert "split 'train' has no images" in found["splits"]["train"]["problems"]
    with pytest.raises(ConfigError, match="no data set recognised"):
        check_data(tmp_path)
    with pytest.raises(ConfigError, match="no split 'test'"):
        check_data(folder, split="test")


def test_rare_classes_are_shown(tmp_path: Path) -> None:
    folder = make.write_folders(tmp_path, count=12)
    (folder / "split.txt").write_text("".join(f"{i:02d} {'val' if i >= 8 else 'train'}\n" for i in range(12)))
    for index in range(12):
        make.write_mask(folder / f"masks/{index:02d}.png", 0)
    make.write_mask(folder / "masks/05.png", 0, 0, 0, 0, 0, 2)
    make.write_mask(folder / "masks/11.png", 0, 0, 0, 0, 0, 1)
    checked = check_data(folder)
    assert {(0, 5), (1, 3)} <= set(choose(checked, 3))
    seven = choose(checked, 7)
    assert seven == sorted(set(seven))
    assert len(seven) == 7
    assert [part for part, _ in seven].count(1) == 4  # the odd one goes to the last split
    assert choose(checked, 99) == [(0, i) for i in range(8)] + [(1, i) for i in range(4)]


def test_the_sheet_shows_labels_and_void(folder: Path) -> None:
    checked = check_data(folder)
    sheet = contact_sheet(checked)
    assert sheet.shape[1] == 4 * TILE[1] + 5 * 6
    # The first tile is 00.png, 6x8 pixels enlarged 40 times, 320 wide.
    image, label = checked[0].dataset[0]
    data = checked[0].dataset
    # Colours that nobody chose are those of every drawing: a set with a sky gets the street palette.
    colors = resolve_palette(None, ModelSpec(name=data.name, classes=data.classes, palette=data.palette)).colors.copy()
    alpha = np.full(256, 140, np.uint8)
    colors[255], alpha[255] = 0, 200
    expected = kernels.blend(image, label, colors, alpha)
    top = sheet.shape[0] - 2 * (TILE[0] + 24 + 6) - 6
    assert np.array_equal(sheet[top + 20 : top + 240 : 40, 6 + 20 : 6 + 320 : 40], expected)
    assert len(np.unique(sheet[: top - 6].reshape(-1, 3), axis=0)) > 3  # title and legend


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert main(["data", "check", str(folder), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "mine: 3 classes" in text
    assert "77.78 %" in text  # road in train
    assert text.endswith(f"no problems\nwrote {out}\n")
    assert cv2.imread(str(out)).shape[1] == 1310
    make.write_mask(folder / "masks/00.png", 0, 7)
    assert main(["data", "check", str(folder), "--out", str(out), "--json", "--dataset", "folders"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == 1 == len(found["splits"]["train"]["problems"])
    assert found["sheet"] == str(out)
    assert main(["data", "check", str(folder), "--out", str(out)]) == 1
    assert "masks/00.png: id 7 at row 1, column 0 is not a class" in capsys.readouterr().out
    assert main(["data", "check", str(folder / "images"), "--out", str(out)]) == 1
    assert "no data set recognised" in capsys.readouterr().err


def test_sheets_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sheet.txt is not an image file: its name ends in .jpg"):
        check_target(tmp_path / "sheet.txt")
    with pytest.raises(ConfigError, match="create it first"):
        check_target(tmp_path / "none" / "sheet.jpg")
