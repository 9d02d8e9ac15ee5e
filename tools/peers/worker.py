"""One peer in a process of its own: `worker.py MODULE OPTIONS JOB FRAMES`, then a JSON request a line on its input.

Requests: `{"do": "run", "frames": N, "warm": W, "ahead": false}` gives milliseconds per frame from taken to emitted,
wall-clock and CPU seconds; `{"do": "outputs", "indices": [...], "to": FILE}` saves labels and overlays;
`{"do": "paced", "frames": N, "rate": R}` is for peers that have an open loop. It waits for requests without using the
processor.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from job import Array, Job, Peer


def measure(peer: Peer, frames: list[Array], count: int, warm: int, ahead: bool) -> dict[str, Any]:
    """Run `warm + count` frames in closed loop and time the last `count`."""
    taken: list[int] = []
    done: list[int] = []
    cpu: list[float] = []

    def camera() -> Iterator[Array]:
        for index in range(warm + count):
            taken.append(time.perf_counter_ns())
            yield frames[index % len(frames)]

    def emit(labels: Array, overlay: Array) -> None:
        done.append(time.perf_counter_ns())
        cpu.append(time.process_time())

    start, cpu_start = time.perf_counter_ns(), time.process_time()
    peer.run(camera(), emit, ahead=ahead)
    if warm:
        start, cpu_start = done[warm - 1], cpu[warm - 1]
    latencies = [(end - begin) / 1e6 for begin, end in zip(taken, done, strict=True)]
    return {
        "latency_ms": [round(value, 3) for value in latencies[warm:]],
        "seconds": (done[-1] - start) / 1e9,
        "cpu_seconds": cpu[-1] - cpu_start,
        "stages_ms": getattr(peer, "stages_ms", None),
    }


def save_outputs(peer: Peer, frames: list[Array], indices: list[int], path: str) -> dict[str, Any]:
    """Labels and overlays of some frames, as an .npz file; of overlays that differ in size the first only."""
    maps: list[Array] = []
    pictures: list[Array] = []

    def emit(labels: Array, overlay: Array) -> None:
        maps.append(labels.copy())
        pictures.append(overlay.copy())

    peer.run((frames[index] for index in indices), emit)
    same = len({picture.shape for picture in pictures}) == 1
    np.savez(path, labels=np.stack(maps), overlays=np.stack(pictures if same else pictures[:1]))
    return {"saved": len(maps)}


def answer(peer: Any, frames: list[Array], request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request says."""
    if request["do"] == "run":
        return measure(peer, frames, request["frames"], request["warm"], request["ahead"])
    if request["do"] == "outputs":
        return save_outputs(peer, frames, request["indices"], request["to"])
    if request["do"] == "paced":
        looped = (frames[index % len(frames)] for index in range(request["frames"]))
        result: dict[str, Any] = peer.paced(looped, request["rate"])
        return result
    raise ValueError(f"unknown request {request['do']!r}")


def main() -> int:
    """Serve requests until standard input ends."""
    module, options, job_text, frames_file = sys.argv[1:5]
    # Libraries may print: what they say goes to standard error, and only answers to the asker.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fields = json.loads(job_text)
    job = Job(
        model=Path(fields["model"]),
        network=tuple(fields["network"]),
        frame=tuple(fields["frame"]),
        threads=fields["threads"],
        folder=Path(fields["folder"]),
    )
    code = importlib.import_module(module)
    frames = list(np.load(frames_file))
    peer: Peer = code.open_peer(job, **json.loads(options))
    measure(peer, frames, 2, 1, ahead=False)
    ready = {
        "concurrent": peer.concurrent,
        "precision": getattr(peer, "precision", "fp32"),
        "versions": {name: metadata.version(name) for name in code.PACKAGES},
        "python": sys.version.split()[0],
    }
    print(json.dumps(ready), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(peer, frames, json.loads(line))), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
