"""Where an MCAP file holds what: by its own index, or by a walk over its records where that is missing or wrong."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError, UnsupportedCompressionError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, Header
from mcap.records import Schema as SchemaRecord
from mcap.stream_reader import get_chunk_data_stream
from mcap.summary import Summary

from rtseg.errors import SourceError

__all__ = ["DAMAGE", "MESSAGE", "Block", "Index", "index_of", "read_block", "split", "stream"]

MAGIC = b"\x89MCAP0\r\n"
RECORD, MESSAGE = struct.Struct("<BQ"), struct.Struct("<HIQQ")
"""The head of every record (opcode, length), and of a message (channel, sequence, log and publish time)."""
RUN_BYTES = 4 << 20
"""Messages outside chunks are read this many bytes at a time, or one by one where they are larger."""
DAMAGE = (McapError, ValueError, struct.error, zstandard.ZstdError, RuntimeError, EOFError)
"""What reading damaged records raises; lz4 raises RuntimeError, a wrong checksum is a ValueError."""


@dataclass(frozen=True, slots=True)
class Block:
    """A chunk, or a run of messages outside chunks: where it lies, and the log times and channels of its messages.

    `channels` is None where they are not known. A `cut` chunk lacks its end.
    """

    offset: int
    length: int
    first: int
    last: int
    channels: frozenset[int] | None
    chunk: bool = True
    cut: bool = False


@dataclass(slots=True)
class Index:
    """What an MCAP file holds; `attachments` and `metadata` are offsets of records.

    `first` and `last` are the log times of its messages, 0 without any. `problem` says where the file breaks off, None
    where it is whole; `damaged` counts the chunks that could not be read for the index.
    """

    profile: str = ""
    schemas: dict[int, SchemaRecord] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    blocks: list[Block] = field(default_factory=list)
    attachments: list[int] = field(default_factory=list)
    metadata: list[int] = field(default_factory=list)
    first: int = 0
    last: int = 0
    problem: str | None = None
    damaged: int = 0


def index_of(path: Path, file: BinaryIO) -> Index:
    """The index of an open file. Errors: SourceError for a file that is no MCAP."""
    if file.read(len(MAGIC)) != MAGIC:
        raise SourceError(f"{path} is not an MCAP file: it does not begin as one")
    size = path.stat().st_size
    return _of_summary(file, size) or _Walk(file, size).index


def _of_summary(file: BinaryIO, size: int) -> Index | None:
    """The index at the end of a finished file; None where there is none, or it cannot be the whole truth."""
    try:
        file.seek(0)
        reader = SeekingReader(file)
        summary, header = reader.get_summary(), reader.get_header()
    except (*DAMAGE, OSError, StopIteration):
        return None
    if summary is None or not _complete(summary, size):
        return None
    assert summary.statistics is not None
    index = Index(header.profile, summary.schemas, summary.channels)
    index.counts.update(summary.statistics.channel_message_counts)
    index.first, index.last = summary.statistics.message_start_time, summary.statistics.message_end_time
    index.blocks = [_block_of(chunk) for chunk in summary.chunk_indexes]
    index.attachments = [entry.offset for entry in summary.attachment_indexes]
    index.metadata = [entry.offset for entry in summary.metadata_indexes]
    return index


def _complete(summary: Summary, size: int) -> bool:
    statistics, chunks = summary.statistics, summary.chunk_indexes
    return (
        statistics is not None
        and statistics.chunk_count == len(chunks)
        and (bool(chunks) or not statistics.message_count)
        and statistics.attachment_count == len(summary.attachment_indexes)
        and statistics.metadata_count == len(summary.metadata_indexes)
        and statistics.channel_count == len(summary.channels)
        and statistics.channel_message_counts.keys() <= summary.channels.keys()
        and all(not channel.schema_id or channel.schema_id in summary.schemas for channel in summary.channels.values())
        and all(chunk.chunk_start_offset + chunk.chunk_length <= size for chunk in chunks)
    )


def _block_of(chunk: ChunkIndex) -> Block:
    known = frozenset(chunk.message_index_offsets) if chunk.message_index_length else None
    times = chunk.message_start_time, chunk.message_end_time
    return Block(chunk.chunk_start_offset, chunk.chunk_length, *times, known)


class _Walk:
    """Goes over a file from record to record, without reading what lies in chunks unless it must.

    Only chunks say which channels there are; those are read whose channels are new, or which have no index.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._chunk: Block | None = None
        self._entries: Counter[int] = Counter()
        self._sets: dict[frozenset[int], frozenset[int]] = {}  # as there are few, and a block for each megabyte
        self._run: list[int] = []  # offset, end, first and last time of the messages outside chunks
        self._run_channels: set[int] = set()
        self.index = Index()
        self._walk()

    def _walk(self) -> None:
        offset = len(MAGIC)
        while True:
            self._file.seek(offset)
            head = self._file.read(RECORD.size)
            if len(head) < RECORD.size:
                where = "without its index" if not head else "in the middle of a record"
                self.index.problem = f"it ends {where}, after {self._size} bytes"
                break
            opcode, length = RECORD.unpack(head)
            end = offset + RECORD.size + length
            if opcode != Opcode.MESSAGE_INDEX:
                self._end_chunk()
            if opcode == Opcode.DATA_END:
                break
            self._file.seek(offset + RECORD.size)
            if not opcode or end > self._size:
                self.index.problem = f"it breaks off at byte {offset} of {self._size}"
                if opcode == Opcode.CHUNK:
                    self._begin_chunk(offset, self._size - offset, cut=True)
                break
            self._record(opcode, offset, length)
            offset = end
        self._end_chunk()
        self._end_run()
        self.index.first = min((block.first for block in self.index.blocks), default=0)
        self.index.last = max((block.last for block in self.index.blocks), default=0)

    def _record(self, opcode: int, offset: int, length: int) -> None:
        if opcode == Opcode.CHUNK:
            self._begin_chunk(offset, RECORD.size + length)
        elif opcode == Opcode.MESSAGE_INDEX:
            channel, entries = struct.unpack("<HI", self._file.read(6))
            self._entries[channel] += entries // 16
        elif opcode == Opcode.MESSAGE:
            self._message(offset, RECORD.size + length)
        elif opcode == Opcode.ATTACHMENT:
            self.index.attachments.append(offset)
        elif opcode == Opcode.METADATA:
            self.index.metadata.append(offset)
        elif opcode in (Opcode.HEADER, Opcode.SCHEMA, Opcode.CHANNEL):
            self._declare(opcode, self._file.read(length))

    def _declare(self, opcode: int, content: bytes | memoryview) -> None:
        if opcode == Opcode.HEADER:
            self.index.profile = Header.read(stream(content)).profile
        elif opcode == Opcode.SCHEMA:
            schema = SchemaRecord.read(stream(content))
            self.index.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream(content))
            self.index.channels[channel.id] = channel

    def _begin_chunk(self, offset: int, length: int, *, cut: bool = False) -> None:
        times = self._file.read(16)
        if len(times) == 16:
            first, last = struct.unpack("<QQ", times)
            self._chunk = Block(offset, length, first, last, None, cut=cut)

    def _end_chunk(self) -> None:
        """Note the chunk that ended, with the channels that the index after it names."""
        chunk, self._chunk = self._chunk, None
        entries, self._entries = self._entries, Counter()
        if chunk is None:
            return
        first, last = chunk.first, chunk.last
        if not entries or not entries.keys() <= self.index.channels.keys():
            entries, times = Counter(), []
            try:
                for opcode, content in read_block(self._file, chunk):
                    self._declare(opcode, content)
                    if opcode == Opcode.MESSAGE:
                        channel, _, time, _ = MESSAGE.unpack_from(content)
                        entries[channel] += 1
                        times.append(time)
            except DAMAGE:
                self.index.damaged += not chunk.cut  # that is reported already
                return
            if not times:
                return
            first, last = min(times), max(times)
        self.index.counts.update(entries)
        self._add(Block(chunk.offset, chunk.length, first, last, frozenset(entries), cut=chunk.cut))

    def _message(self, offset: int, length: int) -> None:
        content = self._file.read(MESSAGE.size)
        if len(content) < MESSAGE.size:
            return
        channel, _, time, _ = MESSAGE.unpack(content)
        self.index.counts[channel] += 1
        if self._run and (self._run[1] != offset or offset + length - self._run[0] > RUN_BYTES):
            self._end_run()
        if not self._run:
            self._run = [offset, offset, time, time]
        self._run = [self._run[0], offset + length, min(self._run[2], time), max(self._run[3], time)]
        self._run_channels.add(channel)

    def _end_run(self) -> None:
        if self._run:
            offset, end, first, last = self._run
            self._add(Block(offset, end - offset, first, last, frozenset(self._run_channels), chunk=False))
        self._run, self._run_channels = [], set()

    def _add(self, block: Block) -> None:
        assert block.channels is not None
        shared = self._sets.setdefault(block.channels, block.channels)
        self.index.blocks.append(
            Block(block.offset, block.length, block.first, block.last, shared, block.chunk, block.cut)
        )


