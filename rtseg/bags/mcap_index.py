"""Where an MCAP file holds what, by its own index."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO

from mcap.reader import SeekingReader
from mcap.records import Channel, ChunkIndex, Schema
from mcap.summary import Summary

from rtseg.bags.mcap_records import DAMAGE, MAGIC, Block

__all__ = ["Index", "of_summary"]

FOOTER, CHECKSUM = struct.Struct("<QQI"), 4
"""Of the footer: where the index starts, where its own begins, and the checksum of all between start and itself."""


@dataclass(slots=True)
class Index:
    """What an MCAP file holds; `attachments` and `metadata` are offsets of records.

    `first` and `last` are the log times of its messages, 0 without any. `problem` is where the file is truncated, None
    where it is whole; `damaged` counts the chunks that could not be read for the index.
    """

    profile: str = ""
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    blocks: list[Block] = field(default_factory=list)
    attachments: list[int] = field(default_factory=list)
    metadata: list[int] = field(default_factory=list)
    first: int = 0
    last: int = 0
    problem: str | None = None
    damaged: int = 0


def of_summary(file: BinaryIO, size: int) -> Index | None:
    """The index at the end of a finished file; None where there is none, or it cannot be the whole truth."""
    try:
        file.seek(0)
        reader = SeekingReader(file)
        summary, header = reader.get_summary(), reader.get_header()
    except (*DAMAGE, OSError, StopIteration):
        return None
    if summary is None or not _undamaged(file, size) or not _complete(summary, size):
        return None
    assert summary.statistics is not None
    index = Index(header.profile, summary.schemas, summary.channels)
    index.counts.update(summary.statistics.channel_message_counts)
    index.first, index.last = summary.statistics.message_start_time, summary.statistics.message_end_time
    index.blocks = [_block_of(chunk) for chunk in summary.chunk_indexes]
    index.attachments = [entry.offset for entry in summary.attachment_indexes]
    index.metadata = [entry.offset for entry in summary.metadata_indexes]
    return index


def _undamaged(file: BinaryIO, size: int) -> bool:
    """Whether the index has its checksum, or none."""
    file.seek(size - FOOTER.size - len(MAGIC))
    start, _, checksum = FOOTER.unpack(file.read(FOOTER.size))
    file.seek(start)
    return not checksum or zlib.crc32(file.read(size - len(MAGIC) - CHECKSUM - start)) == checksum


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
