"""ImagesSource: folders, globs and patterns in natural order, odd formats, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame
from rtseg.sources import open_source
from rtseg.sources.images import ImagesSource, natural, read_image
from tests.media import number_of, numbered, quadrants, write_images


def read(target: Path | str, **options: Any) -> tuple[ImagesSource, list[Frame]]:
    source = ImagesSource(str(target), **options)
    with source:
        return source, list(source)


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


def test_folder_in_natural_order_without_other_files(tmp_path: Path) -> None:
    write_images(tmp_path, ["img1.png", "img2.png", "img10.png", "img21.jpg", "img100.BMP"])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    (tmp_path / "sub").mkdir()
    source, frames = read(tmp_path)
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.pts for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    info = source.info
    assert (info.live, info.fps, info.size, info.frames) == (False, 25.0, (64, 96), 5)


def test_natural_order_with_folders() -> None:
    names = ["b2/x.png", "a10/1.png", "a2/10.png", "a2/9.png", "a2/9b.png", "a2/09.png"]
    ordered = sorted(map(Path, names), key=natural)
    assert [str(path) for path in ordered] == [
        "a2/09.png",
        "a2/9.png",
        "a2/9b.png",
        "a2/10.png",
        "a10/1.png",
        "b2/x.png",
    ]


def test_globs(tmp_path: Path) -> None:
    write_images(tmp_path / "a", ["1.png", "2.png"])
    write_images(tmp_path / "a" / "deep", ["1.png", "x.txt.png"])
    assert len(read(tmp_path / "a" / "*.png")[1]) == 2
    assert len(read(tmp_path / "**" / "*.png")[1]) == 4
    assert numbers(read(tmp_path / "a" / "[2-9].png")[1]) == [1]
    with open_source(str(tmp_path / "a" / "?.png")) as source:
        assert numbers(list(source)) == [0, 1]


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    write_images(tmp_path, ["[1].png"])
    with open_source(str(tmp_path / "[1].png")) as source:
        assert numbers(list(source)) == [0]


def test_numbered_pattern(tmp_path: Path) -> None:
    write_images(tmp_path, ["img_0001.png", "img_0002.png", "img_0010.png", "other_0003.png", "img_x.png"])
    assert numbers(read(tmp_path / "img_%04d.png")[1]) == [0, 1, 2]
    assert numbers(read(tmp_path / "img_%i.png")[1]) == [0, 1, 2]


def test_single_image_through_open_source(tmp_path: Path) -> None:
    write_images(tmp_path, ["one.png"])
    with open_source(str(tmp_path / "one.png"), {"loop": 3}) as source:
        frames = list(source)
        assert source.info.frames == 3
    assert numbers(frames) == [0, 0, 0]
    assert [frame.pts for frame in frames] == pytest.approx([0, 0.04, 0.08])


def test_rate_stride_loop(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{n}.png" for n in range(7)])
    source, frames = read(tmp_path, rate=10, stride=3, loop=2)
    assert numbers(frames) == [0, 3, 6, 0, 3, 6]
    assert [frame.pts for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert source.info.frames == 6
    assert source.info.fps == 10


def test_for_ever_until_closed(tmp_path: Path) -> None:
    write_images(tmp_path, ["0.png", "1.png"])
    seen = []
    with ImagesSource(str(tmp_path), loop=0) as source:
        assert source.info.frames is None
        for frame in source:
            seen.append(frame)
            if len(seen) == 5:
                source.close()
    assert numbers(seen) == [0, 1, 0, 1, 0]


def test_mixed_sizes_frame_by_frame(tmp_path: Path) -> None:
    for index, size in enumerate([(20, 30), (41, 17), (20, 31)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), numbered(index, size))
    source, frames = read(tmp_path)
    assert [frame.image.shape for frame in frames] == [(20, 30, 3), (41, 17, 3), (20, 31, 3)]
    assert numbers(frames) == [0, 1, 2]
    assert source.info.size == (20, 30)


def test_grey_16_bit_and_transparent_become_bgr(tmp_path: Path) -> None:
    grey = np.full((8, 9), 77, np.uint8)
    deep = np.full((8, 9, 3), (256 * 10, 256 * 20, 256 * 30), np.uint16)
    clear = np.full((8, 9, 4), (10, 20, 30, 0), np.uint8)
    for name, array in {"a": grey, "b": deep, "c": clear}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), array)
    frames = read(tmp_path)[1]
    assert [frame.image[3, 3].tolist() for frame in frames] == [[77, 77, 77], [10, 20, 30], [10, 20, 30]]
    assert all(frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous for frame in frames)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """`jpeg` with an EXIF block that holds one tag, the orientation."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation(orientation: int, turns: int, tmp_path: Path) -> None:
    picture = quadrants((32, 48))
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    (tmp_path / "x.jpg").write_bytes(with_orientation(jpeg, orientation))
    image = read_image(tmp_path / "x.jpg")
    expected = np.rot90(picture, turns)
    assert image.shape == expected.shape
    for row in (4, -5):
        for column in (4, -5):
            assert image[row, column].tolist() == pytest.approx(expected[row, column].tolist(), abs=8)


def damaged(kind: str) -> bytes:
    png = cv2.imencode(".png", quadrants((64, 64)))[1].tobytes()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    no_pixels = bytearray(png)
    no_pixels[16:24] = bytes(8)
    return {
        "empty": b"",
        "text": b"hello",
        "cut png": png[: len(png) // 2],
        "cut jpeg": jpeg[: len(jpeg) // 2],
        "no pixels": bytes(no_pixels),
        "header only": png[:8],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut png", "cut jpeg", "no pixels", "header only"])
def test_damaged_files_are_named(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path, ["0.png", "2.png"])
    (tmp_path / "1.png").write_bytes(damaged(kind))
    with pytest.raises(SourceError) as caught:
        read(tmp_path)
    assert str(tmp_path / "1.png") in str(caught.value)
    assert "\n" not in str(caught.value)
    source, frames = read(tmp_path, on_error="skip")
    assert numbers(frames) == [0, 1]
    assert [frame.index for frame in frames] == [0, 1]
    assert source.skipped == 1
    assert "WARN" not in capfd.readouterr().err


def test_skipping_everything_is_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="none of its 2 images can be read"):
        read(tmp_path, on_error="skip", loop=0)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images in folder"):
        read(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=r"\(1 other files\)"):
        read(tmp_path)
    with pytest.raises(SourceError, match=r"no file matches .*\*\.png"):
        read(tmp_path / "*.png")
    with pytest.raises(SourceError, match="no file matches"):
        read(tmp_path / "%d.png")
    with pytest.raises(SourceError, match="cannot be read: no such file"):
        read(tmp_path / "missing" / "%d.png")
    with pytest.raises(SourceError, match=r"missing\.png does not exist"), open_source(str(tmp_path / "missing.png")):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, "rate is 0"),
        ({"rate": "fast"}, "rate is 'fast'"),
        ({"stride": 0}, "stride is 0"),
        ({"loop": -2}, "loop is -2"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"start": 1}, "option 'start' does not apply to images input"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(f"images:{tmp_path}", options)
    assert words in str(caught.value)