def stream(content: bytes | memoryview) -> ReadDataStream:
    """What the readers of single records take."""
    return ReadDataStream(BytesIO(content))


def read_block(file: BinaryIO, block: Block) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of every record of a block, of as many as there are in a cut one. Errors: those of DAMAGE."""
    file.seek(block.offset)
    if not block.chunk:
        return split(file.read(block.length))
    file.seek(RECORD.size, 1)
    chunk = Chunk.read(ReadDataStream(file))
    if block.cut:
        return split(_beginning(chunk))
    data, length = get_chunk_data_stream(chunk, validate_crc=True)
    return split(data.read(length))


def _beginning(chunk: Chunk) -> bytes:
    """What can be decompressed of a chunk that lacks its end."""
    makers: dict[str, Callable[[], bytes]] = {
        "": lambda: chunk.data,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress(chunk.data),
        "lz4": lambda: lz4.frame.LZ4FrameDecompressor().decompress(chunk.data),
    }
    if chunk.compression not in makers:
        raise UnsupportedCompressionError(chunk.compression)
    return makers[chunk.compression]()


def split(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of the records in `data`, up to one that lacks its end."""
    view, offset = memoryview(data), 0
    while offset + RECORD.size <= len(view):
        opcode, length = RECORD.unpack_from(view, offset)
        offset += RECORD.size
        if offset + length > len(view):
            return
        yield opcode, view[offset : offset + length]
        offset += length
