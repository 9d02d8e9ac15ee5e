"""Bags as a source: frames with exact headers, chosen topics and times, and what is said of bad ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Header
from rtseg.messages import records as messages
from rtseg.sources import open_source, source_kind
from rtseg.sources.bag import BagSource
from tests.bags.recordings import START, Record, drive, pictures, ros1, text, write_mcap, write_ros1, write_rosbag2

FIRST = START + 5_000_000


def frames_of(target: Path | str, **options: Any) -> tuple[list[Frame], BagSource]:
    source = open_source(str(target), options)
    assert isinstance(source, BagSource)
    with source:
        return list(source), source


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("drive.mcap#/camera/image", ("bag", "drive.mcap#/camera/image")),
        ("drive.MCAP", ("bag", "drive.MCAP")),
        ("a/x.db3#/topic", ("bag", "a/x.db3#/topic")),
        ("old.bag#/a,/b", ("bag", "old.bag#/a,/b")),
        ("bag:folder#/topic", ("bag", "folder#/topic")),
        ("clip.mp4#x", ("file", "clip.mp4#x")),
    ],
)
def test_an_input_string_names_a_bag(uri: str, kind: tuple[str, str]) -> None:
    assert source_kind(uri) == kind


def test_a_folder_with_metadata_is_a_bag_and_one_without_is_not(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    assert source_kind(f"{tmp_path}/bag") == ("images", f"{tmp_path}/bag")
    (tmp_path / "bag" / "metadata.yaml").touch()
    assert source_kind(f"{tmp_path}/bag#/camera") == ("bag", f"{tmp_path}/bag#/camera")


def write(kind: str, folder: Path, records: list[Record]) -> Path:
    if kind == "mcap":
        return write_mcap(folder / "drive.mcap", records)
    if kind == "ros1 mcap":
        old = [Record(r.topic, r.kind, r.log_time, ros1(r), "ros1") for r in records if r.encoding == "cdr"]
        return write_mcap(folder / "old.mcap", old, profile="ros1")
    if kind == "rosbag2":
        return write_rosbag2(folder / "drive", records)
    if kind == "db3":
        return write_rosbag2(folder / "drive", records) / "drive.db3"
    return write_ros1(folder / "old.bag", records)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["mcap", "ros1 mcap", "rosbag2", "db3", "bag"])
def test_frames_carry_their_pictures_and_headers(kind: str, compressed: bool, tmp_path: Path) -> None:
    path = write(kind, tmp_path, drive(5, compressed=compressed))
    for target in (path, f"{path}#/camera/image_raw", f"{path}#camera/image_raw"):
        frames, source = frames_of(target)
        assert [frame.index for frame in frames] == list(range(5))
        for index, (frame, picture) in enumerate(zip(frames, pictures(5), strict=True)):
            log_time = FIRST + index * 100_000_000
            np.testing.assert_array_equal(frame.image, picture)
            assert frame.header == Header("/camera/image_raw", log_time - 40_000_007, "optical_0", log_time)
            assert frame.pts == pytest.approx(0.005 + index / 10, abs=1e-9)
            assert frame.stamp == pytest.approx((log_time - 40_000_007) / 1e9)
        info = source.info
        assert (info.source, info.live, info.size, info.frames) == (str(path), False, (48, 64), 5)
        assert info.details["topics"] == "/camera/image_raw"
        assert "warning" not in info.details
        assert info.details["complete"] is True


def test_the_rate_is_that_of_the_topic(tmp_path: Path) -> None:
    _, source = frames_of(write_mcap(tmp_path / "a.mcap", drive(11, other=False)))
    assert source.info.fps == pytest.approx(10)
    _, source = frames_of(write_mcap(tmp_path / "b.mcap", drive(11, other=False)), stride=2)
    assert source.info.fps == pytest.approx(5)


def test_several_cameras_interleave_by_log_time_and_keep_their_sizes(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", drive(3, ["/left", "/right", "/rear"]), shuffle=True)
    frames, source = frames_of(f"{path}#/right,/left")
    assert [(f.header.topic, f.image.shape[:2]) for f in frames if f.header] == [
        ("/left", (48, 64)),
        ("/right", (40, 72)),
    ] * 3
    times = [frame.header.log_time_ns for frame in frames if frame.header]
    assert times == sorted(times)
    assert source.info.frames == 6


def test_start_end_and_stride(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", drive(10, ["/left", "/right"]))
    frames, source = frames_of(f"{path}#/left,/right", start=0.2, end=0.6, stride=2)
    assert [(f.header.topic, round((f.header.log_time_ns - START) / 1e6)) for f in frames if f.header] == [
        ("/left", 205), ("/right", 208), ("/left", 405), ("/right", 408),
    ]  # fmt: skip
    assert [frame.pts for frame in frames] == pytest.approx([0.205, 0.208, 0.405, 0.408])
    assert (source.info.details["start"], source.info.details["end"]) == (0.2, 0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "start is -1, expected at least 0"),
        ({"start": 2, "end": 1}, "end (1 s) is not after start (2 s)"),
        ({"stride": 0}, "stride is 0, expected a whole number from 1"),
        ({"loop": 2}, "option 'loop' does not apply to bag input"),
        ({"start": 60}, "start 60 s is past the end of"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", drive(2))
    with pytest.raises(ConfigError) as caught:
        frames_of(path, **options)
    assert message in str(caught.value)


def test_the_topic_that_is_proposed_is_not_a_mask_of_an_earlier_run(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", drive(2, ["/left/segmentation/mask", "/right"]))
    with pytest.raises(SourceError, match=r"2 image topics: choose by '.*a\.mcap#/right', several"):
        frames_of(path)


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (
            "",
            "a.mcap has 2 image topics: choose by '{path}#/left', several separated by commas: "
            "/left (sensor_msgs/msg/Image, 2), /right (sensor_msgs/msg/Image, 2)",
        ),
        ("#/lefft", "a.mcap has no topic '/lefft': did you mean '/left'? (choices: /left, /right)"),
        (
            "#/odometry",
            "topic '/odometry' of {path} holds std_msgs/msg/String (cdr), expected sensor_msgs/msg/Image or",
        ),
        ("#/weather", "topic '/weather' of {path} holds weather (json), expected"),
    ],
)
def test_the_wrong_topic_is_an_error_of_one_line(topic: str, message: str, tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", drive(2, ["/left", "/right"]))
    with pytest.raises(SourceError) as caught:
        frames_of(f"{path}{topic}")
    assert message.format(path=path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bag_without_pictures_names_what_it_has(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", [Record("/chat", "std_msgs/msg/String", START, text("hello"))])
    with pytest.raises(SourceError, match=r"no topic of sensor_msgs.*: /chat \(std_msgs/msg/String, 1\)$"):
        frames_of(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(SourceError, match=r"no topic of sensor_msgs.*it is truncated at byte 8 of 20$"):
        frames_of(path)


def test_of_topics_of_one_name_the_pictures_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    records = drive(2, other=False)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        for kind, wanted in ((messages.IMAGE, records), ("std_msgs/msg/String", [None])):
            schema = writer.register_schema(kind, "ros2msg", messages.definition(kind).encode())
            channel = writer.register_channel("/camera", "cdr", schema)
            for record in wanted:
                data, log_time = (text("on"), START) if record is None else (record.data, record.log_time)
                writer.add_message(channel, log_time, data, log_time)
        writer.finish()
    for target in (path, f"{path}#/camera"):
        frames, source = frames_of(target)
        assert len(frames) == source.info.frames == 2
        assert source.skipped == {}


def broken(record: Record) -> Record:
    return Record(record.topic, record.kind, record.log_time, record.data[:-5])


def test_bad_messages_are_logged_once_counted_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = drive(6, other=False)
    unknown = messages.encode_with(
        messages.IMAGE, b"1234", header=messages.header(1, "c"), height=1, width=1, encoding="32FC1",
        is_bigendian=0, step=4,
    )  # fmt: skip
    records[1], records[3] = broken(records[1]), broken(records[3])
    records[4] = Record(records[4].topic, records[4].kind, records[4].log_time, unknown)
    with caplog.at_level(logging.WARNING, "rtseg"):
        frames, source = frames_of(write_mcap(tmp_path / "a.mcap", records))
    assert [round((f.header.log_time_ns - START) / 1e8) for f in frames if f.header] == [0, 2, 5]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert source.skipped == {"not a message": 2, "unknown encoding": 1}
    assert source.info.details["skipped"] == {"not a message": 2, "unknown encoding": 1}
    assert len(caplog.records) == 2
    assert "topic /camera/image_raw: " in caplog.text


def test_a_bag_of_bad_messages_alone_is_an_error(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", [broken(record) for record in drive(3, other=False)])
    with pytest.raises(
        SourceError, match=r"no message of /camera/image_raw holds a usable picture \(not a message 3\)"
    ):
        frames_of(path)


def test_a_cut_bag_ends_with_a_warning_unless_the_end_comes_before(tmp_path: Path) -> None:
    whole = write_mcap(tmp_path / "whole.mcap", drive(12), chunk_size=8_000).read_bytes()
    path = tmp_path / "cut.mcap"
    path.write_bytes(whole[: len(whole) // 2])
    frames, source = frames_of(path)
    assert 3 < len(frames) < 12
    assert source.info.details["warning"] == source.warning
    assert source.warning is not None
    assert source.warning.startswith(f"{path}: it is truncated at byte ")
    frames, source = frames_of(path, end=0.2)
    assert (len(frames), source.warning) == (2, None)


def test_closing_ends_the_iteration(tmp_path: Path) -> None:
    with BagSource(str(write_mcap(tmp_path / "a.mcap", drive(6)))) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == []
        assert source.info.details["complete"] is None
