"""Whole runs from bag to bag, read back by other libraries: every message kept, masks as in a plain run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from mcap.reader import make_reader

from rtseg.cli.main import main
from rtseg.packages.spec import METADATA_KEY, ModelSpec
from tests.bags.reading import Raw, array, by_ros2, by_rosbags, jpeg, raw, stamp
from tests.bags.recordings import START, Record, drive, mcap_bytes, pictures, write_mcap, write_ros1, write_rosbag2
from tests.cli.test_main import error_line
from tests.media import write_clip
from tests.onnx_models import conv_model
from tests.sinks.results import full_disk

CLASSES = ("Sky", "Road", "Tree", "Car", "Void")
MODEL: list[str] = []
"""The flags that choose the model: one convolution, which is compiled in no time."""
MADE = ("mask", "overlay/compressed", "label_info", "confidence")
FIRST = START + 5_000_000


@pytest.fixture(scope="module", autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = ModelSpec(name="toy", classes=CLASSES, input_name="pixels", output_name="scores", output_stride=8)
    path = conv_model(tmp_path_factory.mktemp("model") / "toy.onnx", metadata={METADATA_KEY: spec.to_json()})
    MODEL[:] = ["--model", str(path), "--short-side", "64", "--backend", "openvino", "--precision", "fp32"]


def run(*words: str | Path) -> int:
    return main(["run", *map(str, words), *MODEL])


def plain(folder: Path, count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> tuple[list[Any], list[Any]]:
    """Labels and overlays that a plain run over the pictures of a camera writes as PNG."""
    (folder / "in").mkdir(parents=True)
    for index, picture in enumerate(pictures(count, size, seed)):
        cv2.imwrite(f"{folder}/in/{index}.png", picture)
    assert run(folder / "in", f"labels:{folder}/ids/%d.png", f"{folder}/over/%d.png") == 0
    return tuple(  # type: ignore[return-value]
        [cv2.imread(f"{folder}/{name}/{index}.png", cv2.IMREAD_UNCHANGED) for index in range(count)]
        for name in ("ids", "over")
    )


def split(path: Path) -> tuple[list[Raw], list[Raw]]:
    """The messages of an MCAP: those that were copied, and those that were made."""
    every = raw(path)
    assert [message[2] for message in every] == sorted(message[2] for message in every)
    made = [message for message in every if message[0].endswith(MADE)]
    return [message for message in every if message not in made], made


def recorded(records: list[Record]) -> list[Raw]:
    """What `write_mcap` writes of records."""
    return [(r.topic, number, r.log_time, r.publish_time, r.data) for number, r in enumerate(records, start=1)]


def test_an_mcap_keeps_every_message_and_gets_masks_overlays_and_classes(tmp_path: Path) -> None:
    records = drive(6)
    bag, out = write_mcap(tmp_path / "drive.mcap", records, extras=True), tmp_path / "out.mcap"
    assert run(f"{bag}#/camera/image_raw", out, "--confidence", "yes") == 0
    kept, made = split(out)
    assert kept == recorded(records)
    ids, overlays = plain(tmp_path / "plain", 6)
    times = [FIRST + index * 100_000_000 for index in range(6)]
    headers = [(log_time - 40_000_007, "optical_0") for log_time in times]
    found = by_ros2(out)
    masks, shown = found["/camera/segmentation/mask"], found["/camera/segmentation/overlay/compressed"]
    assert [stamp(message) for message in masks] == [stamp(message) for message in shown] == headers
    assert len(np.unique(ids)) > 1
    np.testing.assert_array_equal([array(message) for message in masks], ids)
    for message, overlay in zip(shown, overlays, strict=True):
        assert message.format == "bgr8; jpeg compressed bgr8"
        assert bytes(message.data) == cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    sure = [array(message) for message in found["/camera/segmentation/confidence"]]
    assert len(sure) == 6
    assert np.min(sure) >= 255 // len(CLASSES)
    (info,) = found["/camera/segmentation/label_info"]
    assert [(c.class_id, c.class_name) for c in info.class_map] == list(enumerate(CLASSES))
    assert (stamp(info), info.threshold) == (headers[0], 0)
    for topic in ("mask", "overlay/compressed", "confidence"):
        facts = [m[1:4] for m in made if m[0] == f"/camera/segmentation/{topic}"]
        assert facts == [(index, log_time, log_time) for index, log_time in enumerate(times)]
    names = [message[0].rpartition("/")[2] for message in made]
    assert names.index("label_info") < names.index("mask")


def test_channels_schemas_and_extras_are_copied_and_ours_described(tmp_path: Path) -> None:
    bag, out = write_mcap(tmp_path / "drive.mcap", drive(3), extras=True), tmp_path / "out.mcap"
    assert run(bag, out) == 0
    with bag.open("rb") as first, out.open("rb") as second:
        before, after = make_reader(first), make_reader(second)
        assert list(after.iter_attachments()) == list(before.iter_attachments())
        assert [m.name for m in after.iter_metadata()] == ["vehicle", "rosbag2"]
        assert next(iter(after.iter_metadata())) == next(iter(before.iter_metadata()))
        header = after.get_header()
        assert header.profile == ""  # as a topic in JSON is none of ROS 2
        assert header.library.startswith("rtseg ")
        old, new = before.get_summary(), after.get_summary()
        assert old is not None
        assert new is not None
        assert new.statistics is not None
        assert new.statistics.message_count == len(drive(3)) + 7
        channels = {channel.topic: channel for channel in new.channels.values()}
        for channel in old.channels.values():
            copy = channels[channel.topic]
            assert (copy.message_encoding, copy.metadata) == (channel.message_encoding, channel.metadata)
            was, now = old.schemas[channel.schema_id], new.schemas[copy.schema_id]
            assert (now.name, now.encoding, now.data) == (was.name, was.encoding, was.data)
        profiles = channels["/camera/segmentation/label_info"].metadata["offered_qos_profiles"]
        assert "durability: 1" in profiles
        assert "durability: 2" in channels["/camera/segmentation/mask"].metadata["offered_qos_profiles"]
        assert {chunk.compression for chunk in new.chunk_indexes} == {"zstd"}


def test_a_bag_of_cdr_alone_has_ros2s_profile_and_is_read_by_rosbags(tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    bag, out = write_mcap(tmp_path / "drive.mcap", records), tmp_path / "out.mcap"
    assert run(bag, out) == 0
    with out.open("rb") as file:
        assert make_reader(file).get_header().profile == "ros2"
    found, ids = by_rosbags(out), plain(tmp_path / "plain", 4)[0]
    np.testing.assert_array_equal([array(message) for message in found["/camera/segmentation/mask"]], ids)
    assert len(found["/odometry"]) == 20
    assert [c.class_name for c in found["/camera/segmentation/label_info"][0].class_map] == list(CLASSES)


@pytest.mark.parametrize("kind", ["mcap", "rosbag2"])
def test_a_folder_is_a_rosbag2_that_plays(kind: str, tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    bag = write_mcap(tmp_path / "in.mcap", records) if kind == "mcap" else write_rosbag2(tmp_path / "in", records)
    assert run(f"bag:{bag}", f"bag:{tmp_path}/out") == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["metadata.yaml", "out.db3"]
    found = by_rosbags(out)
    np.testing.assert_array_equal(
        [array(message) for message in found["/camera/segmentation/mask"]], plain(tmp_path / "plain", 4)[0]
    )
    from rosbags.rosbag2 import Reader

    with Reader(out) as reader:
        messages = [(connection.topic, time, data) for connection, time, data in reader.messages()]
        durability = {c.topic: [q.durability.name for q in c.ext.offered_qos_profiles] for c in reader.connections}  # type: ignore[union-attr]
    assert [m for m in messages if not m[0].endswith(MADE)] == [(r.topic, r.log_time, r.data) for r in records]
    assert durability["/camera/segmentation/label_info"] == ["TRANSIENT_LOCAL"]
    assert durability["/tf_static"] == (["TRANSIENT_LOCAL"] if kind == "mcap" else [])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_ros1_bag_becomes_an_mcap_with_its_own_bytes_and_a_folder_in_cdr(tmp_path: Path) -> None:
    from tests.bags.recordings import ros1

    records = [record for record in drive(4) if record.encoding == "cdr"]
    bag = write_ros1(tmp_path / "old.bag", records)
    assert run(f"{bag}#/camera/image_raw", tmp_path / "out.mcap", f"bag:{tmp_path}/out") == 0
    kept, _ = split(tmp_path / "out.mcap")
    assert [(m[0], m[2], m[4]) for m in kept] == [(r.topic, r.log_time, ros1(r)) for r in records]
    ids = plain(tmp_path / "plain", 4)[0]
    masks = by_ros2(tmp_path / "out.mcap")["/camera/segmentation/mask"]
    np.testing.assert_array_equal([array(message) for message in masks], ids)
    found = by_rosbags(tmp_path / "out")
    np.testing.assert_array_equal([array(message) for message in found["/camera/segmentation/mask"]], ids)
    assert [stamp(message) for message in found["/camera/image_raw"]] == [stamp(message) for message in masks]
    assert [message.data for message in found["/tf_static"]] == ["tree"]


def test_several_cameras_of_different_sizes_in_one_run(tmp_path: Path) -> None:
    records = drive(4, ["/left", "/right"])
    bag = write_mcap(tmp_path / "drive.mcap", records)
    outputs = [tmp_path / "out.mcap", tmp_path / "stats.jsonl", f"labels:{tmp_path}/ids/%d.png"]
    assert run(f"{bag}#/left,/right", *outputs, "--stats", "--depth", "2", "--report", tmp_path / "r.json") == 0
    kept, _ = split(outputs[0])  # type: ignore[arg-type]
    assert kept == recorded(records)
    found = by_ros2(outputs[0])  # type: ignore[arg-type]
    for number, (camera, size) in enumerate((("/left", (48, 64)), ("/right", (40, 72)))):
        ids = plain(tmp_path / camera[1:], 4, size, number)[0]
        masks = found[f"{camera}/segmentation/mask"]
        assert {stamp(message)[1] for message in masks} == {f"optical_{number}"}
        np.testing.assert_array_equal([array(message) for message in masks], ids)
        assert [jpeg(message).shape[:2] for message in found[f"{camera}/segmentation/overlay/compressed"]] == [size] * 4
        assert len(found[f"{camera}/segmentation/label_info"]) == 1
    assert len((tmp_path / "stats.jsonl").read_text().splitlines()) == 8
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["frames"], report["input"]["details"]["topics"]) == (8, "/left,/right")


def test_a_video_takes_one_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = write_mcap(tmp_path / "drive.mcap", drive(4, ["/left", "/right"])), tmp_path / "out.mp4"
    assert run(f"{bag}#/left,/right", out) == 1
    assert error_line(capsys) == (
        f"a video shows one camera, and {bag} gives 2 (/left, /right): name one topic, or write a bag or pictures"
    )
    assert not out.exists()
    assert run(f"{bag}#/right", out) == 0
    with av.open(str(out)) as video:
        frames = list(video.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(72, 40)] * 4
    assert np.diff([float(frame.pts * frame.time_base) for frame in frames]) == pytest.approx([0.1] * 3, abs=1e-3)


def test_a_cut_bag_is_processed_up_to_the_cut_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = drive(12)
    data = mcap_bytes(tmp_path, records, chunk_size=8_000)
    cut, out = tmp_path / "cut.mcap", tmp_path / "out.mcap"
    cut.write_bytes(data[: len(data) * 6 // 10])
    assert run(f"{cut}#/camera/image_raw", out) == 1
    assert error_line(capsys).startswith(f"{cut}: it is truncated at byte ")
    kept, made = split(out)
    assert kept == recorded(records)[: len(kept)]
    images = sum(message[0] == "/camera/image_raw" for message in kept)
    assert 3 < images < 12
    assert sum(message[0].endswith("mask") for message in made) == images


def test_a_limited_run_ends_its_bag_at_the_last_frame(tmp_path: Path) -> None:
    records = drive(6)
    out = tmp_path / "out.mcap"
    assert run(write_mcap(tmp_path / "drive.mcap", records), out, "--limit", "3") == 0
    kept, made = split(out)
    last = FIRST + 200_000_000
    assert kept == [message for message in recorded(records) if message[2] <= last]
    assert made[-1][2] == last


def test_start_and_end_cut_the_bag_but_keep_what_is_latched(tmp_path: Path) -> None:
    records = drive(6)
    out = tmp_path / "out.mcap"
    assert run(write_mcap(tmp_path / "drive.mcap", records), out, "--start", "0.2", "--end", "0.4") == 0
    kept, made = split(out)
    start, end = START + 200_000_000, START + 400_000_000
    wanted = [m for m in recorded(records) if m[0] == "/tf_static" or start <= m[2] < end]
    assert kept == wanted
    assert sum(message[0].endswith("mask") for message in made) == 2


def test_the_end_of_the_bag_is_copied_although_pictures_at_it_are_bad(tmp_path: Path) -> None:
    records = drive(4)
    last = max(number for number, record in enumerate(records) if record.topic == "/camera/image_raw")
    records[last] = Record(records[last].topic, records[last].kind, records[last].log_time, b"\0\1\0\0")
    out = tmp_path / "out.mcap"
    assert run(write_mcap(tmp_path / "drive.mcap", records), out) == 0
    kept, made = split(out)
    assert kept == recorded(records)
    assert sum(message[0].endswith("mask") for message in made) == 3


def test_a_clip_becomes_a_bag_with_its_pictures_and_its_own_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 4, (90, 160), pts=[0, 0.1, 0.25, 0.3])
    out = tmp_path / "out.mcap"
    assert run(clip, out) == 0
    found = by_ros2(out)
    assert set(found) == {
        "/camera/image/compressed",
        "/camera/segmentation/mask",
        "/camera/segmentation/overlay/compressed",
        "/camera/segmentation/label_info",
    }
    for topic in ("/camera/image/compressed", "/camera/segmentation/mask"):
        assert [stamp(message) for message in found[topic]] == [
            (time, "camera") for time in (0, 100_000_000, 250_000_000, 300_000_000)
        ]
    assert [jpeg(message).shape for message in found["/camera/image/compressed"]] == [(90, 160, 3)] * 4
    with out.open("rb") as file:
        assert [metadata.metadata for metadata in make_reader(file).iter_metadata()] == [{"serialized_metadata": ""}]
    assert run(clip, tmp_path / "small.mcap", "--original", "no") == 0
    assert "/camera/image/compressed" not in by_ros2(tmp_path / "small.mcap")
    assert len(by_ros2(tmp_path / "small.mcap")["/camera/segmentation/mask"]) == 4


# ---- what is refused


def test_the_input_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_mcap(tmp_path / "drive.mcap", drive(2))
    before = bag.read_bytes()
    assert run(bag, f"{tmp_path}/./drive.mcap") == 1
    assert error_line(capsys) == f"cannot write {bag}: it is the input: choose another name"
    assert bag.read_bytes() == before
    folder = write_rosbag2(tmp_path / "in", drive(2))
    assert run(folder, f"bag:{folder}") == 1
    assert "it is the input" in error_line(capsys)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("bag:{folder}/there", "there: it exists, and a rosbag2 is never replaced: choose another name"),
        ("bag:{folder}/out", "topic /weather is in json, which a rosbag2 cannot hold: write out.mcap"),
        ("{folder}/none/out.mcap", "there is no folder {folder}/none: create it first"),
        ("bag:", "a bag output needs a name: out.mcap, or bag:folder"),
    ],
)
def test_outputs_that_cannot_be(output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    bag = write_mcap(tmp_path / "drive.mcap", drive(2))
    assert run(bag, output.format(folder=tmp_path)) == 1
    assert message.format(folder=tmp_path) in error_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive.mcap", "there"]


def test_a_bag_that_has_been_segmented_is_not_given_the_same_topics_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out = write_mcap(tmp_path / "drive.mcap", drive(2)), tmp_path / "out.mcap"
    assert run(bag, out) == 0
    assert run(f"{out}#/camera/image_raw", tmp_path / "again.mcap") == 1
    assert f"{out} has a topic /camera/segmentation/mask already" in error_line(capsys)
    assert not (tmp_path / "again.mcap").exists()


@pytest.mark.parametrize("output", ["out.mcap", "bag:{}/out"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 64, 96, 3), np.uint8)
    clip = write_clip(tmp_path / "noise.mkv", list(noise), codec="ffv1", pix_fmt="bgr0")
    with full_disk(tmp_path / "disk", "100k") as disk:
        target = output.format(disk) if ":" in output else f"{disk}/{output}"
        assert run(clip, target) == 1
        assert "the disk is full" in error_line(capsys)
        assert list(disk.iterdir()) == []


ABSENT = """
import sys
from rtseg.cli.main import main

