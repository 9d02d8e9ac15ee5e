"""MCAP files, whole or truncated: messages in the order of their log times, a few chunks in memory."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mcap import records
from mcap.opcode import Opcode

from rtseg.bags.contract import Attachment, Message, Metadata, Schema, Topic, kind_of
from rtseg.bags.mcap_index import Index, of_summary
from rtseg.bags.mcap_records import DAMAGE, MAGIC, MESSAGE, RECORD, Block, read_block, stream
from rtseg.bags.mcap_walk import walk
from rtseg.errors import SourceError

__all__ = ["McapBag"]

Entry = tuple[int, int, int, int, Message]
"""A message that waits for its turn: log time, number of file, offset of its block, number in that, message."""


class McapBag:
    """A bag of one MCAP file, or of several that follow each other. Errors: SourceError for what is none."""

    storage = "mcap"

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path, self._files = path, files
        self._open: tuple[int, BinaryIO] | None = None
        self._damaged: set[tuple[int, int]] = set()
        self._ended = False
        self._indexes: list[Index] = []
        try:
            self._indexes = [_index_of(name, self._file(number)) for number, name in enumerate(files)]
        except BaseException:
            self.close()
            raise
        self._topics = [self._topics_of(index) for index in self._indexes]
        self.topics = [topic for topics in self._topics for topic in topics.values()]
        filled = [index for index in self._indexes if index.counts.total()]
        self.start_ns = min((index.first for index in filled), default=0)
        self.end_ns = max((index.last for index in filled), default=0)

    @property
    def warning(self) -> str | None:
        """What could not be read so far: a truncated end counts once the messages came to that."""
        problems = [
            f"{path}: {index.problem}"
            for path, index in zip(self._files, self._indexes, strict=True)
            if index.problem is not None and (self._ended or not self.topics)
        ]
        damaged = len(self._damaged) + sum(index.damaged for index in self._indexes)
        if damaged:
            problems.append(f"{self.path}: {damaged} damaged {'chunks' if damaged > 1 else 'chunk'} left out")
        return "; ".join(problems) or None

    def messages(
        self, names: Collection[str] | None = None, start: int | None = None, end: int | None = None
    ) -> Iterator[Message]:
        """The messages in the order of their log times; ties in the file's order."""
        waiting: list[Entry] = []
        for number, block, topics in self._blocks(names, start, end):
            while waiting and waiting[0][0] < block.first:
                yield heapq.heappop(waiting)[-1]
            for entry in self._read(number, block, topics):
                if (start is None or entry[0] >= start) and (end is None or entry[0] < end):
                    heapq.heappush(waiting, entry)
        while waiting:
            yield heapq.heappop(waiting)[-1]
        self._ended = self._ended or end is None or end > self.end_ns

    def _blocks(
        self, names: Collection[str] | None, start: int | None, end: int | None
    ) -> list[tuple[int, Block, dict[int, Topic]]]:
        """File number, block and wanted topics of every block that may hold wanted messages, by their first times."""
        found = []
        for number, (index, all_topics) in enumerate(zip(self._indexes, self._topics, strict=True)):
            topics = {key: topic for key, topic in all_topics.items() if names is None or topic.name in names}
            for block in index.blocks:
                wanted = block.channels is None or not block.channels.isdisjoint(topics)
                if wanted and (start is None or block.last >= start) and (end is None or block.first < end):
                    found.append((number, block, topics))
        found.sort(key=lambda item: (item[1].first, item[0], item[1].offset))
        return found

    def _read(self, number: int, block: Block, topics: dict[int, Topic]) -> Iterator[Entry]:
        try:
            contents = list(read_block(self._file(number), block))
        except DAMAGE:
            self._damaged.add((number, block.offset))
            return
        for place, (opcode, content) in enumerate(contents):
            if opcode != Opcode.MESSAGE or len(content) < MESSAGE.size:
                continue
            channel, sequence, log_time, publish_time = MESSAGE.unpack_from(content)
            if (topic := topics.get(channel)) is not None:
                message = Message(topic, log_time, publish_time, sequence, bytes(content[MESSAGE.size :]))
                yield log_time, number, block.offset, place, message
            elif channel not in self._topics[number]:
                self._damaged.add((number, block.offset))

    def extras(self) -> Iterator[Attachment | Metadata]:
        """Attachments and metadata records."""
        for number, index in enumerate(self._indexes):
            for offset in (*index.metadata, *index.attachments):
                try:
                    yield self._extra(number, offset)
                except DAMAGE:
                    self._damaged.add((number, offset))

    def _extra(self, number: int, offset: int) -> Attachment | Metadata:
        file = self._file(number)
        file.seek(offset)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        content = stream(file.read(length))
        if opcode == Opcode.METADATA:
            table = records.Metadata.read(content)
            return Metadata(table.name, table.metadata)
        if opcode != Opcode.ATTACHMENT:
            raise ValueError(f"opcode {opcode} where an attachment was expected")
        found = records.Attachment.read(content)
        return Attachment(found.name, found.media_type, found.log_time, found.create_time, found.data)

    def _topics_of(self, index: Index) -> dict[int, Topic]:
        """Topics by channel; channels without messages too."""
        topics = {}
        for key, channel in index.channels.items():
            record = index.schemas.get(channel.schema_id)
            schema = None if record is None else Schema(record.name, record.encoding, record.data)
            ros = channel.message_encoding in ("cdr", "ros1")
            kind = "" if schema is None else kind_of(schema.name) if ros else schema.name
            count = index.counts[key]
            topics[key] = Topic(channel.topic, kind, channel.message_encoding, schema, channel.metadata, count)
        return topics

    def _file(self, number: int) -> BinaryIO:
        """The file of that number; one is open at a time."""
        if self._open is not None and self._open[0] == number:
            return self._open[1]
        self.close()
        path = self._files[number]
        try:
            self._open = number, path.open("rb")
        except OSError as exc:
            raise SourceError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
        return self._open[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _index_of(path: Path, file: BinaryIO) -> Index:
    """The index of an open file: its own, or that of a walk over its records where it is missing or wrong."""
    if file.read(len(MAGIC)) != MAGIC:
        raise SourceError(f"{path} is not an MCAP file: it does not begin as one")
    size = path.stat().st_size
    return of_summary(file, size) or walk(file, size)
