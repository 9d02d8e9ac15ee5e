"""Image files: one, a folder, or those that match a pattern, as a sequence of frames."""

from __future__ import annotations

import glob
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from rtseg.errors import ConfigError, SourceError
from rtseg.frame import Frame, Image, StreamInfo
from rtseg.image_file import SUFFIXES, natural, read_image
from rtseg.sources._ahead import NOT_OPEN
from rtseg.sources._options import at_least, whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ImagesSource", "find_images"]

log = logging.getLogger("rtseg")

DEFAULT_RATE = 25.0


class ImagesSource:
    """Frames from image files.

    `target` is a file, a folder (its images, not those of folders in it), a glob (`**` descends) or a numbered pattern
    such as `img_%04d.png`; the order is natural, img2 before img10. Files without an image suffix are passed over.
    Sizes may differ from frame to frame; EXIF orientation is applied; grey, 16-bit and transparent images become BGR
    with 8 bits. `rate` (frames per second, 25 unless given) makes `pts`, a frame's `path` is its file; `loop` is how
    often to go through, 0 forever; `stride` N takes every N-th. A damaged file is an error, or with `on_error="skip"`
    counted in `skipped`.
    Errors: ConfigError for options, SourceError naming the file.
    """

    reconnects = 0

    def __init__(
        self,
        target: str,
        *,
        rate: float | None = None,
        loop: int = 1,
        stride: int = 1,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        self._target, self._stop = target, threading.Event()
        self._rate = DEFAULT_RATE if rate is None else at_least("rate", rate, 0, above=True)
        self._loop, self._stride = whole("loop", loop, 0), whole("stride", stride, 1)
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is '{on_error}', expected raise or skip")
        self._skip = on_error == "skip"
        self._info: StreamInfo | None = None
        self._paths: list[Path] = []
        self._first: Image | None = None
        self.skipped = 0

    @property
    def info(self) -> StreamInfo:
        assert self._info is not None, "info is valid once the source is entered"
        return self._info

    def __enter__(self) -> Self:
        self._paths = find_images(self._target)[:: self._stride]
        # Read ahead up to the first good file: its size is the stream's.
        while self._first is None:
            if not self._paths:
                raise SourceError(f"{self._target}: none of its {self.skipped} images can be read")
            self._first = self._read(self._paths[0])
            if self._first is None:
                self._paths.pop(0)
        self._info = StreamInfo(
            source=self._target,
            live=False,
            fps=self._rate,
            size=self._first.shape[:2],
            frames=len(self._paths) * self._loop or None,
            details={"files": len(self._paths)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._first = None

    def close(self) -> None:
        """End the iteration at the next frame; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        if self._info is None:
            raise SourceError(NOT_OPEN)
        index = played = 0
        while self._loop == 0 or played < self._loop:
            before = index
            for path in self._paths:
                image, self._first = self._first, None
                if image is None:
                    image = self._read(path)
                if self._stop.is_set():
                    return
                if image is not None:
                    yield Frame(index, time.monotonic_ns(), index / self._rate, None, image, None, path)
                    index += 1
                del image
            if index == before:
                raise SourceError(f"{self._target}: none of its images can be read any more")
            played += 1

    def _read(self, path: Path) -> Image | None:
        try:
            return read_image(path)
        except SourceError as exc:
            if not self._skip:
                raise
            self.skipped += 1
            log.warning("%s: left out", exc)
            return None


def find_images(target: str) -> list[Path]:
    """The image files that `target` stands for, in natural order. Errors: SourceError when there is none."""
    path = Path(target)
    if path.is_dir():
        paths = [child for child in path.iterdir() if not child.name.startswith(".")]
        empty = f"no images in folder {target}"
    elif path.exists():
        return [path]
    elif re.search(r"%0?\d*[di]", path.name):
        numbered = re.sub(r"%0?\d*[di]", r"(\\d+)", re.sub(r"([^\w%])", r"\\\1", path.name))
        folder = path.parent
        paths = [child for child in _children(folder) if re.fullmatch(numbered, child.name)]
        empty = f"no file matches {target}"
    elif glob.has_magic(target):
        paths = [Path(name) for name in glob.glob(target, recursive=True)]  # noqa: PTH207 - absolute patterns
        empty = f"no file matches {target}"
    else:
        raise SourceError(f"{target} does not exist")
    images = [child for child in paths if child.suffix.lower() in SUFFIXES and not child.is_dir()]
    if not images:
        seen = f" ({len(paths)} other files)" if paths else ""
        raise SourceError(f"{empty}{seen}; images end in {', '.join(sorted(SUFFIXES))}")
    return sorted(images, key=natural)


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as exc:
        raise SourceError(f"{folder} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
