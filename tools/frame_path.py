"""Draw docs/frame-path.svg: what becomes of a frame between source and sinks, with the arrays themselves as pictures.

    python tools/frame_path.py CLIP

The colours hold on white and on dark pages alike, since a picture inside a page cannot know which of the two it is on.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import rtseg

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1180, 396
BOX, GAP, LEFT, TOP = 132, 34, 26, 62
THUMB = (112, 63)
INK, DIM, LINE = "#f4f6fa", "#b9c4d6", "#74839c"
THREADS = {"capture": "#24506b", "loop": "#343f6e", "sinks": "#5a3d66"}
STEPS = (
    # thread, title, array, stage of the report, room
    ("capture", "frame", "H×W×3 uint8 BGR", "", "sources/"),
    ("capture", "mailbox", "bounded, drops counted", "capture", "pipeline/"),
    ("loop", "preprocess", "1×3×h×w float32", "preprocess", "kernels/"),
    ("loop", "network", "C×h/s×w/s scores", "infer", "backends/"),
    ("loop", "labels", "H×W uint8, exact", "labels", "kernels/"),
    ("loop", "draw", "H×W×3 uint8 BGR", "render", "drawing/"),
    ("sinks", "sinks", "files · windows · topics", "sink", "sinks/"),
)


def arrays(clip: str, at: float) -> dict[str, NDArray[Any]]:
    """Pictures of what each step leaves behind, by the steps' titles; the mailbox and the sinks have none."""
    with rtseg.open_source(clip, {"start": at}) as source:
        frame = next(iter(source)).image
    with rtseg.Segmenter(rtseg.open_backend("openvino", "unet-fast0-camvid")) as segment:
        tensor = segment.preprocess(frame)[0]
        segment.backend.submit(tensor)
        scores = np.array(segment.backend.collect())
        network = tensor[0].transpose(1, 2, 0)[:, :, ::-1]
        network = 255 * (network - network.min()) / np.ptp(network)
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(f"{folder}/frame.png", frame)
        outputs = (f"colors:{folder}/labels_%06d.png", f"{folder}/draw_%06d.png")
        rtseg.run_config(rtseg.RunConfig(input=f"{folder}/frame.png", output=outputs, backend="openvino"))
        labels, drawn = (cv2.imread(str(next(Path(folder).glob(f"{name}_*.png")))) for name in ("labels", "draw"))
    best = scores.argmax(0)
    grid = cv2.resize(labels, best.shape[::-1], interpolation=cv2.INTER_NEAREST)
    colours = {int(index): np.median(grid[best == index], axis=0) for index in np.unique(best)}
    coarse = np.array([[colours[int(index)] for index in row] for row in best], np.uint8)
    return {"frame": frame, "preprocess": network.astype(np.uint8), "network": coarse, "labels": labels, "draw": drawn}


def thumbnail(image: NDArray[Any], x: float, y: float) -> str:
    """An <image> with the picture in it, at twice the size it is shown at; `network` keeps its cells."""
    width, height = (2 * side for side in THUMB)
    method = cv2.INTER_AREA if image.shape[1] > width else cv2.INTER_NEAREST
    small = cv2.resize(image, (width, height), interpolation=method)
    data = base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()).decode()
    return f'<image x="{x:.0f}" y="{y}" width="{THUMB[0]}" height="{THUMB[1]}" href="data:image/jpeg;base64,{data}"/>'


