"""A window on the screen, and keys to look around with."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Hud, Renderer
from rtseg.drawing.view import View
from rtseg.errors import SinkError, StopRun
from rtseg.files import write_whole
from rtseg.frame import Image, Result, StreamInfo
from rtseg.packages.spec import ModelSpec
from rtseg.sinks._display import screen

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HELP", "WindowSink"]

LOG = logging.getLogger(__name__)
HELP = "q quit, space pause, n step, +/- opacity, v view, l legend, h figures, s screenshot"
PUMP_MS = 30
"""How often the window's events are looked after while paused."""
SCREEN_SHARE = 0.9
KNOWN_VIEWS = (("overlay",), ("mask",), ("split",), ("contour",), ("overlay", "contour"))


class WindowSink:
    """Shows overlays in a window, made smaller where the screen is.

    Keys: q or Esc quit, space pause and go on, `.` or n one frame further, + and - opacity, v next view, l legend,
    h HUD, s screenshot (a PNG in the current folder). Closing the window quits as well. The view is shared with the
    renderer, so a change shows from the next frame on; while paused the frame in the window is redrawn. It runs in
    the loop's thread: a pause holds up the run, and a live source drops frames meanwhile.
    Errors: SinkError where no window can be opened; StopRun when the user quits.
    """

    needs = frozenset({"overlay", "labels", "image"})
    threaded = False

    def __init__(self, target: str, info: StreamInfo, spec: ModelSpec, view: View) -> None:
        self._name = f"rtseg: {target}" if target else "rtseg"
        self._title = target or re.sub(r"//[^/@]*@", "//", info.source)
        self._spec, self._view = spec, view
        self._views = list(dict.fromkeys((view.visualize, *KNOWN_VIEWS)))
        self._screen: tuple[int, int] = (1080, 1920)
        self._shape: tuple[int, ...] = ()
        self._renderer: Renderer | None = None
        self._times: deque[tuple[int, int]] = deque(maxlen=120)
        self._paused = self._step = self._open = False
        self._keys: dict[str, Callable[[], bool]] = {
            **dict.fromkeys("qQ\x1b", self._quit),
            " ": self._pause,
            **dict.fromkeys(".nN", self._one_further),
            **dict.fromkeys("+=", lambda: self._opacity(0.1)),
            **dict.fromkeys("-_", lambda: self._opacity(-0.1)),
            **dict.fromkeys("vV", self._next_view),
            **dict.fromkeys("lL", self._legend),
            **dict.fromkeys("hH", self._hud),
        }

    def __enter__(self) -> Self:
        with screen() as size:
            self._screen = size or self._screen
            try:
                cv2.namedWindow(self._name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
                cv2.setWindowTitle(self._name, f"rtseg: {self._title}")
            except cv2.error as exc:
                raise SinkError(
                    "this OpenCV has no windows: pip install opencv-python (not -headless), or use --headless"
                ) from exc
        self._open = True
        LOG.info("keys in the window: %s", HELP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open and self._visible():
            cv2.destroyWindow(self._name)
            cv2.pollKey()
        self._open = False

    def write(self, result: Result) -> None:
        """Show a result and answer keys; returns when the next frame is wanted."""
        assert result.overlay is not None
        self._times.append((result.t_overlay, result.latency_ns))
        self._show(picture := result.overlay)
        key = cv2.pollKey()
        while True:
            if self._answer(key, picture, result.frame.index) and self._paused:
                self._show(picture := self._redraw(result))
            if not self._visible():
                raise StopRun("the window was closed")
            if self._step or not self._paused:
                self._step = False
                return
            key = cv2.waitKey(PUMP_MS)

    def _show(self, picture: Image) -> None:
        height, width = picture.shape[:2]
        if picture.shape != self._shape:
            scale = min(1.0, SCREEN_SHARE * self._screen[0] / height, SCREEN_SHARE * self._screen[1] / width)
            cv2.resizeWindow(self._name, max(1, round(width * scale)), max(1, round(height * scale)))
            self._shape = picture.shape
        else:
            across, down = cv2.getWindowImageRect(self._name)[2:]
            scale = min(1.0, across / width, down / height) if across > 0 and down > 0 else 1.0
        if scale < 1:  # Qt would leave out rows and columns, and text would be ragged
            method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
            size = max(1, round(width * scale)), max(1, round(height * scale))
            picture = cv2.resize(picture, size, interpolation=method)
        cv2.imshow(self._name, picture)

    def _visible(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._name, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # how some of OpenCV's window systems answer for one that is gone
            return False

    def _redraw(self, result: Result) -> Image:
        if self._renderer is None:
            self._renderer = Renderer(self._spec, resolve_palette(self._view.palette, self._spec), self._view)
        latencies = [latency / 1e6 for _, latency in self._times]
        seconds = (self._times[-1][0] - self._times[0][0]) / 1e9
        fps = (len(self._times) - 1) / seconds if seconds > 0 else None
        p50, p95 = np.percentile(latencies, (50, 95)).tolist()
        assert result.labels is not None
        return self._renderer.draw(result.frame.image, result.labels, Hud(fps, p50, p95, result.drops))

    def _answer(self, key: int, picture: Image, index: int) -> bool:
        """Act on a key; whether the picture has to be redrawn."""
        letter = chr(key & 0xFF) if key >= 0 else ""
        if letter in ("s", "S"):
            self._screenshot(picture, index)
        return letter in self._keys and self._keys[letter]()

    def _quit(self) -> bool:
        raise StopRun("the user quit")

    def _pause(self) -> bool:
        self._paused = not self._paused
        return False

    def _one_further(self) -> bool:
        self._step, self._paused = self._paused, True
        return False

    def _opacity(self, change: float) -> bool:
        self._view.alpha = round(min(1.0, max(0.0, self._view.alpha + change)), 2)
        return True

    def _next_view(self) -> bool:
        here = self._views.index(self._view.visualize) if self._view.visualize in self._views else -1
        self._view.visualize = self._views[(here + 1) % len(self._views)]
        LOG.info("view: %s", ",".join(self._view.visualize))
        return True

    def _legend(self) -> bool:
        self._view.legend = not self._view.legend
        return True

    def _hud(self) -> bool:
        self._view.hud = not self._view.hud
        return True

    def _screenshot(self, picture: Image, index: int) -> None:
        path = Path.cwd() / time.strftime(f"rtseg-%Y%m%d-%H%M%S-{index:06d}.png")
        done, data = cv2.imencode(".png", picture)
        assert done
        try:
            write_whole(path, data.data)
        except SinkError as exc:
            LOG.error("%s", exc)  # a screenshot that failed is no reason to end the run
            return
        LOG.info("screenshot: %s", path)
