"""Segment a folder of images: a label PNG for each, and a CSV with the share of every class.

    python examples/batch_folder.py photos labels

A label PNG holds class ids (0, 1, 2 …), which look black to the eye: the CSV's columns name them in their order.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import cv2

import rtseg


def label_folder(folder: Path, out: Path, **settings: Any) -> int:
    """Write `out`/NAME.png for every image, and `out`/shares.csv; returns how many there were."""
    out.mkdir(parents=True, exist_ok=True)
    if out.samefile(folder):
        raise rtseg.ConfigError(f"the labels would overwrite the images of {folder}: give another folder")
    names: set[str] = set()
    with (out / "shares.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        # A damaged image is left out with a warning; without the option it would end the run.
        for result in rtseg.stream(folder, needs=["labels", "areas"], options={"on_error": "skip"}, **settings):
            if not names:
                table.writerow(["file", *result.classes])
            path = result.frame.path
            if path.stem in names:
                raise rtseg.ConfigError(f"two images of {folder} are called {path.stem}: rename one")
            names.add(path.stem)
            cv2.imwrite(str(out / f"{path.stem}.png"), result.labels)
            table.writerow([path.name, *(f"{share:.6f}" for share in result.areas)])
    return len(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    try:
        print(f"{label_folder(args.folder, args.out)} images labelled in {args.out}")
    except rtseg.RtsegError as error:
        sys.exit(f"batch_folder: {error}")


if __name__ == "__main__":
    main()