class Absent:
    def find_spec(self, name, path, target=None):
        if name == "PACKAGE":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("package", ["mcap", "rosbags", "zstandard"])
def test_a_missing_package_is_named_with_its_extra(package: str, tmp_path: Path) -> None:
    code = ABSENT.replace("PACKAGE", package)
    for words in ((f"{tmp_path}/drive.mcap", "null:"), ("synthetic:shapes", f"{tmp_path}/out.mcap")):
        done = subprocess.run(
            [sys.executable, "-c", code, "run", *words, *MODEL], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        kind = "source" if words[1] == "null:" else "sink"
        assert f"rtseg: error: {kind} 'bag' needs {package}: pip install 'rtseg[bag]'\n" in done.stderr


# ---- a signal, in a real process


def test_ctrl_c_leaves_a_bag_up_to_the_last_frame(tmp_path: Path) -> None:
    records = drive(400, compressed=True)
    bag, out, stats = write_mcap(tmp_path / "drive.mcap", records), tmp_path / "out.mcap", tmp_path / "s.jsonl"
    words = ["run", str(bag), str(out), str(stats), "--short-side", "512", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-m", "rtseg", *words], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (stats.exists() and len(stats.read_text().splitlines()) > 5) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, text
    kept, made = split(out)
    masks = [message for message in made if message[0].endswith("mask")]
    assert 5 < len(masks) < 400
    assert kept == [message for message in recorded(records) if message[2] <= masks[-1][2]]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