def text(x: float, y: float, words: str, size: float, colour: str, *, weight: int = 400, anchor: str = "middle") -> str:
    """One line of text."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def arrow(x: float, y: float, to: float) -> str:
    """A level arrow."""
    return (
        f'<path d="M{x:.0f} {y}H{to - 7:.0f}" stroke="{LINE}" stroke-width="2.5" fill="none"/>'
        f'<path d="M{to:.0f} {y}l-9 -5v10z" fill="{LINE}"/>'
    )


def bracket(x: float, to: float, y: float, words: str) -> str:
    """A span of time under the boxes, named below it."""
    return f'<path d="M{x:.0f} {y - 7}V{y}H{to:.0f}V{y - 7}" stroke="{LINE}" stroke-width="1.5" fill="none"/>' + text(
        (x + to) / 2, y + 16, words, 12.5, LINE, weight=600
    )


def mailbox(x: float, y: float) -> str:
    """Frames waiting, the oldest one dropped."""
    parts = []
    for index, opacity in enumerate((0.25, 0.6, 1.0)):
        left = x + 6 + 30 * index
        dash = ' stroke-dasharray="4 3"' if index == 0 else ""
        parts.append(
            f'<rect x="{left:.0f}" y="{y + 14}" width="42" height="34" rx="3" fill="#7fb4d0" '
            f'fill-opacity="{opacity * 0.6}" stroke="{INK}" stroke-opacity="{opacity}"{dash}/>'
        )
    return "".join(parts)


def outlets(x: float, y: float) -> str:
    """The kinds of sinks, one under the other."""
    kinds = ("video, images, labels", "window, live viewers", "MCAP, ROS 2, statistics")
    return "".join(
        f'<rect x="{x - 2:.0f}" y="{y + 21 * index}" width="{THUMB[0] + 4}" height="18" rx="3" fill="#8a6a97"/>'
        + text(x + THUMB[0] / 2, y + 13 + 21 * index, kind, 9, INK)
        for index, kind in enumerate(kinds)
    )


def draw(pictures: dict[str, NDArray[Any]]) -> str:
    """The whole SVG."""
    at = [LEFT + index * (BOX + GAP) for index in range(len(STEPS))]
    parts = []
    spans = {name: [x for x, step in zip(at, STEPS, strict=True) if step[0] == name] for name in THREADS}
    titles = {"capture": "capture thread", "loop": "the loop: one thread", "sinks": "a thread each"}
    for name, xs in spans.items():
        left, right = xs[0] - 12, xs[-1] + BOX + 12
        parts.append(
            f'<rect x="{left}" y="{TOP - 52}" width="{right - left}" height="216" rx="12" fill="{THREADS[name]}" '
            f'fill-opacity="0.16" stroke="{THREADS[name]}" stroke-opacity="0.75"/>'
        )
        parts.append(text(left + 14, TOP - 29, titles[name], 14, LINE, weight=600, anchor="start"))
    for index, (x, (thread, title, array, _, room)) in enumerate(zip(at, STEPS, strict=True)):
        parts.append(f'<rect x="{x}" y="{TOP - 14}" width="{BOX}" height="164" rx="8" fill="{THREADS[thread]}"/>')
        middle, inner = x + BOX / 2, x + (BOX - THUMB[0]) / 2
        parts.append(text(middle, TOP + 8, title, 15, INK, weight=700))
        if title in pictures:
            parts.append(thumbnail(pictures[title], inner, TOP + 20))
        else:
            parts.append((mailbox if title == "mailbox" else outlets)(inner, TOP + 20))
        parts.append(text(middle, TOP + 104, array, 10.4, INK))
        parts.append(text(middle, TOP + 132, room, 11.5, DIM, weight=600))
        if index:
            parts.append(arrow(at[index - 1] + BOX + 3, TOP + 51, x - 3))
    y = TOP + 190
    for x, (_, _, _, stage, _) in zip(at, STEPS, strict=True):
        if stage:
            left = x - GAP / 2 + 3 if stage != "capture" else x
            parts.append(bracket(left, x + BOX + GAP / 2 - 3 if stage != "sink" else x + BOX, y, stage))
    parts.append(
        bracket(at[1], at[5] + BOX + GAP / 2 - 3, y + 46, "latency: from the frame in hand to the overlay in hand")
    )
    left, right = at[2] - 12, at[5] + BOX + 12
    middle, inside = (
        (left + right) / 2,
        "upload · preprocess · network · labels · draw · download, all in device memory",
    )
    parts.append(f'<rect x="{left}" y="{y + 80}" width="{right - left}" height="44" rx="8" fill="#3d6332"/>')
    parts.append(text(middle, y + 99, "on an NVIDIA GPU: one CUDA graph per frame", 13, INK, weight=700))
    parts.append(text(middle, y + 116, inside, 11.5, "#d3e3cd"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\">"
        "<title>The path of a frame through rtseg</title>" + "\n".join(parts) + "</svg>\n"
    )


def main() -> int:
    """Draw the picture from a frame of a clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", help="a clip of a street, of a licence that allows its frame in the repository")
    parser.add_argument("--at", type=float, default=4.0, metavar="SECONDS", help="which frame (default: 4.0)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "frame-path.svg")
    args = parser.parse_args()
    args.out.write_text(draw(arrays(args.clip, args.at)), encoding="utf-8")
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
