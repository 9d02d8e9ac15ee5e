"""Builds the sdist and, out of it, the wheel; checks what is in them; installs the wheel for every Python that is here.

    python tools/check_wheel.py                      # all of it, into dist/
    python tools/check_wheel.py --wheel dist/x.whl --python python3.12   # one interpreter, with a wheel that is there

In a fresh environment, away from the checkout, the wheel must be imported, `rtseg check --json` must find a backend
that works and the models of the wheel, and with each of them `rtseg run synthetic:drive null: --limit 5` must make its
frames. Ends with a line for each Python of 3.10 to 3.14: which version ran with which packages, or that it is not here.
Exit code 1 where something failed, or nothing ran.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SHOWN = ("numpy", "opencv-python", "av", "numba", "openvino")
PARTS = ("model.onnx", "spec.json", "CARD.md", "eval.json")
"""Files of a model package that are shipped."""
SECONDS = 900


class Failed(Exception):
    """What is wrong, in one line or with the output of the command that failed."""


def called(words: Sequence[str | Path], folder: Path) -> str:
    """Standard output of a command that must succeed; it sees neither this environment nor the checkout."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=kept, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def built(out: Path) -> Path:
    """The new wheel in `out`, built from the new sdist beside it, both with metadata that an index takes."""
    with tempfile.TemporaryDirectory() as folder:
        called([sys.executable, "-m", "build", "--outdir", folder, ROOT], ROOT)
        files = sorted(Path(folder).iterdir())
        called([sys.executable, "-m", "twine", "check", "--strict", *files], ROOT)
        out.mkdir(parents=True, exist_ok=True)
        wheel, _ = sorted((Path(shutil.copy2(file, out)) for file in files), key=lambda file: file.suffix != ".whl")
    return wheel


def models() -> set[str]:
    """Names of the model packages that the checkout holds."""
    return {path.parent.name for path in (ROOT / "engines").glob("*/model.onnx")}


def check_contents(wheel: Path) -> None:
    """Errors: Failed where the wheel is not pure Python, or lacks a file of the package or of a model."""
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise Failed(f"{wheel.name} is not pure Python")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    wanted = {f"rtseg/engines/{name}/{part}" for name in models() for part in PARTS}
    files = (path for path in (ROOT / "rtseg").rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    wanted |= {path.relative_to(ROOT).as_posix() for path in files}
    if missing := sorted(wanted - names):
        raise Failed(f"{wheel.name} lacks {', '.join(missing)}")
    if extra := sorted(name for name in names if not name.startswith(("rtseg/", "rtseg-"))):
        raise Failed(f"{wheel.name} would also install {', '.join(extra)}")


def pythons() -> dict[str, Path]:
    """The interpreters of this machine by version, from PATH and from where pyenv and uv keep them."""
    found: dict[str, Path] = {}
    homes = [Path.home() / ".pyenv" / "versions", Path.home() / ".local" / "share" / "uv" / "python"]
    for version in PYTHONS:
        name = shutil.which(f"python{version}")
        kept = (path for home in homes for path in sorted(home.glob(f"*{version}.*/bin/python{version}"), reverse=True))
        for path in [*([Path(name)] if name else []), *kept]:
            if version_of(path) == version:
                found[version] = path
                break
    return found


def version_of(python: Path) -> str | None:
    """Major and minor version of an interpreter; None where it does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def checked(wheel: Path, python: Path) -> str:
    """What the wheel ran with in a fresh environment of `python`. Errors: Failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        called([python, "-m", "venv", folder / "venv"], folder)
        bin_folder = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        own = bin_folder / "python"
        called([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], folder)
        where = called([own, "-c", "import rtseg; print(rtseg.__file__)"], folder).strip()
        if not Path(where).resolve().is_relative_to(folder.resolve()):
            raise Failed(f"rtseg was imported from {where}, not from the wheel")
        report = json.loads(called([bin_folder / "rtseg", "check", "--json"], folder))
        if not report["ok"]:
            raise Failed(f"no backend works: {report['backends']}")
        if lost := models() - set(report["models"]):
            raise Failed(f"installed, rtseg does not find {', '.join(sorted(lost))}")
        for model in sorted(models()):
            words = ["run", "synthetic:drive", "null:", "--limit", "5", "--model", model, "--json"]
            frames = json.loads(called([bin_folder / "rtseg", *words], folder))["frames"]
            if frames != 5:
                raise Failed(f"rtseg {' '.join(words)} made {frames} frames")
        versions = report["versions"]
        return ", ".join(f"{package} {versions[package]}" for package in ("python", *SHOWN))


def report(wheel: Path, found: dict[str, Path], named: Iterable[str] = PYTHONS) -> int:
    """Check every interpreter and print a line for each version; the exit code."""
    failures = ran = 0
    for version in named:
        if version not in found:
            print(f"{version}: not run: no such Python here", flush=True)
            continue
        ran += 1
        try:
            print(f"{version}: works: {checked(wheel, found[version])}", flush=True)
        except (Failed, subprocess.TimeoutExpired) as exc:
            failures += 1
            print(f"{version}: FAILED: {exc}", flush=True)
    if not ran:
        print("no Python to run the wheel with: give one with --python")
    return 1 if failures or not ran else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Build unless a wheel is given, then check; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for sdist and wheel")
    parser.add_argument("--wheel", type=Path, help="check this wheel instead of building one")
    parser.add_argument("--python", action="append", default=[], help="an interpreter (default: all that are here)")
    parser.add_argument("--build-only", action="store_true", help="build and look into the files; install nothing")
    args = parser.parse_args(argv)
    found = pythons() if not args.python else {}
    for name in args.python:
        path = Path(shutil.which(name) or name)
        version = version_of(path)
        if version is None:
            parser.error(f"{name} is no Python that starts")
        found[version] = path
    try:
        wheel = (args.wheel or built(args.out)).resolve()
        check_contents(wheel)
    except (Failed, subprocess.TimeoutExpired, OSError) as exc:
        print(f"FAILED: {exc}")
        return 1
    print(
        f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, pure Python, with {', '.join(sorted(models()))}",
        flush=True,
    )
    return 0 if args.build_only else report(wheel, found, sorted(found) if args.python else PYTHONS)


if __name__ == "__main__":
    sys.exit(main())
