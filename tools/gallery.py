"""Make the pictures of docs/gallery.md: `python tools/gallery.py [CLIP]`, each by the run whose flags the page shows.

Without a clip the frames are of the synthetic drive alone. The pictures in the repository were made of a highway clip
under the MIT licence; a clip whose licence does not allow its frames there stays out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import rtseg
from rtseg.drawing.palette import PALETTES
from rtseg.drawing.view import VIEWS
from rtseg.files import make_folder, write_text

ROOT = Path(__file__).resolve().parents[1]
WIDTH, QUALITY = 640, 82
PAGE = """# Gallery

Every picture is one run of the default model, with the flags under it. All of them are made anew by
`python tools/gallery.py CLIP`{clip}.
"""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture: its file, what is under it, its output and its configuration."""

    name: str
    title: str
    output: str = "{}.png"
    flags: str = ""
    synthetic: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def sections() -> dict[str, list[Picture]]:
    """What is shown, by heading."""
    views = [
        Picture(f"view-{name}", name, flags=f"--visualize {name}", settings={"visualize": (name,)}) for name in VIEWS
    ]
    # The same frame over and over, so that rate and latency have something to say.
    more = {"visualize": ("overlay", "contour"), "legend": True, "hud": True, "source": {"loop": 40}}
    quiet = {"alpha": 0.8, "hide_class": ("Sky", "Building", "Tree")}
    views += [
        Picture("view-legend", "all of it", flags="--visualize overlay,contour --legend --hud", settings=more),
        Picture("view-hidden", "some classes", flags="--alpha 0.8 --hide-class Sky,Building,Tree", settings=quiet),
    ]
    names = sorted(set(PALETTES.values()), key=lambda name: (name != "street", name))
    palettes = [
        Picture(f"palette-{name}", name, flags=f"--palette {name}", synthetic=True, settings={"palette": name})
        for name in names
    ]
    outputs = [
        Picture("output-overlay", "overlay: videos, images, window", flags="out.mp4", settings={"legend": True}),
        Picture("output-colors", "colours of the classes", "colors:{}.png", "colors:c/%06d.png"),
        Picture("output-labels", "class ids, 255 for none", "labels:{}.png", "labels:ids/%06d.png"),
    ]
    return {"Views": views, "Palettes": palettes, "Outputs": outputs}


def frame_of(source: str, at: int) -> NDArray[np.uint8]:
    """The frame number `at` of an input, HWC uint8 BGR."""
    for result in rtseg.stream(source, needs=(), backend="null", model="", limit=at + 1):
        image = result.frame.image
    return np.array(image)


def made(picture: Picture, frame: Path, folder: Path) -> NDArray[np.uint8]:
    """The picture as the run writes it."""
    output = picture.output.format(folder / f"{picture.name}-%06d")
    rtseg.run_config(rtseg.RunConfig(input=str(frame), output=output, backend="openvino", **picture.settings))
    found = cv2.imread(str(max(folder.glob(f"{picture.name}-*.png"))), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise SystemExit(f"{output} wrote no picture")
    # Ids are small numbers: without more light a label map is black.
    return cv2.convertScaleAbs(found, alpha=20) if picture.output.startswith("labels:") else found


def write(image: NDArray[np.uint8], path: Path) -> int:
    """Save it, WIDTH pixels wide, and return the file's size."""
    height = round(image.shape[0] * WIDTH / image.shape[1])
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return path.stat().st_size


def table(pictures: list[Picture]) -> list[str]:
    """Two pictures a row, as Markdown."""
    lines = ["| | |", "| --- | --- |"]
    for pair in zip(pictures[::2], [*pictures[1::2], None], strict=False):
        shown = [
            f"![{each.title}](gallery/{each.name}.jpg)<br>**{each.title}**: `{each.flags}`" if each else ""
            for each in pair
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def main() -> int:
    """Make the pictures and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", nargs="?", help="a clip of a street")
    parser.add_argument("--at", type=int, default=100, metavar="N", help="which frame of it (default: 100)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of gallery.md (default: docs)")
    args = parser.parse_args()
    target = args.out / "gallery"
    make_folder(target)
    page = [PAGE.format(clip=", on a highway clip (MIT licence) and on `synthetic:drive`" if args.clip else "")]
    total = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cv2.imwrite(str(folder / "made-up.png"), frame_of("synthetic:drive", 40))
        if args.clip:
            cv2.imwrite(str(folder / "clip.png"), frame_of(args.clip, args.at))
        for title, pictures in sections().items():
            for picture in pictures:
                frame = folder / ("clip.png" if args.clip and not picture.synthetic else "made-up.png")
                total += write(made(picture, frame, folder), target / f"{picture.name}.jpg")
            page += [f"## {title}\n", *table(pictures), ""]
    page.append(MORE)
    write_text(args.out / "gallery.md", "\n".join(page))
    print(json.dumps({"pictures": sum(map(len, sections().values())), "bytes": total}))
    return 0


MORE = """The label map is shown twenty times as bright: its values are the ids themselves, 0 to 10.

Viewers show the same arrays with controls of their own: [Foxglove and Rerun](viewers.md), [RViz](ros/rviz.md). What the
node makes of labels and the height of a camera is under [Navigation](navigation.md).
"""


if __name__ == "__main__":
    sys.exit(main())
