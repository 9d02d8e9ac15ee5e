"""A line of JSON per frame: times, drops, class areas."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from rtseg.drawing.view import View
from rtseg.errors import SinkError
from rtseg.files import disk_errors
from rtseg.frame import Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.platforms import BINARY

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StatsSink"]


class StatsSink:
    """Writes JSON lines that can be followed while they are written (`tail -f`), straight under the final name.

    Every line goes out whole in one system call, so that a reader, or a killed run, sees only whole lines; on a full
    disk a line that did not fit is taken back. An existing file is replaced. Keys: `index`, `pts` and `stamp` in
    seconds or null, `t_capture` in monotonic nanoseconds, `latency_ms` (capture-to-overlay), `stages_ms` by stage,
    `drops` so far, `areas` (fraction of the pixels by class name). Errors: SinkError.
    """

    needs = frozenset({"areas"})
    threaded = True

    def __init__(self, target: str, info: StreamInfo, spec: ModelSpec, view: View) -> None:
        self._path, self._classes = Path(target), spec.classes
        self._file: int | None = None

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise SinkError(f"cannot write {self._path}: it is a folder: give the name of a file")
        with disk_errors(self._path):
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o666)
        return self

    def write(self, result: Result) -> None:
        """Write one line. Errors: SinkError."""
        assert self._file is not None
        line = msgspec.json.encode(self._record(result)) + b"\n"
        with disk_errors(self._path):
            written = os.write(self._file, line)
            while written < len(line):
                try:
                    written += os.write(self._file, line[written:])
                except OSError:
                    os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR) - written)
                    raise

    def _record(self, result: Result) -> dict[str, Any]:
        frame = result.frame
        areas = {} if result.areas is None else dict(zip(self._classes, result.areas.tolist(), strict=False))
        return {
            "index": frame.index,
            "pts": frame.pts,
            "stamp": frame.stamp,
            "t_capture": frame.t_capture,
            "latency_ms": round(result.latency_ns / 1e6, 3),
            "stages_ms": {name: round(took / 1e6, 3) for name, took in result.stages.items()},
            "drops": result.drops,
            "areas": {name: round(area, 6) for name, area in areas.items()},
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with disk_errors(self._path):
                os.close(file)
