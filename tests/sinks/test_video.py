"""Video files read back: every frame, its time, its colour; and what is left when things go wrong."""

from __future__ import annotations

import logging
import resource
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rtseg.errors import ConfigError, SinkError
from rtseg.frame import Image, StreamInfo
from rtseg.sinks import sink_kind
from tests.media import number_of, numbered
from tests.sinks.results import colour_bars, full_disk, info, open_to, result

RATE = [i / 25 for i in range(30)]
VARIABLE = [0.0, 0.02, 0.1, 0.11, 0.5, 0.52, 0.53, 1.0, 1.25, 1.26]


def encode(path: Path, pts: Sequence[float | None], images: Sequence[Image] | None = None, **options: Any) -> None:
    about = options.pop("about", None)
    with open_to(path, about, **options) as sink:
        for index, stamp in enumerate(pts):
            sink.write(result(index, stamp, numbered(index) if images is None else images[index]))


def decode(path: Path) -> tuple[list[float], list[Image]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        stamps = [float(frame.pts * frame.time_base) for frame in frames]
        return stamps, [frame.to_ndarray(format="bgr24") for frame in frames]


@pytest.mark.parametrize(
    ("suffix", "codec", "tolerance"),
    [
        (".mp4", "h264", 1e-6),
        (".mov", "h264", 1e-6),
        (".ts", "h264", 1e-5),
        (".mkv", "h264", 6e-4),  # Matroska counts in milliseconds
        (".webm", "vp9", 6e-4),
        (".avi", "mpeg4", 1e-6),
    ],
)
def test_every_frame_comes_back_in_order_at_its_time(tmp_path: Path, suffix: str, codec: str, tolerance: float) -> None:
    path = tmp_path / f"out{suffix}"
    encode(path, RATE)
    stamps, images = decode(path)
    assert [number_of(image) for image in images] == list(range(30))
    assert stamps == pytest.approx(RATE, abs=tolerance)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == codec
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 25
        assert container.duration / 1e6 == pytest.approx(30 / 25, abs=2e-3)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_is_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    encode(path, VARIABLE)
    stamps, images = decode(path)
    assert stamps == pytest.approx(VARIABLE, abs=6e-4 if suffix == ".mkv" else 1e-4)
    assert [number_of(image) for image in images] == list(range(10))


@pytest.mark.parametrize(
    ("base", "fps"), [(Fraction(1, 30_000), 30_000 / 1001), (Fraction(1001, 30_000), 30_000 / 1001), (None, 29.97)]
)
def test_ntsc_times_are_exact_in_the_sources_own_clock(tmp_path: Path, base: Fraction | None, fps: float) -> None:
    path = tmp_path / "out.mp4"
    pts = [i * 1001 / 30_000 for i in range(30)]
    encode(path, pts, about=info(fps, time_base=base))
    stamps, _ = decode(path)
    assert stamps == pytest.approx(pts, abs=1e-9 if base else 6e-6)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(30 * 1001 / 30_000, abs=1e-4)


def test_a_late_first_frame_keeps_its_time(tmp_path: Path) -> None:
    encode(tmp_path / "out.mp4", [0.08, 0.12, 0.16])
    assert decode(tmp_path / "out.mp4")[0] == pytest.approx([0.08, 0.12, 0.16], abs=1e-6)


def test_a_live_source_without_stamps_is_timed_by_its_captures(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with open_to(path, info(None, live=True, time_base=None)) as sink:
        for index, captured in enumerate((5.0, 5.1, 5.4)):
            sink.write(result(index, t_capture=round(captured * 1e9)))
    assert decode(path)[0] == pytest.approx([0, 0.1, 0.4], abs=1e-4)


def test_a_rate_overrides_the_sources_times(tmp_path: Path) -> None:
    encode(tmp_path / "out.mp4", VARIABLE, rate=10)
    assert decode(tmp_path / "out.mp4")[0] == pytest.approx([i / 10 for i in range(10)], abs=1e-6)


def test_avi_puts_a_variable_rate_into_the_nearest_slots(tmp_path: Path) -> None:
    encode(tmp_path / "out.avi", VARIABLE)
    stamps, images = decode(tmp_path / "out.avi")
    assert len(images) == 10
    assert np.abs(np.array(stamps) - VARIABLE).max() <= 3 / 25


@pytest.mark.parametrize("size", [(49, 65), (48, 65), (49, 64), (1, 1), (3, 500)])
def test_odd_sizes_gain_a_copy_of_their_border(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 60, np.uint8)
    image[:, -1] = image[-1] = 200
    encode(tmp_path / "out.mp4", [0.0, 0.04], [image] * 2, crf=5)
    _, images = decode(tmp_path / "out.mp4")
    assert len(images) == 2
    assert images[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(images[0][size[0] :].astype(int) - 200).max(initial=0) <= 12
    assert np.abs(images[0][:, size[1] :].astype(int) - 200).max(initial=0) <= 12


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.avi"])
def test_colours_survive(tmp_path: Path, name: str) -> None:
    bars = colour_bars()
    encode(tmp_path / name, [0.0, 0.04], [bars] * 2)
    seen = decode(tmp_path / name)[1][0].astype(int)
    middles = [8 + 16 * i for i in range(6)]
    assert np.abs(seen[32, middles] - bars[32, middles]).max() <= 12


def test_colours_are_tagged_and_converted_as_bt709(tmp_path: Path) -> None:
    encode(tmp_path / "out.mp4", [0.0], [colour_bars()], crf=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        luma = next(container.decode(video=0)).to_ndarray()[32, :96]
    # Y' of red, green, blue by ITU-R BT.709: 16 + 219 * (0.2126, 0.7152, 0.0722); BT.601 would give 81, 145, 41.
    assert luma[[8, 24, 40]].astype(int).tolist() == pytest.approx([62.6, 172.6, 31.8], abs=2)
    assert luma[[56, 72]].astype(int).tolist() == pytest.approx([235, 16], abs=2)


def test_ffv1_is_lossless(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (31, 33, 3), dtype=np.uint8)
    encode(tmp_path / "out.mkv", [0.0], [noise], codec="ffv1")
    assert (decode(tmp_path / "out.mkv")[1][0][:31, :33] == noise).all()


def boxes(path: Path) -> list[bytes]:
    """The kinds of an MP4's top-level boxes, in order."""
    data, at, kinds = path.read_bytes(), 0, []
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        kinds.append(kind)
        at += size
    return kinds


def test_mp4_starts_with_its_index_so_that_browsers_play_it_while_it_loads(tmp_path: Path) -> None:
    encode(tmp_path / "out.mp4", RATE)
    kinds = boxes(tmp_path / "out.mp4")
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_frames_of_another_size_are_letterboxed_into_the_first(tmp_path: Path) -> None:
    images = [np.full(shape, 200, np.uint8) for shape in ((64, 96, 3), (32, 96, 3), (128, 96, 3))]
    encode(tmp_path / "out.mp4", [0.0, 0.04, 0.08], images, crf=5)
    _, seen = decode(tmp_path / "out.mp4")
    assert [image.shape for image in seen] == [(64, 96, 3)] * 3
    assert seen[1][[4, 60], 48].max() < 30  # bars above and below
    assert seen[1][32, [4, 48, 90]].min() > 180
    assert seen[2][32, [4, 90]].max() < 30  # bars at the sides
    assert seen[2][[4, 32, 60], 48].min() > 180


def test_quality_options_change_the_size(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8) for i in range(5)]
    sizes = []
    for options in ({"crf": 10}, {}, {"crf": 40, "preset": "ultrafast"}):
        encode(tmp_path / "out.mp4", RATE[:5], noise, **options)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    encode(tmp_path / "low.mp4", RATE[:5], noise, bitrate="50k")
    encode(tmp_path / "high.mp4", RATE[:5], noise, bitrate=8_000_000)
    assert (tmp_path / "low.mp4").stat().st_size < (tmp_path / "high.mp4").stat().st_size


@pytest.mark.parametrize(("codec", "name"), [("hevc", "hevc"), ("h265", "hevc"), ("vp9", "vp9"), ("mjpeg", "mjpeg")])
def test_other_codecs(tmp_path: Path, codec: str, name: str) -> None:
    encode(tmp_path / "out.mp4", RATE[:5], codec=codec)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == name
    assert [number_of(image) for image in decode(tmp_path / "out.mp4")[1]] == list(range(5))


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        ("out.mp4", {"codec": "h246"}, SinkError, r"no video encoder 'h246'.*did you mean 'h264'.*hevc"),
        ("out.mp4", {"codec": "aac"}, SinkError, r"no video encoder 'aac'"),
        ("out.mp4", {"crf": 20, "bitrate": "4M"}, ConfigError, r"exclude each other"),
        ("out.mp4", {"bitrate": "fast"}, ConfigError, r"bitrate 'fast' is not a number of bits"),
        ("out.mp4", {"crf": "fine"}, ConfigError, r"crf 'fine' is not a number"),
        ("out.avi", {"crf": 20}, ConfigError, r"'crf' does not apply to video encoder mpeg4"),
        ("out.webm", {"preset": "fast"}, ConfigError, r"'preset' does not apply to video encoder libvpx-vp9"),
        ("out.mp4", {"rate": 0}, ConfigError, r"rate of 0 frames"),
        ("out.mp4", {"quality": 3}, ConfigError, r"option 'quality' does not apply to video output 'out.mp4'"),
        ("video:out.mpg4", {}, ConfigError, r"no video format has the suffix.*did you mean '.mp4'"),
        ("video:", {}, ConfigError, r"no video format has the suffix of ''"),
    ],
)
def test_bad_options_are_one_line(target: str, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        open_to(target, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "options"), [("out.mp4", {"preset": "swift"}), ("out.webm", {"codec": "h264"})])
def test_what_only_the_encoder_or_the_container_can_refuse(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    with pytest.raises(SinkError, match=r"cannot write .*out\.\w+ with encoder libx264: .*: try another") as caught:
        encode(tmp_path / name, RATE, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_a_folder_and_a_device_as_target(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match=r"there is no folder .*none: create it first"),
        open_to(tmp_path / "none/o.mp4"),
    ):
        pass
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(SinkError, match=r"dir.mp4: it is a folder"), open_to(tmp_path / "dir.mp4"):
        pass
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"not a regular file"), open_to(tmp_path / "full.mp4"):
        pass


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    encode(clip, RATE)
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    about = StreamInfo(str(clip), False, 25.0)
    for target in (clip, tmp_path / "link.mp4"):
        with pytest.raises(SinkError, match="it is the input"), open_to(target, about):
            pass
    assert clip.read_bytes() == before


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt or another thread's error."""


def test_an_interrupted_run_leaves_a_playable_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(Interrupted), open_to(path) as sink:
        for index in range(7):
            sink.write(result(index, index / 25, numbered(index)))
        assert not path.exists(), "the final name must not hold an unfinished file"
        raise Interrupted
    assert [number_of(image) for image in decode(path)[1]] == list(range(7))
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_a_run_without_frames_leaves_no_file_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), open_to(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    assert "out.mp4 was not written: there was no frame" in caplog.text


def test_an_existing_file_is_kept_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with open_to(path) as sink:
        sink.write(result(0, 0.0))
        assert path.read_bytes() == b"old"
    assert len(decode(path)[1]) == 1


def noise(index: int) -> Image:
    return np.random.default_rng(index).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("share", [0.3, 0.9])  # full while writing, full while finishing
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, suffix: str, share: float) -> None:
    pts, images = RATE[:12], [noise(index) for index in range(12)]
    encode(tmp_path / f"whole{suffix}", pts, images)
    room = int((tmp_path / f"whole{suffix}").stat().st_size * share) // 4096 * 4
    with full_disk(tmp_path / "tiny", f"{room}k") as folder:
        with pytest.raises(SinkError, match="the disk is full: free some space") as caught:
            encode(folder / f"out{suffix}", pts, images)
        assert "\n" not in str(caught.value)
        assert list(folder.iterdir()) == []


def test_a_file_size_limit_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SinkError, match=r"cannot write .*out.mp4: File too large"):
            encode(tmp_path / "out.mp4", RATE, [noise(i) for i in range(30)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["mp4", "m4v", "mov", "mkv", "webm", "avi", "ts"])
def test_video_suffixes_are_recognised(suffix: str) -> None:
    assert sink_kind(f"a/b.{suffix.upper()}") == ("video", f"a/b.{suffix.upper()}")
