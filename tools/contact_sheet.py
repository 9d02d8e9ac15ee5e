"""Frames of a video with their times in one picture: `contact_sheet.py clip.mp4 sheet.png`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from rtseg.drawing.legend import Item, TextBoxes, text_size
from rtseg.frame import Image

GAP = 4
PAPER = 255


def frames(clip: Path, count: int) -> list[tuple[float, Image]]:
    """`count` frames, HWC uint8 BGR, evenly over the clip, each from the middle of its share, with its time in s."""
    with av.open(str(clip)) as container:
        times = [frame.time for frame in container.decode(video=0) if frame.time is not None]
    if not times:
        raise ValueError(f"{clip} has no frames")
    wanted = {min(int((place + 0.5) * len(times) / count), len(times) - 1) for place in range(count)}
    taken: list[tuple[float, Image]] = []
    with av.open(str(clip)) as container:
        timed = (frame for frame in container.decode(video=0) if frame.time is not None)
        for index, frame in enumerate(timed):
            if index in wanted:
                taken.append((times[index] - times[0], frame.to_ndarray(format="bgr24")))
    return taken


def sheet(taken: Sequence[tuple[float, Image]], columns: int, width: int) -> Image:
    """The frames in rows, each `width` pixels wide with its time in its upper right corner, HWC uint8 BGR."""
    height = round(width * taken[0][1].shape[0] / taken[0][1].shape[1])
    rows = -(-len(taken) // columns)
    whole = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, np.uint8)
    text, px = TextBoxes(), max(14, text_size(height, width))
    for place, (seconds, image) in enumerate(taken):
        tile = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        box = text.box([Item(f"{int(seconds // 60)}:{seconds % 60:04.1f}")], px, width)
        if box is not None:
            margin = px // 3
            tile[margin : margin + box.shape[0], width - margin - box.shape[1] : width - margin] = box
        top, left = GAP + place // columns * (height + GAP), GAP + place % columns * (width + GAP)
        whole[top : top + height, left : left + width] = tile
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheet; 1 and a line on standard error where the clip cannot be read or the picture not written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clip", type=Path)
    parser.add_argument("sheet", type=Path, help="a .png or .jpg")
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--width", type=int, default=640, help="of a frame in the sheet, in pixels (default 640)")
    args = parser.parse_args(argv)
    try:
        picture = sheet(frames(args.clip, args.columns * args.rows), args.columns, args.width)
        done, data = cv2.imencode(args.sheet.suffix or ".png", picture)
        args.sheet.write_bytes(data.tobytes())
    except (av.FFmpegError, OSError, ValueError, cv2.error) as exc:
        print(f"no contact sheet of {args.clip}: {str(exc).splitlines()[0]}", file=sys.stderr)
        return 1
    print(f"{args.sheet}: {args.columns}x{args.rows} frames of {args.clip}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
