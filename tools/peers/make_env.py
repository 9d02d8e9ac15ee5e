"""Make a virtual environment for each peer whose packages rtseg's own environment does not have or cannot have.

python tools/peers/make_env.py            # tools/peers/envs/model_api and .../supervision, as pinned
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def environments() -> dict[str, Path]:
    """Requirement files by the name of the environment."""
    return {path.stem.removeprefix("requirements-"): path for path in sorted(HERE.glob("requirements-*.txt"))}


def make(name: str, requirements: Path) -> bool:
    """Make or update one environment; whether that worked."""
    folder = HERE / "envs" / name
    stamp = folder / requirements.name
    wanted = requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        print(f"{folder}: up to date")
        return True
    print(f"{folder}: installing {requirements.name} ...", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    done = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements],
        check=False,
    )
    if done.returncode == 0:
        stamp.write_text(wanted, encoding="utf-8")
    return done.returncode == 0


def main() -> int:
    """Make all of them; 1 if one failed."""
    if sys.version_info < (3, 11):
        print("openvino-model-api needs Python 3.11 or newer", file=sys.stderr)
        return 1
    failed = [name for name, requirements in environments().items() if not make(name, requirements)]
    for name in failed:
        print(f"{name} could not be installed: its peers will be left out and named in the report", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
