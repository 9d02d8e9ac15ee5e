"""FileSource: every codec, true timestamps, ranges, and rubbish."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.errors import ConfigError, RtsegError, SourceError
from rtseg.frame import Frame
from rtseg.sources import open_source
from rtseg.sources.file import FileSource
from tests.media import number_of, numbered, quadrants, write_audio, write_clip

CODECS = {
    "h264.mp4": ("libx264", "h264"),
    "hevc.mkv": ("libx265", "hevc"),
    "mpeg4.avi": ("mpeg4", "mpeg4"),
    "vp9.webm": ("libvpx-vp9", "vp9"),
    "av1.mkv": ("libsvtav1", "av1"),
    "mjpeg.avi": ("mjpeg", "mjpeg"),
}


def read(path: Path | str, **options: Any) -> tuple[FileSource, list[Frame]]:
    source = FileSource(str(path), **options)
    with source:
        return source, list(source)


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames at 30 fps, a key frame every ten."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, 60, options={"g": "10"}, container_options={"movflags": "faststart"})


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_of_each_codec(name: str, tmp_path: Path) -> None:
    encoder, codec = CODECS[name]
    options = {"x265-params": "log-level=none"} if encoder == "libx265" else {}
    path = write_clip(
        tmp_path / name, 9, codec=encoder, options=options, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p"
    )
    source, frames = read(path)
    assert numbers(frames) == list(range(9))
    assert [frame.index for frame in frames] == list(range(9))
    assert [frame.pts for frame in frames] == pytest.approx([i / 30 for i in range(9)], abs=0.001)
    assert source.info.size == (64, 96)
    assert source.info.fps == pytest.approx(30)
    assert source.info.frames == 9
    assert codec in source.info.details["codec"] or source.info.details["codec"] == "libdav1d"
    assert not source.info.live
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (64, 96, 3)
        assert frame.image.flags.c_contiguous
        assert frame.t_capture > 0
        assert frame.stamp is None


@pytest.mark.parametrize("size", [(65, 97), (63, 33)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    source, frames = read(write_clip(tmp_path / "odd.webm", 5, size, codec="libvpx-vp9"))
    assert source.info.size == size
    assert {frame.image.shape for frame in frames} == {(*size, 3)}
    assert numbers(frames) == list(range(5))
    assert all(frame.image.flags.c_contiguous for frame in frames)


def test_variable_frame_rate_keeps_true_times(tmp_path: Path) -> None:
    times = [0, 0.1, 0.15, 0.5, 0.6, 0.61, 0.9, 1.5, 1.6, 2.0]
    _, frames = read(write_clip(tmp_path / "vfr.mp4", 10, pts=times))
    assert [frame.pts for frame in frames] == pytest.approx(times, abs=2e-4)
    assert numbers(frames) == list(range(10))


def test_a_title_that_is_not_utf8_stops_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 3)
    data = path.read_bytes()
    assert b"ENCODER" in data
    path.write_bytes(data.replace(b"ENCODER", b"EN\xffODER"))
    assert numbers(read(path)[1]) == [0, 1, 2]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_metadata(turn: int, tmp_path: Path) -> None:
    picture = quadrants((64, 96))
    path = write_clip(tmp_path / "turned.mp4", [picture] * 2, rotation=turn, pix_fmt="yuv444p", options={"crf": "1"})
    source, frames = read(path)
    expected = np.rot90(picture, turn // 90)
    assert source.info.size == expected.shape[:2]
    assert frames[0].image.flags.c_contiguous
    # Away from the edges between the colours, where coding blurs.
    inner = np.abs(frames[0].image.astype(int) - expected)[4:28, 4:28]
    assert inner.max() <= 6
    corner = np.abs(frames[0].image.astype(int) - expected)[-12:-4, -12:-4]
    assert corner.max() <= 6


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [1, 2])
def test_colours_follow_matrix_and_range_of_the_stream(matrix: int, full: int, tmp_path: Path) -> None:
    picture = np.empty((64, 96, 3), np.uint8)
    picture[:, :48], picture[:, 48:] = (40, 200, 90), (200, 60, 30)
    path = write_clip(
        tmp_path / "c.mp4",
        [picture] * 2,
        colorspace=matrix,
        color_range=full,
        pix_fmt="yuv444p",
        options={"crf": "1"},
    )
    _, frames = read(path)
    assert frames[0].image[32, 20].tolist() == pytest.approx([40, 200, 90], abs=3)
    assert frames[0].image[32, 76].tolist() == pytest.approx([200, 60, 30], abs=3)


def test_one_colour_looks_alike_under_each_tag_and_under_none(tmp_path: Path) -> None:
    picture = np.full((64, 96, 3), (40, 200, 90), np.uint8)
    shown = []
    for tag in (1, 5):
        path = write_clip(tmp_path / f"{tag}.mkv", [picture], codec="ffv1", pix_fmt="yuv444p", colorspace=tag)
        shown.append(read(path)[1][0].image[0, 0].astype(int))
    assert np.abs(shown[0] - shown[1]).max() <= 3
    untagged = write_clip(tmp_path / "u.mkv", [picture], codec="ffv1", pix_fmt="yuv444p")
    assert np.abs(read(untagged)[1][0].image[0, 0].astype(int) - (40, 200, 90)).max() <= 3


def test_size_change_in_mid_stream(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", 5, (64, 96))
    second = write_clip(tmp_path / "b.ts", 5, (96, 128))
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    _, frames = read(both)
    assert [frame.image.shape[:2] for frame in frames] == [(64, 96)] * 5 + [(96, 128)] * 5
    assert numbers(frames) == [*range(5), *range(5)]
    times = [frame.pts or 0.0 for frame in frames]
    assert np.diff(times).min() > 0, "the second part's clock starts anew, the frames' must not"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".h264"])
def test_start_and_end_are_exact(suffix: str, tmp_path: Path) -> None:
    fps = 25  # what FFmpeg assumes of a raw stream
    path = write_clip(tmp_path / f"clip{suffix}", 60, fps=fps, options={"g": "10", "bf": "0"})
    begin = read(path)[1][0].pts or 0.0
    source, frames = read(path, start=1.0, end=1.4)
    assert numbers(frames) == list(range(25, 35))
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[0].pts == pytest.approx(begin + 1.0, abs=0.002)
    if suffix != ".h264":
        assert source.info.frames == 10


def test_start_only_end_only_and_end_past_the_end(clip: Path) -> None:
    assert numbers(read(clip, start=1.9)[1]) == [57, 58, 59]
    assert numbers(read(clip, end=0.1)[1]) == [0, 1, 2]
    assert len(read(clip, end=99)[1]) == 60


def test_stride_and_loop(clip: Path) -> None:
    source, frames = read(clip, end=0.3, stride=4, loop=2)
    assert numbers(frames) == [0, 4, 8, 0, 4, 8]
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.pts for frame in frames] == pytest.approx([i * 4 / 30 for i in range(6)], abs=1e-3)
    assert source.info.frames == 6
    assert source.info.fps == pytest.approx(7.5)


def test_loop_for_ever_until_closed(clip: Path) -> None:
    source = FileSource(str(clip), end=0.1, loop=0)
    seen = []
    with source:
        assert source.info.frames is None
        for frame in source:
            seen.append(frame)
            if len(seen) == 10:
                source.close()
    assert numbers(seen) == [0, 1, 2] * 3 + [0]
    assert np.diff([frame.pts or 0.0 for frame in seen]).min() > 0.03


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_cut_off_file_gives_what_it_has(suffix: str, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = write_clip(tmp_path / f"x{suffix}", 90, options={"g": "10", "bf": "0"}, container_options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    source, frames = read(path)
    assert 5 < len(frames) < 90
    assert numbers(frames) == list(range(len(frames)))
    assert source.warning is not None
    assert str(path) in source.warning
    assert source.info.details["warning"] == source.warning


def test_whole_files_have_no_warning(clip: Path, tmp_path: Path) -> None:
    assert read(clip)[0].warning is None
    assert read(write_clip(tmp_path / "s.mkv", 10, audio=True))[0].warning is None


def test_damage_in_the_middle_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.avi", 30, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data) - 3) if data[at : at + 3] == b"\xff\xd8\xff"]
    for number in (10, 20):
        at = starts[number]
        data[at + 2 : at + 600] = bytes(598)
    path.write_bytes(data)
    source, frames = read(path)
    assert numbers(frames) == [n for n in range(30) if n not in (10, 20)]
    assert source.corrupted == 2
    assert [frame.index for frame in frames] == list(range(28))


def make_rubbish(kind: str, folder: Path) -> Path:
    path = folder / "clip.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is not a video\n" * 100)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "no index":
        data = write_clip(path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "audio":
        path = write_audio(folder / "sound.m4a")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "not a readable video"),
        ("noise", ""),
        ("no index", "not a readable video"),
        ("audio", "no video track (found: audio)"),
        ("pipe", "not a regular file"),
        ("picture", ""),
    ],
)
def test_rubbish_is_one_line_that_names_the_file(kind: str, words: str, tmp_path: Path) -> None:
    path = make_rubbish(kind, tmp_path)
    with pytest.raises(SourceError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_with_a_null_byte() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read("a\0b.mp4")


READ_AS_NOBODY = """
import os, sys
os.chdir("/")
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
from rtseg.errors import SourceError
from rtseg.sources.file import check_file
try:
    check_file(sys.argv[1])
