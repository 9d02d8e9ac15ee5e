"""Files that appear under their final name only when they are whole, and one place for the errors of disks."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg.errors import SinkError

__all__ = ["create_beside", "disk_errors", "write_whole"]


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
    """Create an empty file next to `path`, hidden and with a name of its own, to be renamed to it when complete.

    Errors: SinkError where `path` cannot become a file or its folder cannot be written to.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise SinkError(f"cannot write {path}: it is {kind}: give the name of a file")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with disk_errors(path), temporary.open("xb"):
        return temporary


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that its name never holds part of it. Errors: SinkError."""
    temporary = create_beside(path)
    try:
        with disk_errors(path):
            with temporary.open("wb") as file:
                file.write(data)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
