"""A web service: POST an image, get its labels back as a PNG of class ids.

    pip install 'rtseg[examples]'
    python examples/fastapi_server.py --port 8000
    curl --data-binary @street.jpg http://127.0.0.1:8000/segment -o labels.png

GET /healthz says whether it is up and which classes the ids mean. A bad image gets a 4xx with one line in `detail`.
"""

import argparse
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image, ImageOps

import rtseg

COUNT = 2  # images at work at the same time, each on one core
NETWORK = (384, 512)  # one size for all: otherwise each new shape of image compiles the network once more
MAX_BYTES, MAX_PIXELS = 10_000_000, 40_000_000  # of the request, and of the picture that it unpacks to
WAIT_S = 10.0  # for a free segmenter, before the client is told to come back later


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with rtseg.SegmenterPool("unet-fast0-camvid", COUNT, size=NETWORK) as app.state.pool:
        app.state.pool.warm_up(NETWORK)  # or the first images would wait for it
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, Any]:
    spec = app.state.pool.spec
    return {"status": "ok", "model": spec.name, "classes": spec.classes}


@app.post("/segment")
async def segment(request: Request) -> Response:
    data = bytearray()
    async for chunk in request.stream():  # so that too much is refused while it arrives, and not kept
        data += chunk
        if len(data) > MAX_BYTES:
            raise HTTPException(413, f"the image has more than {MAX_BYTES} bytes")
    return Response(await run_in_threadpool(labels_of, bytes(data)), media_type="image/png")


def labels_of(data: bytes) -> bytes:
    """In a thread of the server's: the event loop goes on."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise HTTPException(413, f"{opened.width}x{opened.height} is more than {MAX_PIXELS} pixels")
            image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))[..., ::-1]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise HTTPException(422, "this is not an image, or it is damaged or cut off") from error
    try:
        with app.state.pool.take(WAIT_S) as segmenter:
            labels = segmenter(image)
    except rtseg.BackendError as error:
        raise HTTPException(503, str(error)) from error
    png = io.BytesIO()
    Image.fromarray(labels).save(png, "PNG")
    return png.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)
