"""The index of an MCAP file that has none, by a walk over its records."""

from __future__ import annotations

import struct
from collections import Counter
from typing import BinaryIO

from mcap.opcode import Opcode
from mcap.records import Channel, Header, Schema

from rtseg.bags.mcap_index import Index
from rtseg.bags.mcap_records import DAMAGE, MAGIC, MESSAGE, RECORD, Block, read_block, stream

__all__ = ["walk"]

RUN_BYTES = 4 << 20
"""Messages outside chunks are read this many bytes at a time, or one by one where they are larger."""
CUT_BYTES = 256 << 20
"""Of a chunk that seems to end after the file no more is read: its length may be what is wrong."""


def walk(file: BinaryIO, size: int) -> Index:
    """The index of an open file of `size` bytes, up to where it is truncated."""
    return _Walk(file, size).index


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
                self.index.problem = f"it is truncated at byte {offset} of {self._size}"
                if opcode == Opcode.CHUNK:
                    self._begin_chunk(offset, min(self._size - offset, CUT_BYTES), cut=True)
                break
            try:
                self._record(opcode, offset, length)
            except DAMAGE:
                self.index.problem = f"it is damaged at byte {offset} of {self._size}"
                break
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
            schema = Schema.read(stream(content))
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
