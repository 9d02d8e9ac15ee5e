"""The records of MCAP files in chunks and outside them, whole or truncated."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError, UnsupportedCompressionError
from mcap.records import Chunk
from mcap.stream_reader import get_chunk_data_stream

__all__ = ["DAMAGE", "MAGIC", "MESSAGE", "RECORD", "Block", "read_block", "split", "stream"]

MAGIC = b"\x89MCAP0\r\n"
RECORD, MESSAGE = struct.Struct("<BQ"), struct.Struct("<HIQQ")
"""The head of every record (opcode, length), and of a message (channel, sequence, log and publish time)."""
DAMAGE = (McapError, ValueError, struct.error, zstandard.ZstdError, RuntimeError, EOFError, OverflowError, MemoryError)
"""What reading damaged records raises: lz4 RuntimeError, a wrong checksum ValueError, a wrong size any of them."""


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


def stream(content: bytes | memoryview) -> ReadDataStream:
    """What the readers of single records take."""
    return ReadDataStream(BytesIO(content))


def read_block(file: BinaryIO, block: Block) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of every record of a block, of as many as there are in a cut one. Errors: those of DAMAGE."""
    file.seek(block.offset)
    if not block.chunk:
        return split(file.read(block.length))
    chunk = Chunk.read(stream(file.read(block.length)[RECORD.size :]))
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
