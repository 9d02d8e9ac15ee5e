"""Image and mask files as arrays: indexed PNGs by index, nothing rescaled, every error with the file's name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from rtseg.errors import ConfigError
from rtseg.frame import Image
from rtseg.image_file import SUFFIXES, cut_off

__all__ = ["LOSSY", "MASK_SUFFIXES", "image_files", "is_indexed", "listed_names", "pair_up", "read_image", "read_mask"]

LOSSY = frozenset((".jpg", ".jpeg"))
MASK_SUFFIXES = frozenset((*SUFFIXES, ".gif"))
ENDINGS = ("_mask", "_masks", "_label", "_labels", "_gt")
"""What the name of a mask may have after the name of its image."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path, *, upright: bool = False) -> Image:
    """An image as HWC uint8 BGR; `upright` applies the EXIF orientation, which published data sets disregard."""
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.ascontiguousarray(_decode(path, _bytes(path), flags), np.uint8)


def read_mask(path: Path, *, indexed_as_colors: bool = False) -> Image:
    """A mask as stored: HW uint8 numbers, or HWC uint8 BGR colours.

    An indexed PNG gives its indices, or its palette's colours on request; grey PNGs of 1, 2 or 4 bits give the stored
    numbers. Three equal channels are one. Errors: ConfigError for what is not 8-bit, has transparency, or is lossy.
    """
    if path.suffix.lower() in LOSSY:
        raise ConfigError(f"{path}: a mask in JPEG has other colours than were painted: save masks as PNG")
    data = _bytes(path)
    depth, kind = _png_header(data)
    if kind == 3 and not indexed_as_colors:
        return np.ascontiguousarray(_decode(path, _with_index_palette(path, data), cv2.IMREAD_COLOR)[..., 0])
    mask = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if mask.dtype != np.uint8:
        raise ConfigError(f"{path}: a mask of {mask.dtype}: save it with 8 bits per channel")
    if mask.ndim == 3 and mask.shape[2] == 4:
        if mask[..., 3].min() < 255:
            raise ConfigError(f"{path}: a mask with transparent pixels: save it without alpha channel")
        mask = mask[..., :3]
    if mask.ndim == 3 and (mask.shape[2] == 1 or (mask == mask[..., :1]).all()):
        mask = mask[..., 0]
    if kind == 0 and depth < 8:
        mask = mask // (255 // (2**depth - 1))  # decoders stretch few bits to 0..255
    return np.ascontiguousarray(mask, np.uint8)


def is_indexed(path: Path) -> bool:
    """Whether a file is a PNG with a palette."""
    try:
        with path.open("rb") as file:
            return _png_header(file.read(26))[1] == 3
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def image_files(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> dict[str, Path]:
    """The files with such suffixes in a folder and those below, by path without suffix, in order of name.

    Errors: ConfigError for two files that differ in their suffix alone.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in found:
                raise ConfigError(f"{found[key]} and {path.name} have one name: remove one of them")
            found[key] = path
    return found


def pair_up(root: Path, images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Images and masks with the same path below their folders, and a line for each file without a counterpart."""
    if not masks.is_dir():
        raise ConfigError(f"{images} has no masks beside it: expected them in {masks}")
    wanted, rest = image_files(images), image_files(masks, MASK_SUFFIXES)
    pairs: list[tuple[Path, Path]] = []
    problems: list[str] = []
    for key, path in wanted.items():
        found = next((rest.pop(key + ending) for ending in ("", *ENDINGS) if key + ending in rest), None)
        if found is None:
            problems.append(f"{path.relative_to(root)} has no mask: expected {(masks / key).relative_to(root)}.png")
        else:
            pairs.append((path, found))
    for key, path in rest.items():
        problems.append(f"{path.relative_to(root)} has no image: expected {(images / key).relative_to(root)}.*")
    return pairs, problems


def listed_names(path: Path) -> list[str]:
    """The names in a list file, one per line, blank lines passed over."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"list {path} cannot be read: {exc}") from exc


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if not data:
        raise ConfigError(f"{path} is empty (0 bytes)")
    if cut_off(data):
        raise ConfigError(f"{path} is cut off")
    return data


def _decode(path: Path, data: bytes, flags: int) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        raise ConfigError(f"{path} cannot be decoded: {exc.err or 'damaged'}") from exc
    if image is None or image.size == 0:
        raise ConfigError(f"{path} cannot be decoded: damaged, or not an image")
    return image  # type: ignore[no-any-return]


def _png_header(data: bytes) -> tuple[int, int]:
    """Bit depth and colour type of a PNG (0 grey, 2 RGB, 3 indexed, 4 and 6 with alpha); (8, -1) for another file."""
    return (data[24], data[25]) if data.startswith(SIGNATURE) and len(data) >= 26 else (8, -1)


def _with_index_palette(path: Path, data: bytes) -> bytes:
    """An indexed PNG whose palette is (i, i, i) and opaque, so that a decoder that looks colours up yields indices."""
    size = 1 << data[24]
    palette = bytes(value for index in range(size) for value in (index, index, index))
    out = [SIGNATURE]
    for kind, body in _chunks(path, data):
        if kind == b"PLTE":
            body = palette
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            out.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(out)


def _chunks(path: Path, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if data[place + 8 + length : place + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
            raise ConfigError(f"{path} is damaged: a checksum in it is wrong")
        yield kind, body
        place += 12 + length
