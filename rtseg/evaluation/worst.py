"""The images that a model labels worst, as a page to look at."""

from __future__ import annotations

import base64
import heapq
import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtseg.drawing.palette import resolve_palette
from rtseg.errors import ConfigError
from rtseg.evaluation.metrics import Confusion
from rtseg.files import write_text
from rtseg.frame import Image, Labels
from rtseg.kernels import cpu as kernels
from rtseg.packages.spec import ModelSpec

__all__ = ["Worst"]

ALPHA = 150
WRONG = (40, 40, 230)
"""BGR of a pixel that is wrong."""
LARGEST = 640
"""The longer side of a picture on the page."""

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }}
body {{ margin: 1.5rem }}
.classes span {{ display: inline-block; margin-right: 1rem }}
.classes i {{ display: inline-block; width: .9em; height: .9em; margin-right: .35em; border: 1px solid GrayText }}
.row {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; margin: .3rem 0 1.6rem }}
figure {{ margin: 0 }} img {{ width: 100%; display: block }} figcaption {{ color: GrayText; font-size: .85em }}
h2 {{ font-size: 1.05rem; margin: 0 }} p {{ margin: .3rem 0 }}
</style>
"""


class Worst:
    """Keeps the `count` images of lowest mIoU and writes them as one HTML file without anything outside of it.

    Errors: ConfigError for a count below 1 or a file whose name or folder does not do.
    """

    def __init__(self, path: Path, count: int = 12) -> None:
        if count < 1:
            raise ConfigError(f"{count} worst images asked for: expected 1 or more")
        if path.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"the page {path} is HTML: its name must end in .html")
        if not path.parent.is_dir():
            raise ConfigError(f"there is no folder {path.parent} for the page: create it first")
        self.path, self.count = path, count
        self._kept: list[tuple[float, int, str, Image, Labels, Labels, NDArray[np.float64]]] = []
        self._seen = 0

    def add(self, name: str, image: Image, labels: Labels, truth: Labels, confusion: Confusion) -> None:
        """Look at an image, HW3 uint8 BGR, its labels and truth, HW, and their confusion."""
        self._seen += 1
        if not confusion.matrix.any():  # nothing but void
            return
        entry = (-confusion.mean_iou(), -self._seen, name, image, labels.copy(), truth, confusion.iou())
        if len(self._kept) < self.count:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def write(self, spec: ModelSpec, scores: dict[str, Any]) -> None:
        """Write the page, the worst image first."""
        colors = resolve_palette(None, spec).colors.copy()
        colors[len(spec.classes) :] = 0  # void, and what was given no class
        title = f"{spec.name} on {scores['data']} {scores['split']}"
        classes = "".join(
            f'<span><i style="background:rgb({red},{green},{blue})"></i>{html.escape(name)}</span>'
            for name, (blue, green, red) in zip(spec.classes, colors.tolist(), strict=False)
        )
        parts = [
            HEAD.format(title=html.escape(title)),
            f"<h1>{html.escape(title)}</h1>",
            f"<p>mIoU {scores['miou']:.4f} over {scores['images']} images ({html.escape(scores['backend'])}, "
            f"{html.escape(scores['precision'])}); the {len(self._kept)} worst of them, by their own mIoU.</p>",
            f'<p class="classes">{classes}</p>',
        ]
        for negative, _, name, image, labels, truth, iou in sorted(self._kept, reverse=True, key=lambda e: e[:2]):
            order = [index for index in np.argsort(iou) if not np.isnan(iou[index])][:3]
            weakest = ", ".join(f"{html.escape(spec.classes[index])} {iou[index]:.2f}" for index in order)
            parts.append(f"<h2>{html.escape(name)}: mIoU {-negative:.3f}</h2><p>weakest: {weakest}</p>")
            parts.append('<div class="row">')
            for caption, picture in _pictures(image, labels, truth, colors, len(spec.classes)):
                parts.append(f'<figure><img alt="{caption}" src="{_data_uri(picture)}">')
                parts.append(f"<figcaption>{caption}</figcaption></figure>")
            parts.append("</div>")
        write_text(self.path, "\n".join(parts) + "\n")


def _pictures(
    image: Image, labels: Labels, truth: Labels, colors: NDArray[np.uint8], classes: int
) -> list[tuple[str, Image]]:
    """The image, its labels, the truth, and where the two differ."""
    alpha = np.full(256, ALPHA, np.uint8)
    void = truth >= classes
    wrong = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) // 2
    wrong[(labels != truth) & ~void] = WRONG
    wrong[void] = 0
    return [
        ("image", image),
        ("labels", kernels.blend(image, labels, colors, alpha)),
        ("truth (void black)", kernels.blend(image, truth, colors, alpha)),
        ("wrong in red", np.asarray(wrong, np.uint8)),
    ]


def _data_uri(picture: Image) -> str:
    factor = LARGEST / max(picture.shape[:2])
    if factor < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
