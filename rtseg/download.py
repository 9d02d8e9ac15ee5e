"""Files fetched over HTTP once and kept: resumed when a connection broke, in place only with the right checksum."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from rtseg.errors import ConfigError, ModelError
from rtseg.files import file_hash, put_in_place
from rtseg.platforms import lock

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["cache_folder", "cached"]

ATTEMPTS = 3
CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0


class Address(NamedTuple):
    """Where a file is, the hexadecimal start (or all) of its SHA-256, and the name it is kept under."""

    url: str
    sha256: str
    name: str


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/rtseg/weights`, or `~/.cache/rtseg/weights`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "rtseg" / "weights"


def parsed(source: str) -> Address:
    """Split `https://host/name.pth#sha256=<64 hex digits>`, or a name that ends in 8 or more of them (`-f37072fd.pth`).

    Errors: ConfigError without a checksum.
    """
    url, _, fragment = source.partition("#")
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    if fragment:
        given = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
        if given and stem:
            digest = given[1].lower()
            return Address(url, digest, name if digest[:8] in stem else f"{stem}-{digest[:8]}{dot}{suffix}")
    elif short := re.search(r"-([0-9a-f]{8,64})$", stem):
        return Address(url, short[1], name)
    raise ConfigError(f"'{source}' has no checksum: add #sha256= and the 64 hexadecimal digits of the file's SHA-256")


def cached(source: str, folder: Path | None = None) -> Path:
    """Return the file at the http(s) address `source` in `folder` (or `cache_folder()`), downloading it if need be.

    The address carries a checksum (see `parsed`). What a broken download left is continued; two processes that want
    the same file download it once. Errors: ConfigError for the address, ModelError where the server or the network
    fails, or the file is another one.
    """
    address = parsed(source)
    folder = folder or cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            target = folder / address.name
            if not (target.is_file() and file_hash(target).startswith(address.sha256)):
                _fetch(address, target)
            return target
    except OSError as exc:
        raise ModelError(f"cannot keep {address.url} in {folder}: {exc.strerror or exc}") from exc


def _fetch(address: Address, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _complete(address, part)
    if resumed and not file_hash(part).startswith(address.sha256):
        part.unlink()  # its beginning was another file's
        _complete(address, part)
    found = file_hash(part)
    if not found.startswith(address.sha256):
        part.unlink()
        raise ModelError(
            f"{address.url} has SHA-256 {found[:16]}…, not {address.sha256[:16]}…: another file, or changed on its way"
        )
    put_in_place(part, target)


def _complete(address: Address, part: Path) -> None:
    for _ in range(ATTEMPTS):
        broken = _append(address, part)
        if broken is None:
            return
    raise ModelError(f"{address.url} broke off {ATTEMPTS} times ({broken}): run it again to go on from there")


def _append(address: Address, part: Path) -> str | None:
    """Add to `part` what the server still sends; return why that ended early, if it did."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address.url, headers={"User-Agent": "rtseg"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code == 416 and have:
            return None  # nothing is left to send: the checksum decides
        raise ModelError(f"{address.url}: HTTP {exc.code} {exc.reason}: check the address") from exc
    except (OSError, http.client.HTTPException) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise ModelError(f"{address.url} cannot be reached: {reason}: check the network, or give a file") from exc
    with response:
        continues = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if continues else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open("ab" if continues else "wb") as file, _bar(address.name, have, total) as bar:
            while True:
                try:
                    chunk = response.read(CHUNK_BYTES)
                except (OSError, http.client.HTTPException) as exc:
                    return f"at {have} bytes: {exc}"
                if not chunk:
                    break
                file.write(chunk)
                have += len(chunk)
                bar.update(bar.task_ids[0], completed=have)
    return f"at {have} of {total} bytes" if total is not None and have < total else None


@contextmanager
def _bar(name: str, have: int, total: int | None) -> Iterator[Progress]:
    # Not at the top: the GPU's kernels ask this module where their cache is, and draw nothing.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(name, completed=have, total=total)
        yield bar


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        lock(file)
        yield
