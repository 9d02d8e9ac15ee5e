"""A camera in a window, with the classes drawn over it and the rate and latency in a corner.

python examples/webcam.py                                    # the first camera; q quits, space pauses
python examples/webcam.py drive.mp4                          # or a file, rtsp://…, a folder of images
python examples/webcam.py camera:0 --output out.mp4          # no screen: write a file (Ctrl-C ends it)
"""

import argparse
import sys

import rtseg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="camera:0", help="camera:N, a file, a URL, a folder")
    parser.add_argument("--output", default="window:", help="window: (the default) or a file such as out.mp4")
    parser.add_argument("--limit", type=int, help="end after so many frames")
    args = parser.parse_args()
    try:
        report = rtseg.run(args.source, args.output, hud=True, legend=True, limit=args.limit)
    except rtseg.RtsegError as error:  # one line that says what to do: no camera, no screen, no such file
        sys.exit(f"webcam: {error}")
    latency = report["latency"]["capture_to_overlay_ms"]
    print(
        f"{report['frames']} frames at {report['rate']:.1f} per second, {report['drops']['total']} dropped; "
        f"from capture to overlay {latency['p50']:.1f} ms in the median"
    )


if __name__ == "__main__":
    main()
