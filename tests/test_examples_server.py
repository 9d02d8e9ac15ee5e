"""examples/fastapi_server.py: a real server on the loopback, asked by several threads at once."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from fastapi import HTTPException

import rtseg
from rtseg.frame import Image, Labels
from rtseg.sources.synthetic import SyntheticSource
from tests.ros.processes import Process
from tests.tool_modules import tool_modules

pytestmark = pytest.mark.servers

SCENE = SyntheticSource("drive", size=(90, 160)).scene
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NETWORK = (384, 512)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Process(["examples/fastapi_server.py", "--port", "0"], dict(os.environ)) as server:
        line = server.wait_for("Uvicorn running on", 120)
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address
        with httpx.Client(base_url=address[0], timeout=60, trust_env=False) as opened:
            yield opened
        assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM), server.written()
        assert "Application shutdown complete" in server.written() and "Traceback" not in server.written()


def encoded(image: Image, suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def labels_in(response: httpx.Response) -> Labels:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    labels = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels is not None and labels.dtype == np.uint8 and labels.ndim == 2
    return labels


def test_many_threads_get_the_labels_of_their_own_images(client: httpx.Client) -> None:
    images = [SCENE.render(20 * index)[0] for index in range(6)]
    images += [np.ascontiguousarray(image.transpose(1, 0, 2)) for image in images[:2]]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda image: client.post("/segment", content=encoded(image)), images))
    with rtseg.Segmenter(size=NETWORK, threads=1) as segment:
        for image, answer in zip(images, answers, strict=True):
            np.testing.assert_array_equal(labels_in(answer), segment(image))
        assert client.get("/healthz").json() == {
            "status": "ok",
            "model": "unet-fast0-camvid",
            "classes": list(segment.spec.classes),
        }


def test_a_picture_that_lies_on_its_side_is_set_upright(client: httpx.Client) -> None:
    image = SCENE.render(0)[0]
    jpeg = encoded(image, ".jpg")
    # An EXIF block whose one entry says that the first row is the right side (orientation 6).
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert labels_in(client.post("/segment", content=jpeg)).shape == (90, 160)
    assert labels_in(client.post("/segment", content=turned)).shape == (160, 90)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", 422, "this is not an image, or it is damaged or cut off"),
        (b"no image", 422, "this is not an image, or it is damaged or cut off"),
        (encoded(SCENE.render(0)[0])[:5000], 422, "this is not an image, or it is damaged or cut off"),
        (encoded(SCENE.render(0)[0], ".jpg")[:2000], 422, "this is not an image, or it is damaged or cut off"),
        (bytes(10_000_001), 413, "the image has more than 10000000 bytes"),
        (encoded(np.zeros((8000, 6000, 3), np.uint8)), 413, "6000x8000 is more than 40000000 pixels"),
    ],
    ids=["empty", "text", "half a PNG", "half a JPEG", "too long", "too large"],
)
def test_bad_images_get_a_line(client: httpx.Client, data: bytes, code: int, message: str) -> None:
    answer = client.post("/segment", content=data)
    assert (answer.status_code, answer.json()) == (code, {"detail": message})
    assert client.get("/healthz").status_code == 200


def test_a_server_at_its_limit_says_so() -> None:
    with tool_modules(EXAMPLES) as imported, rtseg.SegmenterPool(count=1, size=NETWORK) as pool:
        server = imported("fastapi_server")
        server.WAIT_S, server.app.state.pool = 0.01, pool
        with pool.take(), pytest.raises(HTTPException) as busy:
            server.labels_of(encoded(SCENE.render(0)[0]))
        assert busy.value.status_code == 503
        assert busy.value.detail == "no segmenter of the pool came free within 0.01 s: make the pool larger"