except SourceError as exc:
    print(exc)
"""


def test_permission_denied(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_clip(tmp_path_factory.mktemp("locked") / "clip.mp4", 2)
    path.chmod(0)
    # Imported before privileges are dropped: another user may not be allowed into the checkout.
    code = "import rtseg.sources.file\n" + READ_AS_NOBODY
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == f"{path} cannot be read: permission denied", done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": -1}, "start is -1"),
        ({"start": "soon"}, "start is 'soon'"),
        ({"end": 0}, "end is 0"),
        ({"start": 2, "end": 1}, "is not after start"),
        ({"stride": 0}, "stride is 0"),
        ({"stride": 1.5}, "stride is 1.5"),
        ({"loop": -1}, "loop is -1"),
        ({"end": float("nan")}, "end is nan"),
        ({"start": 99}, "past the end"),
        ({"speed": 2}, "option 'speed' does not apply"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str, clip: Path) -> None:
    with pytest.raises(ConfigError) as caught, open_source(str(clip), options) as source:
        list(source)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_leaving_early_closes_the_file(clip: Path) -> None:
    def open_files() -> int:
        # Links that vanish while they are listed are those of the listing itself.
        targets = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return targets.count(clip)

    with FileSource(str(clip)) as source:
        next(iter(source))
        assert open_files() == 1
    assert open_files() == 0
    with pytest.raises(RtsegError), FileSource(str(clip), start=50):
        pass
    assert open_files() == 0


def test_numbers_survive_coding() -> None:
    assert number_of(numbered(173, (63, 97))) == 173
