"""Record a network camera with its overlay, a new MP4 every day, hour or minute, for as long as it runs.

    python examples/rtsp_recorder.py rtsp://camera/stream recordings --every hour

When the camera goes away it is opened again, for ever; the file goes on where it was. Files are named by the time of
their first frame, so a restart overwrites nothing, and get that name when they are complete. Ctrl-C and SIGTERM end it,
and leave the last file playable.
"""

import argparse
import signal
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import rtseg

PERIODS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%d %H", "minute": "%Y-%m-%d %H:%M"}


def record(url: str, folder: Path, every: str = "day", **settings: Any) -> None:
    """Write `folder`/DATE_TIME.mp4 until the stream ends; `settings` are those of `rtseg.stream`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings.setdefault("options", {"reconnect": "forever"})
    period = None
    with ExitStack() as file, rtseg.stream(url, needs=["overlay"], **settings) as stream:
        for result in stream:
            now = datetime.fromtimestamp(result.frame.wall_ns / 1e9)
            if now.strftime(PERIODS[every]) != period:
                file.close()  # which completes the file before
                period = now.strftime(PERIODS[every])
                path = folder / now.strftime("%Y-%m-%d_%H%M%S.mp4")
                sink = file.enter_context(rtseg.open_sink(str(path), stream.info, stream.spec))
            sink.write(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", choices=PERIODS, default="day", help="when a new file begins")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, for systemd and Docker
    try:
        record(args.url, args.folder, args.every)
    except rtseg.RtsegError as error:
        sys.exit(f"rtsp_recorder: {error}")
    except KeyboardInterrupt:
        print(f"the last file in {args.folder} is complete")


if __name__ == "__main__":
    main()
