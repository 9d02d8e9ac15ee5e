"""MCAP files of every make give their messages in the order of the log times, and what is left of a broken one."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType

from rtseg.bags import Attachment, Metadata
from rtseg.bags.files import open_bag
from rtseg.errors import SourceError
from tests.bags.recordings import START, Record, drive, mcap_bytes, write_mcap

Fact = tuple[str, str, str, int, int, bytes]


def facts(records: list[Record]) -> list[Fact]:
    return [(r.topic, r.kind, r.encoding, r.log_time, r.publish_time, r.data) for r in records]


def read(path: Path, *args: Any) -> tuple[list[Fact], str | None]:
    """What a bag gives, and what it says is missing."""
    with closing(open_bag(path)) as bag:
        found = [
            (m.topic.name, m.topic.kind, m.topic.encoding, m.log_time, m.publish_time, m.data)
            for m in bag.messages(*args)
        ]
        return found, bag.warning


def starts_of(data: bytes, wanted: Opcode) -> list[int]:
    """Where the records of one kind begin."""
    offset, found = 8, []
    while offset + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, offset)
        if opcode == wanted:
            found.append(offset)
        offset += 9 + length
    return found


BARE: dict[str, Any] = {
    "index_types": IndexType.NONE,
    "use_statistics": False,
    "use_summary_offsets": False,
    "repeat_channels": False,
    "repeat_schemas": False,
}


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.NONE, "chunk_size": 1},
        {"use_chunking": False},
        {"enable_crcs": False},
        BARE,
        {**BARE, "use_chunking": False},
        {**BARE, "index_types": IndexType.MESSAGE},
        {"use_statistics": False},
        {"repeat_channels": False},
    ],
    ids=str,
)
def test_every_message_comes_in_the_order_of_the_log_times(
    options: dict[str, Any], shuffle: bool, tmp_path: Path
) -> None:
    records = drive(8, ["/left", "/right"])
    path = write_mcap(tmp_path / "a.mcap", records, shuffle=shuffle, **options)
    assert read(path) == (facts(records), None)
    with closing(open_bag(path)) as bag:
        assert (bag.start_ns, bag.end_ns) == (START, START + 850_000_000)
        assert {topic.name: topic.count for topic in bag.topics} == {
            "/left": 8, "/right": 8, "/tf_static": 1, "/odometry": 40, "/weather": 1, "/rosout": 1,
        }  # fmt: skip
        assert {topic.name for topic in bag.topics if topic.latched} == {"/tf_static"}


@pytest.mark.parametrize("options", [{}, BARE], ids=["indexed", "bare"])
def test_topics_and_times_are_chosen(options: dict[str, Any], tmp_path: Path) -> None:
    records = drive(8, ["/left", "/right"])
    path = write_mcap(tmp_path / "a.mcap", records, shuffle=True, **options)
    start, end = START + 105_000_000, START + 408_000_000
    wanted = [r for r in records if r.topic in ("/right", "/odometry") and start <= r.log_time < end]
    assert {r.topic for r in wanted} == {"/right", "/odometry"}
    assert read(path, {"/right", "/odometry"}, start, end) == (facts(wanted), None)
    assert read(path, {"/none"}) == ([], None)


def test_messages_of_one_log_time_keep_the_order_of_the_file(tmp_path: Path) -> None:
    records = [Record("/odometry", "std_msgs/msg/String", START, bytes([index])) for index in range(50)]
    path = write_mcap(tmp_path / "a.mcap", records, chunk_size=100)
    assert [fact[-1] for fact in read(path)[0]] == [bytes([index]) for index in range(50)]


def test_attachments_and_metadata_are_there(tmp_path: Path) -> None:
    for number, options in enumerate(({}, BARE)):
        path = write_mcap(tmp_path / f"{number}.mcap", drive(2), extras=True, **options)
        with closing(open_bag(path)) as bag:
            assert list(bag.extras()) == [
                Metadata("vehicle", {"plate": "RT 5EG"}),
                Attachment("map.txt", "text/plain", START + 7, START, b"here be dragons"),
            ]


@pytest.mark.parametrize("compression", list(CompressionType), ids=lambda c: c.name)
@pytest.mark.parametrize("cut", [0.3, 0.62, 0.95])
def test_a_file_that_breaks_off_gives_what_lies_before(
    cut: float, compression: CompressionType, tmp_path: Path
) -> None:
    records = drive(12)
    data = mcap_bytes(tmp_path, records, compression=compression, chunk_size=10_000)
    end = int(starts_of(data, Opcode.DATA_END)[0] * cut)
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[:end])
    found, warning = read(path)
    assert found == facts(records)[: len(found)]
    before = [offset for offset in starts_of(data, Opcode.CHUNK) if offset < end]
    whole = sum(1 for _ in read_until(data[: before[-1]], tmp_path))
    assert whole <= len(found) < len(records)
    assert warning is not None
    assert warning.startswith(f"{path}: it ")
    assert f"{end}" in warning


def read_until(data: bytes, folder: Path) -> list[Fact]:
    path = folder / "before.mcap"
    path.write_bytes(data)
    return read(path)[0]


@pytest.mark.parametrize("compression", list(CompressionType), ids=lambda c: c.name)
def test_of_a_chunk_that_is_cut_its_beginning_is_read(compression: CompressionType, tmp_path: Path) -> None:
    # Noise, and more of it than a zstd block's 128 kB, of which a part is nothing.
    records = [
        Record("/odometry", "std_msgs/msg/String", START + index, index.to_bytes(4, "little") + noise(index))
        for index in range(100)
    ]
    data = mcap_bytes(tmp_path, records, compression=compression, chunk_size=1 << 24)
    assert len(starts_of(data, Opcode.CHUNK)) == 1
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: len(data) * 7 // 10])
    found, warning = read(path)
    assert 55 <= len(found) <= 70
    assert found == facts(records)[: len(found)]
    assert warning is not None
    assert "is truncated at byte" in warning
    assert "damaged" not in warning


def noise(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(10_000)


def test_a_file_without_its_end_but_whole_records_is_reported(tmp_path: Path) -> None:
    records = drive(4)
    data = mcap_bytes(tmp_path, records)
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: starts_of(data, Opcode.DATA_END)[0]])
    found, warning = read(path)
    assert found == facts(records)
    assert warning is not None
    assert "it ends without its index" in warning


def test_a_file_cut_in_its_index_has_lost_no_message(tmp_path: Path) -> None:
    records = drive(4)
    path = tmp_path / "cut.mcap"
    path.write_bytes(mcap_bytes(tmp_path, records)[:-30])
    assert read(path) == (facts(records), None)


@pytest.mark.parametrize("indexed", [True, False])
def test_a_damaged_chunk_is_left_out(indexed: bool, tmp_path: Path) -> None:
    records = drive(12)
    data = bytearray(mcap_bytes(tmp_path, records, chunk_size=10_000, **({} if indexed else BARE)))
    chunks = starts_of(data, Opcode.CHUNK)
    assert len(chunks) >= 4
    # The byte is one of the compressed data of the second chunk.
    data[chunks[1] + 200] ^= 0xFF
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    found, warning = read(path)
    assert warning == f"{path}: 1 damaged chunk left out"
    first, last = struct.unpack_from("<QQ", data, chunks[1] + 9)
    assert found == facts([record for record in records if not first <= record.log_time <= last])
    assert len(found) < len(records)


def test_a_wrong_length_in_the_middle_ends_an_unindexed_file_there(tmp_path: Path) -> None:
    records = drive(12)
    data = bytearray(mcap_bytes(tmp_path, records, chunk_size=10_000, **BARE))
    chunk = starts_of(data, Opcode.CHUNK)[2]
    struct.pack_into("<Q", data, chunk + 1, 1 << 60)
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    found, warning = read(path)
    assert found == facts(records)[: len(found)]
    assert found
    assert warning == f"{path}: it is truncated at byte {chunk} of {len(data)}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mcap", b"", "empty.mcap is empty (0 bytes)"),
        ("text.mcap", b"not a bag at all", "text.mcap is not an MCAP file: it does not begin as one"),
        ("empty.bag", b"", "empty.bag is empty (0 bytes)"),
        ("text.bag", b"not a bag at all\n", "text.bag cannot be read: File magic is invalid"),
        ("text.db3", b"not a bag at all" * 100, "text.db3 cannot be read: "),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:12] else "",
)
def test_a_file_that_is_no_bag_is_an_error_of_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_bag(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_its_magic_alone_has_no_topics(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(b"\x89MCAP0\r\n")
    with closing(open_bag(path)) as bag:
        assert (list(bag.topics), list(bag.messages()), bag.start_ns) == ([], [], 0)
        assert bag.warning == f"{path}: it ends without its index, after 8 bytes"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_byte_is_wrong_nothing_is_lost_without_a_word(seed: int, tmp_path: Path) -> None:
    records = drive(4)
    options: list[dict[str, Any]] = [
        {},
        BARE,
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.NONE},
    ]
    whole = mcap_bytes(tmp_path, records, chunk_size=6_000, extras=True, **options[seed])
    random = np.random.default_rng(seed)
    expected, path, hurt = facts(records), tmp_path / "damaged.mcap", 0
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(8, len(data), random.integers(1, 4)):
            data[place] ^= random.integers(1, 256)
        path.write_bytes(data)
        with closing(open_bag(path)) as bag:
            found = list(bag.messages())
            extras = list(bag.extras())
            assert len(extras) <= 2
            if bag.warning is None:
                assert [message.data for message in found] == [fact[-1] for fact in expected]
            else:
                hurt += 1
                assert "\n" not in bag.warning
    assert hurt > 20
