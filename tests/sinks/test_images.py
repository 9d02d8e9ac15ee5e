"""Numbered pictures read back: ids bit for bit, colours from the palette, names, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.drawing.view import View
from rtseg.errors import ConfigError, SinkError
from rtseg.sinks import sink_kind
from tests.sinks.results import full_disk, open_to, result

LABELS = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)


def write(target: str, count: int = 1, view: View | None = None, **options: Any) -> None:
    with open_to(target, view=view, **options) as sink:
        for index in range(count):
            sink.write(result(index, labels=LABELS))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_label_pictures_hold_the_ids_bit_for_bit_in_one_channel(tmp_path: Path, suffix: str) -> None:
    write(f"labels:{tmp_path}/ids/%06d.{suffix}")
    seen = cv2.imread(str(tmp_path / f"ids/000000.{suffix}"), cv2.IMREAD_UNCHANGED)
    assert seen.shape == (31, 47)
    assert seen.dtype == np.uint8
    assert (seen == LABELS).all()


def test_colour_pictures_are_the_palette_with_hidden_and_unlabelled_black(tmp_path: Path) -> None:
    write(f"colors:{tmp_path}/%d.png", view=View(hidden=frozenset({1})))
    seen = cv2.imread(str(tmp_path / "0.png"), cv2.IMREAD_UNCHANGED)
    assert {tuple(c) for c in seen[LABELS == 0].tolist()} == {(0, 0, 200)}
    assert {tuple(c) for c in seen[LABELS == 2].tolist()} == {(200, 0, 0)}
    assert not seen[(LABELS == 1) | (LABELS == 255)].any()
    assert len({tuple(c) for c in seen.reshape(-1, 3).tolist()}) == len(np.unique(LABELS)) - 1


def test_colour_pictures_follow_the_views_palette(tmp_path: Path) -> None:
    colors = tmp_path / "colors.txt"
    colors.write_text("1 2 3\n")
    write(f"colors:{tmp_path}/%d.png", view=View(palette=str(colors)))
    assert cv2.imread(str(tmp_path / "0.png"))[LABELS == 0][0].tolist() == [3, 2, 1]


def test_overlay_pictures(tmp_path: Path) -> None:
    write(f"{tmp_path}/%06d.png", 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert (cv2.imread(str(tmp_path / "000002.png")) == 60).all()
    write(f"{tmp_path}/%d.jpg", 3, quality=90)
    assert abs(int(cv2.imread(str(tmp_path / "2.jpg")).mean()) - 60) <= 2


def test_content_by_option_and_what_each_needs(tmp_path: Path) -> None:
    target = f"images:{tmp_path}/x.png"
    assert open_to(target).needs == {"overlay"}
    assert open_to(target, content="labels").needs == open_to(target, content="color").needs == {"labels"}
    write(target, content="labels")
    assert (cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED) == LABELS).all()


def test_numbers_are_the_frames_indices_so_that_a_drop_is_a_gap(tmp_path: Path) -> None:
    with open_to(f"{tmp_path}/a_%i_100%%.png") as sink:
        sink.write(result(3))
        sink.write(result(17))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a_17_100%.png", "a_3_100%.png"]


@pytest.mark.parametrize("target", ["out/", "labels:out/", "images:out", "labels:out"])
def test_a_folder_is_filled_with_numbered_pngs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    if not target.endswith("/"):
        Path("out").mkdir()
    write(target, 2)
    assert sorted(str(file) for file in Path("out").iterdir()) == ["out/000000.png", "out/000001.png"]


def test_a_percent_sign_in_a_folders_name_is_just_that(tmp_path: Path) -> None:
    with open_to(f"{tmp_path}/100 % done/%02d.png") as sink:
        sink.write(result(3))
    assert [file.name for file in (tmp_path / "100 % done").iterdir()] == ["03.png"]


def test_one_name_holds_one_frame(tmp_path: Path) -> None:
    write(f"{tmp_path}/one.png")
    with pytest.raises(SinkError, match=r"one.png holds one frame, and there are more: number them with one_%06d.png"):
        write(f"{tmp_path}/one.png", 2)
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("labels:out/%06d.jpg", {}, r"labels pictures cannot be '.jpg' files, which would change the values"),
        ("colors:out/%06d.webp", {}, r"color pictures cannot be '.webp' files, which would change"),
        ("labels:out/%06d.txt", {}, r"labels pictures cannot be '.txt' files: .*choices: .png, .bmp"),
        ("out/%s.png", {}, r"cannot number files by '%s.png': use one %d or %06d"),
        ("out/%d_%d.png", {}, r"cannot number files by '%d_%d.png'"),
        ("%d/x.png", {}, r"the number belongs in the file's name"),
        ("labels:", {}, r"an image output needs a pattern"),
        ("out/%d.png", {"content": "label"}, r"unknown image content 'label': did you mean 'labels'"),
        ("out/%d.jpg", {"quality": 0}, r"image quality 0 is not between 1 and 100"),
        ("labels:out/%d.png", {"quality": 3}, r"option 'quality' does not apply to labels output"),
    ],
)
def test_bad_targets_and_options(target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_to(target, **options)


def test_prefixes_are_kinds() -> None:
    assert sink_kind("labels:out/%06d.png") == ("labels", "out/%06d.png")
    assert sink_kind("colors:out/") == ("colors", "out/")
    assert sink_kind("labels/%06d.png") == ("images", "labels/%06d.png")
    with pytest.raises(ConfigError, match=r"did you mean 'labels:'"):
        sink_kind("label:")


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SinkError, match=r"cannot write .*out/%06d.png: File exists"):
        write(f"{tmp_path}/out/%06d.png")


def test_a_full_disk_leaves_whole_pictures_only(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    with full_disk(tmp_path / "tiny", "80k") as folder:
        with pytest.raises(SinkError, match="the disk is full"), open_to(f"{folder}/%d.png") as sink:
            for index in range(9):
                sink.write(result(index, image=noise))
        assert sorted(file.name for file in folder.iterdir()) == ["0.png", "1.png"]
        assert all((cv2.imread(str(file)) == noise).all() for file in folder.iterdir())
