"""Bags as a sink of results that come without an input bag; whole runs are in tests/pipeline/test_bag_runs.py."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rtseg.drawing.view import View
from rtseg.errors import ConfigError, SinkError
from rtseg.frame import Frame, Header, Result
from rtseg.sinks import sink_kind
from rtseg.sinks.bag import BagSink, header_of
from tests.bags.reading import array, by_ros2, by_rosbags, jpeg, raw, stamp
from tests.sinks.results import SPEC, info, result


def open_bag_to(path: Path | str, **options: Any) -> BagSink:
    return BagSink(str(path), info(), SPEC, View(), **options)


def with_header(index: int, topic: str, time_ns: int, size: tuple[int, int] = (8, 12)) -> Result:
    """A result as a node's source gives it; its labels are all `index`."""
    image = np.full((*size, 3), 60, np.uint8)
    header = Header(topic, time_ns - 11, f"{topic}_optical", time_ns)
    return Result(
        Frame(index, 0, None, None, image, header),
        np.full(size, index, np.uint8),
        overlay=image,
        confidence=image[..., 0],
    )


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("out.mcap", ("bag", "out.mcap")), ("bag:folder", ("bag", "folder")), ("bag:a.mcap", ("bag", "a.mcap"))],
)
def test_an_output_string_names_a_bag(uri: str, kind: tuple[str, str]) -> None:
    assert sink_kind(uri) == kind


def test_frames_of_a_live_node_keep_their_headers_and_get_topics_as_they_come(tmp_path: Path) -> None:
    with open_bag_to(tmp_path / "out.mcap", original=False) as sink:
        for index, topic in enumerate(("/left/image_raw", "/right/image_raw", "/left/image_raw")):
            sink.write(with_header(index, topic, 1_000 + index))
    found = by_ros2(tmp_path / "out.mcap")
    left, right = found["/left/segmentation/mask"], found["/right/segmentation/mask"]
    assert [stamp(message) for message in left] == [(989, "/left/image_raw_optical"), (991, "/left/image_raw_optical")]
    assert [int(array(message)[0, 0]) for message in (*left, *right)] == [0, 2, 1]
    assert len(found["/left/segmentation/label_info"]) == len(found["/right/segmentation/label_info"]) == 1
    assert [message[2] for message in raw(tmp_path / "out.mcap")] == [1_000] * 3 + [1_001] * 3 + [1_002] * 2


def test_a_folder_of_frames_without_a_header(tmp_path: Path) -> None:
    with open_bag_to(tmp_path / "out", confidence=True) as sink:
        assert sink.needs == {"labels", "overlay", "confidence"}
        for index in range(3):
            sink.write(result(index, pts=index / 4, confidence=np.full((48, 64), 200 + index, np.uint8)))
        assert not (tmp_path / "out").exists()
    found = by_rosbags(tmp_path / "out")
    assert [stamp(message) for message in found["/camera/segmentation/mask"]] == [
        (0, "camera"), (250_000_000, "camera"), (500_000_000, "camera"),
    ]  # fmt: skip
    assert [int(array(message)[0, 0]) for message in found["/camera/segmentation/confidence"]] == [200, 201, 202]
    assert abs(int(jpeg(found["/camera/image/compressed"][2])[9, 9, 0]) - 60) < 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_model_without_confidence_leaves_it_out(tmp_path: Path) -> None:
    with open_bag_to(tmp_path / "out.mcap", confidence=True) as sink:
        sink.write(result(0, pts=0.0))
    assert "/camera/segmentation/confidence" not in by_ros2(tmp_path / "out.mcap")


def test_the_time_of_a_picture_without_a_header() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    assert header_of(Frame(0, 0, 3.0, 1_700_000_000.5, image)) == Header(
        "/camera/image", 1_700_000_000_500_000_000, "camera", 1_700_000_000_500_000_000
    )
    assert header_of(Frame(0, 0, 3.25, None, image)).stamp_ns == 3_250_000_000
    assert header_of(Frame(0, 0, -0.1, None, image)).stamp_ns == 0  # log times have no sign
    now = header_of(Frame(0, time.monotonic_ns() - 2_000_000_000, None, None, image)).stamp_ns
    assert now / 1e9 == pytest.approx(time.time() - 2, abs=0.5)


@pytest.mark.parametrize("name", ["out.mcap", "out"])
def test_no_frame_no_bag(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rtseg"), open_bag_to(tmp_path / name):
        pass
    assert f"{tmp_path / name} was not written: there was no frame" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mcap", "out"])
def test_an_error_elsewhere_leaves_what_was_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_bag_to(tmp_path / name) as sink:
        sink.write(result(0, pts=0.0))
        raise KeyError("elsewhere")
    assert len(by_rosbags(tmp_path / name)["/camera/segmentation/mask"]) == 1


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap"
    path.write_bytes(b"old")
    with open_bag_to(path) as sink:
        sink.write(result(0, pts=0.0))
        assert path.read_bytes() == b"old"
    assert len(by_ros2(path)["/camera/segmentation/mask"]) == 1


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range(quality: int) -> None:
    with pytest.raises(ConfigError, match=f"JPEG quality {quality} is not between 1 and 100"):
        open_bag_to("out.mcap", quality=quality)


def test_a_model_without_scores_has_no_confidence() -> None:
    spec = msgspec.structs.replace(SPEC, output_kind="labels")
    with pytest.raises(ConfigError, match="gives labels alone, which have no confidence: leave --confidence out"):
        BagSink("out.mcap", info(), spec, View(), confidence=True)


def test_quality_is_that_of_the_overlay(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    sizes = []
    for quality in (20, 95):
        with open_bag_to(tmp_path / f"{quality}.mcap", quality=quality) as sink:
            sink.write(dataclasses.replace(result(0, pts=0.0), overlay=noise))
        (overlay,) = by_ros2(tmp_path / f"{quality}.mcap")["/camera/segmentation/overlay/compressed"]
        sizes.append(len(overlay.data))
    assert sizes[0] * 2 < sizes[1]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("here")
    with pytest.raises(SinkError, match="it exists, and a rosbag2 is never replaced"), open_bag_to(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "here"
