"""rosbag2 folders and files, and ROS 1 bags."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from rtseg.bags import Bag
from rtseg.bags.files import open_bag
from rtseg.errors import SourceError
from rtseg.messages import records as messages
from tests.bags.recordings import START, drive, ros1, write_mcap, write_ros1, write_rosbag2

RECORDS = [record for record in drive(20) if record.encoding == "cdr"]


def found(bag: Bag, *args: object) -> list[tuple[str, int, bytes]]:
    return [(m.topic.name, m.log_time, m.data) for m in bag.messages(*args)]  # type: ignore[arg-type]


@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda plugin: plugin.name)
def test_a_rosbag2_folder(plugin: StoragePlugin, tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    with closing(open_bag(write_rosbag2(tmp_path / "bag", records, plugin))) as bag:
        assert bag.storage == plugin.name.lower()
        assert found(bag) == [(r.topic, r.log_time, r.data) for r in records]
        assert (bag.start_ns, bag.end_ns) == (START, START + 450_000_000)
        camera = next(topic for topic in bag.topics if topic.name == "/camera/image_raw")
        assert (camera.kind, camera.encoding, camera.count) == (messages.IMAGE, "cdr", 4)
        assert camera.schema is not None
        assert camera.schema.data.decode() == messages.definition(messages.IMAGE)


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE], ids=lambda mode: mode.name)
@pytest.mark.parametrize("plugin", list(StoragePlugin), ids=lambda plugin: plugin.name)
def test_a_compressed_rosbag2(plugin: StoragePlugin, mode: CompressionMode, tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    with closing(open_bag(write_rosbag2(tmp_path / "bag", records, plugin, mode))) as bag:
        assert found(bag) == [(r.topic, r.log_time, r.data) for r in records]


def test_a_db3_file_alone_with_topics_and_times(tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    folder = write_rosbag2(tmp_path / "bag", records)
    with closing(open_bag(folder / "bag.db3")) as bag:
        start, end = START + 100_000_000, START + 300_000_000
        assert found(bag, {"/odometry"}, start, end) == [
            (r.topic, r.log_time, r.data) for r in records if r.topic == "/odometry" and start <= r.log_time < end
        ]
        assert found(bag, {"/none"}) == []


def test_a_ros1_bag_keeps_its_own_bytes(tmp_path: Path) -> None:
    records = [record for record in drive(4) if record.encoding == "cdr"]
    with closing(open_bag(write_ros1(tmp_path / "old.bag", records))) as bag:
        assert found(bag) == [(r.topic, r.log_time, ros1(r)) for r in records]
        camera = next(topic for topic in bag.topics if topic.name == "/camera/image_raw")
        assert (camera.kind, camera.encoding, camera.count) == (messages.IMAGE, "ros1", 4)
        assert camera.schema is not None
        assert (camera.schema.name, camera.schema.encoding) == ("sensor_msgs/Image", "ros1msg")
        assert camera.metadata["md5sum"] == "060021388200f6f0f447d0fcd9c64743"  # as `rosmsg md5 sensor_msgs/Image`


def test_files_of_a_folder_that_overlap_are_merged(tmp_path: Path) -> None:
    records = drive(6)
    folder = tmp_path / "bag"
    folder.mkdir()
    write_mcap(folder / "bag_0.mcap", records[:30:2] + records[30:])
    write_mcap(folder / "bag_1.mcap", records[1:30:2])
    facts = {"storage_identifier": "mcap", "relative_file_paths": ["bag_0.mcap", "bag_1.mcap"], "version": 8}
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": facts}))
    with closing(open_bag(folder)) as bag:
        assert found(bag) == [(r.topic, r.log_time, r.data) for r in records]
        assert sum(topic.count for topic in bag.topics) == len(records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: b", "metadata.yaml is not that of a rosbag2: 'rosbag2_bagfile_information'"),
        ("{", "metadata.yaml is not that of a rosbag2: while parsing"),
        (
            "rosbag2_bagfile_information: {storage_identifier: mcap, relative_file_paths: [gone.mcap]}",
            "gone.mcap does not exist, but",
        ),
    ],
)
def test_a_wrong_metadata_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text(content)
    with pytest.raises(SourceError) as caught:
        open_bag(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("suffix", [".db3", ".bag"])
def test_a_cut_bag_that_the_libraries_refuse_is_an_error_of_one_line(suffix: str, share: float, tmp_path: Path) -> None:
    path = cut(tmp_path, suffix, share)
    with pytest.raises(SourceError) as caught:
        open_bag(path)
    assert str(caught.value).startswith(f"{path} cannot be read: ")
    assert "if it was cut off, try `" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_db3_that_lacks_its_last_pages_gives_what_lies_before(tmp_path: Path) -> None:
    path = cut(tmp_path, ".db3", 0.99)
    with closing(open_bag(path)) as bag:
        kept = found(bag)
        assert 100 < len(kept) < len(RECORDS)
        assert kept == [(r.topic, r.log_time, r.data) for r in RECORDS[: len(kept)]]
        assert bag.warning is not None
        assert bag.warning.startswith(f"{path} ends early, after 1.")


def cut(folder: Path, suffix: str, share: float) -> Path:
    """The first `share` of a bag of RECORDS."""
    if suffix == ".db3":
        whole = write_rosbag2(folder / "bag", RECORDS) / "bag.db3"
    else:
        whole = write_ros1(folder / "whole.bag", RECORDS)
    data = whole.read_bytes()
    path = folder / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    return path
