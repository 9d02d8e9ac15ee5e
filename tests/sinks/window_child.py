"""A run with a window, driven by the tests' key presses: prints what happens, one word-separated line each.

`picture SHAPE B,G,R` for every picture shown (its size and the colour at its middle), `frame N STATE` after every
result, `end REASON` when the run is over.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import cv2
import numpy as np

from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.errors import RtsegError, StopRun
from tests.sinks.results import SPEC, open_to, result


def say(*words: Any) -> None:
    print(*words, flush=True)


def main(height: int, width: int) -> None:
    logging.basicConfig(level=logging.INFO, format="log %(message)s", stream=sys.stdout)
    show = cv2.imshow

    def imshow(name: str, picture: Any) -> None:
        show(name, picture)
        middle = picture[picture.shape[0] // 2, -picture.shape[1] // 4].tolist()
        say("picture", "x".join(map(str, picture.shape[:2])), ",".join(map(str, middle)))

    cv2.imshow = imshow
    view = View()
    renderer = Renderer(SPEC, resolve_palette(None, SPEC), view)
    image, labels = np.full((height, width, 3), 100, np.uint8), np.zeros((height, width), np.uint8)
    try:
        with open_to("window:", view=view) as sink:
            say("open", *cv2.getWindowImageRect("rtseg")[2:])
            for index in range(10**6):
                done = result(index, image=image, labels=labels)
                object.__setattr__(done, "overlay", renderer.draw(image, labels))
                sink.write(done)
                state = ",".join(view.visualize), view.alpha, view.legend, view.hud
                say("frame", index, *state, *cv2.getWindowImageRect("rtseg")[2:])
                time.sleep(0.01)
    except (StopRun, RtsegError, KeyboardInterrupt) as exc:
        say("end", type(exc).__name__, exc)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
