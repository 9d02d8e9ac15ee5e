"""The page of the worst images: which ones, in which order, and what the pictures show."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtseg.errors import ConfigError
from rtseg.evaluation.metrics import Confusion
from rtseg.evaluation.worst import Worst
from rtseg.packages.spec import ModelSpec

SPEC = ModelSpec(name="<toy>", classes=("road", "car"), output_stride=1, palette=((0, 255, 0), (0, 0, 255)))
SCORES = {"data": "streets", "split": "val", "miou": 0.5, "images": 5, "backend": "null", "precision": "fp32"}
SIZE = (40, 64)


def filled(worst: Worst, wrong_rows: list[int]) -> None:
    """An image for each number: that many of its rows of road are labelled as car."""
    for index, rows in enumerate(wrong_rows):
        truth = np.zeros(SIZE, np.uint8)
        truth[30:], truth[:, :8] = 1, 2  # the left of it is void
        labels = np.where(truth == 1, 1, 0).astype(np.uint8)
        labels[:rows] = 1
        one = Confusion(2, 2)
        one.add(labels, truth)
        worst.add(f"{index}.png", np.full((*SIZE, 3), 128, np.uint8), labels, truth, one)


def pictures(page: str) -> list[NDArray[Any]]:
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]


def test_the_worst_come_first(tmp_path: Path) -> None:
    worst = Worst(tmp_path / "page.html", 3)
    filled(worst, [2, 20, 0, 10, 1])
    worst.write(SPEC, SCORES)
    page = (tmp_path / "page.html").read_text()
    assert re.findall(r"<h2>(\S+): mIoU", page) == ["1.png", "3.png", "0.png"]
    assert "<h1>&lt;toy&gt; on streets val</h1>" in page
    assert "weakest: road 0.33, car 0.33" in page  # of 10 rows of car and 30 of road, 20 are wrong
    assert "http" not in page


def test_pictures_show_labels_truth_and_errors(tmp_path: Path) -> None:
    worst = Worst(tmp_path / "page.html", 1)
    filled(worst, [20])
    worst.write(SPEC, SCORES)
    image, labels, truth, wrong = pictures((tmp_path / "page.html").read_text())
    inside = np.s_[4:16, 24:56]
    np.testing.assert_allclose(image[inside].mean((0, 1)), 128, atol=3)
    blue, green, red = labels[inside].mean((0, 1))  # car is blue
    assert blue > 180
    assert max(green, red) < 80
    assert truth[inside].mean((0, 1))[1] > 180  # road is green
    assert wrong[inside].mean((0, 1))[2] > 180  # red
    assert wrong[24:28, 24:56].mean() == pytest.approx(64, abs=3)  # right: the picture, dimmed
    assert wrong[:, :6].mean() < 8  # void


def test_an_image_of_void_alone_is_no_bad_one(tmp_path: Path) -> None:
    worst = Worst(tmp_path / "page.html", 2)
    worst.add(
        "void.png",
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.full((8, 8), 2, np.uint8),
        Confusion(2, 2),
    )
    filled(worst, [5])
    worst.write(SPEC, SCORES)
    assert re.findall(r"<h2>(\S+): mIoU", (tmp_path / "page.html").read_text()) == ["0.png"]


def test_what_cannot_be_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"its name must end in \.html"):
        Worst(tmp_path / "page.pdf")
    with pytest.raises(ConfigError, match="there is no folder"):
        Worst(tmp_path / "nowhere" / "page.html")
    with pytest.raises(ConfigError, match="0 worst images"):
        Worst(tmp_path / "page.html", 0)
