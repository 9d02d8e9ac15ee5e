"""Numbered pictures: overlays, lossless label maps (ids), or the classes' colours."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import cv2

from rtseg.drawing.colormap import mask_colors
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.view import View
from rtseg.errors import ConfigError, SinkError, nearest
from rtseg.files import disk_errors, write_whole
from rtseg.frame import Image, Labels, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks._encoding import check_quality, encoder_flags

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ImagesSink", "colors_sink", "labels_sink"]

Content = Literal["overlay", "labels", "color"]
NUMBER = re.compile(r"%0?\d*[di]")
LOSSLESS = (".png", ".bmp", ".tif", ".tiff")
ANY = (*LOSSLESS, ".jpg", ".jpeg", ".webp")


class ImagesSink:
    """Writes a picture per frame, numbered by the frame's index, each under its name only when it is whole.

    `target` is a pattern (`out/%06d.png`), a folder (`out/`, filled with %06d.png), or one file's name for an input of
    one frame; missing folders are made. `content` chooses what is written: the overlay as it is drawn; `labels`, one
    8-bit channel with the class ids, 255 where unlabelled; or `color`, each pixel in the colour of its class, black
    where unlabelled or hidden. Labels and colours are only written in lossless formats. `quality` (1 to 100) is that
    of .jpg and .webp. The outputs `labels:PATTERN` and `colors:PATTERN` choose the content by name.
    Errors: ConfigError for a target or option that does not fit, SinkError where the disk refuses.
    """

    threaded = True

    def __init__(
        self,
        target: str,
        info: StreamInfo,
        spec: ModelSpec,
        view: View,
        *,
        content: Content = "overlay",
        quality: int = 95,
    ) -> None:
        if content not in ("overlay", "labels", "color"):
            raise ConfigError(f"unknown image content '{content}': {nearest(content, ('overlay', 'labels', 'color'))}")
        check_quality(quality)
        self._content = content
        self._folder, self._pattern = _parse(target, content)
        self._spec, self._view = spec, view
        self._suffix = Path(self._pattern).suffix.lower()
        self._flags = encoder_flags(self._suffix, quality)
        self._written: str | None = None
        self.needs = frozenset({"overlay" if content == "overlay" else "labels"})

    def __enter__(self) -> Self:
        with disk_errors(self._folder / self._pattern):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._palette = resolve_palette(self._view.palette, self._spec)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open: every picture is whole already."""

    def write(self, result: Result) -> None:
        """Write one picture. Errors: SinkError."""
        name = self._name(result.frame.index)
        done, data = cv2.imencode(self._suffix, self._picture(result), self._flags)
        if not done:
            raise SinkError(f"cannot encode {self._folder / name}: {self._suffix} does not take a picture of this size")
        write_whole(self._folder / name, data.data)
        self._written = name

    def _picture(self, result: Result) -> Image | Labels:
        if self._content == "labels":
            assert result.labels is not None
            return result.labels
        if self._content == "color":
            lut = mask_colors(self._palette, self._view).reshape(256, 1, 3)
            painted: Image = cv2.applyColorMap(result.labels, lut)
            return painted
        assert result.overlay is not None
        return result.overlay

    def _name(self, index: int) -> str:
        """The pattern with the number filled in."""
        if NUMBER.search(self._pattern.replace("%%", "")) is None:
            if self._written is not None:
                stem, suffix = Path(self._pattern).stem, Path(self._pattern).suffix
                raise SinkError(
                    f"{self._folder / self._pattern} holds one frame, and there are more: "
                    f"number them with {stem}_%06d{suffix}"
                )
            return self._pattern.replace("%%", "%")
        return self._pattern % index


def labels_sink(target: str, info: StreamInfo, spec: ModelSpec, view: View) -> ImagesSink:
    """`labels:PATTERN`: single-channel pictures of class ids."""
    return ImagesSink(target, info, spec, view, content="labels")


def colors_sink(target: str, info: StreamInfo, spec: ModelSpec, view: View) -> ImagesSink:
    """`colors:PATTERN`: pictures in the classes' colours."""
    return ImagesSink(target, info, spec, view, content="color")


def _parse(target: str, content: Content) -> tuple[Path, str]:
    """The folder and the file name's pattern of a target. Errors: ConfigError."""
    path = Path(target)
    if not target or target.endswith("/") or path.is_dir():
        if not target:
            raise ConfigError("an image output needs a pattern: use for example out/%06d.png")
        return path, "%06d.png"
    if NUMBER.search(str(path.parent)):  # any other percent sign in a folder's name is just that
        raise ConfigError(f"the number belongs in the file's name, not in the folder's: '{target}'")
    rest = NUMBER.sub("", path.name.replace("%%", ""), count=1)
    if "%" in rest:
        raise ConfigError(f"cannot number files by '{path.name}': use one %d or %06d, and %% for a percent sign")
    choices = ANY if content == "overlay" else LOSSLESS
    if path.suffix.lower() not in choices:
        why = "" if content == "overlay" or path.suffix.lower() not in ANY else ", which would change the values"
        raise ConfigError(f"{content} pictures cannot be '{path.suffix}' files{why}: {nearest(path.suffix, choices)}")
    return path.parent, path.name
