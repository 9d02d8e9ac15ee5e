"""Whole files: under their final name only when they are complete; their hashes; the errors of disks in one line."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg.errors import ConfigError, SinkError

__all__ = [
    "create_beside",
    "disk_error",
    "disk_errors",
    "file_hash",
    "make_folder",
    "put_in_place",
    "write_bytes",
    "write_text",
    "write_whole",
]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing `path` into a SinkError of one line."""
    try:
        yield
    except SinkError:
        raise
    except OSError as exc:
        raise disk_error(path, exc.errno, exc.strerror or str(exc)) from exc


def disk_error(path: Path, number: int | None, text: str) -> SinkError:
    """The SinkError for an error number of the operating system."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return SinkError(f"cannot write {path}: the disk is full: free some space or choose another folder")
    if number == errno.ENOENT and not path.parent.is_dir():
        return SinkError(f"cannot write {path}: there is no folder {path.parent}: create it first")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SinkError(f"cannot write {path}: {text}: choose a folder that you may write to")
    return SinkError(f"cannot write {path}: {re.sub(chr(92) + 's+', ' ', text)}")


def create_beside(path: Path) -> Path:
    """Create an empty file next to `path`, hidden and with a name of its own, to be put in place when complete.

    Raises:
        SinkError: `path` cannot become a file, or its folder cannot be written to.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise SinkError(f"cannot write {path}: it is {kind}: give the name of a file")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with disk_errors(path), temporary.open("xb"):
        return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a complete file or folder its final name, in one step. The only place that does; raises OSError."""
    os.replace(temporary, path)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write an output file so that its name never holds part of it.

    Raises:
        SinkError: the disk or the folder does not take it.
    """
    temporary = create_beside(path)
    try:
        with disk_errors(path):
            with temporary.open("wb") as file:
                file.write(data)
            put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, so that its name never holds part of it; raises OSError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file, mode 644, so that its name never holds part of it; raises OSError.

    `durable` waits until the disk has it, so that not even a power cut leaves an empty file under the name.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder, with those above it, unless it is there, and try it before the work begins.

    Raises:
        ConfigError: no file can be written in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        found = "it is a file" if path.is_file() else exc.strerror or exc
        raise ConfigError(f"cannot write to the folder {path} ({found}): give another --out") from exc
