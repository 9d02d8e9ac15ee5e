"""Two models side by side on one video: a fast one on the left, a more accurate one on the right.

    python examples/two_models.py drive.mp4 compare.mp4

What it costs: the video is decoded once, and each frame passes one network after the other, so it takes the sum of
their times (a camera drops more frames), and memory holds both. In the report the second model is part of the stage
`sink`, which is the body of the loop. `zip(rtseg.stream(clip), rtseg.stream(clip, model=…))` is shorter to write, but
decodes the clip twice, cannot share a camera, and is no faster: the networks still take turns.
"""

import argparse
import dataclasses
import sys
from contextlib import ExitStack
from typing import Any

import numpy as np

import rtseg


def compare(source: Any, output: str, left: str, right: str, limit: int | None = None, **settings: Any) -> list[float]:
    """Write both overlays as one picture; the share of pixels on which the models agree, for each frame."""
    agreement = []
    needs = ("labels", "overlay")
    with (
        rtseg.Segmenter(right, **settings) as second,
        ExitStack() as file,
        rtseg.stream(source, model=left, needs=needs, limit=limit, **settings) as stream,
    ):
        sink = None
        for result in stream:
            other = second.result(result.frame.image, needs=needs)
            agreement.append(float((result.labels == other.labels).mean()))
            if sink is None:  # what the video is like is known with its first frame
                sink = file.enter_context(rtseg.open_sink(output, stream.info, stream.spec))
            sink.write(dataclasses.replace(result, overlay=np.hstack([result.overlay, other.overlay])))
    return agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output", help="a video file")
    parser.add_argument("--left", default="unet-fast0-camvid")
    parser.add_argument("--right", default="unet-lite2-camvid")
    args = parser.parse_args()
    try:
        agreement = compare(args.source, args.output, args.left, args.right)
    except rtseg.RtsegError as error:
        sys.exit(f"two_models: {error}")
    print(f"{len(agreement)} frames; the models agree on {np.mean(agreement):.1%} of the pixels")


if __name__ == "__main__":
    main()
