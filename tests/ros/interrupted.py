"""`rtseg ros` that Ctrl-C meets while a string is executed, as rosbags does: python -m tests.ros.interrupted"""

import sys
from typing import Any

import rtseg.ros.node
from rtseg.cli.main import main


def serve(*_: Any) -> None:
    exec("raise KeyboardInterrupt")


if __name__ == "__main__":
    rtseg.ros.node.serve = serve  # type: ignore[assignment]
    sys.exit(main(["ros", "--image", "/camera/image"]))
