"""Compare rtseg with its peers: same clip, model, network size, threads and machine, in turn, in one run.

    python tools/peers/make_env.py
    python tools/peers/run.py CLIP --out docs/bench/peers.json
    python tools/peers/report.py

Every contender is a process that lives through the whole comparison with the frames in its memory and waits while
others work. A round is one turn of each: some frames to warm up, then frames one at a time (capture-to-overlay and CPU
time), then as fast as it can where that differs. rtseg's turn ends with an open loop at 70 % of the peak rate it just
had. Ratios are taken within a round, so that what else the machine does hits both sides.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from contenders import CONTENDERS, Contender, interpreter
from job import Array

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCHEMA = "rtseg.peers/1"
REFERENCE = "rtseg-fp32"
OPEN_LOOP = 0.7
"""The part of the peak rate at which the open loop runs."""
START_SECONDS = 300.0


class PeerError(RuntimeError):
    """A peer does not run here; the text is what it said."""


@dataclass
class Worker:
    """A contender's process, and what it said when it was ready."""

    contender: Contender
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(START_SECONDS)
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise PeerError(said[-1] if said else f"it ended with {self.process.returncode} and said nothing")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(contender: Contender, job: dict[str, Any], frames: Path, folder: Path) -> Iterator[Worker]:
    """A worker that is ready; PeerError if it does not come up."""
    python = interpreter(contender, Path(sys.executable))
    if not python.is_file():
        raise PeerError(f"no environment {contender.environment}: run tools/peers/make_env.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not contender.environment:
        environment["PYTHONPATH"] = str(ROOT)
    log = folder / f"{contender.key}.log"
    command = [python, HERE / "worker.py", contender.module, json.dumps(contender.options), json.dumps(job), frames]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    try:
        worker = Worker(contender, process, log, {})
        worker.ready = worker.answer()
        yield worker
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_frames(clip: Path, frame: tuple[int, int], count: int) -> Array:
    """The first `count` frames of a clip, scaled to `frame` (height, width) where it has another size."""
    from rtseg.sources.file import FileSource

    with FileSource(str(clip)) as source:
        images = [image.image for _, image in zip(range(count), source, strict=False)]
    if not images:
        raise SystemExit(f"{clip} has no frames")
    size = (frame[1], frame[0])
    return np.stack(
        [
            image if image.shape[:2] == frame else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            for image in images
        ]
    )


def agreement(labels: Array, reference: Array) -> float:
    """The share of labels that are equal."""
    return round(float((labels == reference).mean()), 6)


def overlay_match(overlays: Array, frames: Array, labels: Array, palette: Array) -> float | None:
    """The share of pixels within 2 levels of half the frame and half the labels' colours; None for another shape."""
    if overlays.shape != frames.shape:
        return None
    wanted = (frames.astype(np.int16) + palette[labels]) // 2
    return round(float((np.abs(overlays.astype(np.int16) - wanted).max(axis=-1) <= 2).mean()), 6)


def check_outputs(
    workers: list[Worker], frames: Array, palette: Array, job: dict[str, Any], frames_file: Path, folder: Path
) -> dict[str, dict[str, Any]]:
    """What each contender's labels and overlays are, compared with rtseg's exact ones in float32.

    `agreement_same_resize` compares with rtseg made to stretch the frame without antialiasing, as the peers do: what is
    left is the difference of the upsampling and of the arithmetic.
    """
    indices = sorted({0, len(frames) // 3, 2 * len(frames) // 3, len(frames) - 1})
    outputs: dict[str, Any] = {}
    for worker in workers:
        path = folder / f"{worker.contender.key}.npz"
        worker.ask(do="outputs", indices=indices, to=str(path))
        with np.load(path) as saved:
            outputs[worker.contender.key] = {name: saved[name] for name in ("labels", "overlays")}
        path.unlink()
    stretched = Contender(
        "stretched", "", "rtseg_pipeline", "", {"precision": "fp32", "fit": "stretch", "antialias": False}
    )
    with started(stretched, job, frames_file, folder) as worker:
        path = folder / "stretched.npz"
        worker.ask(do="outputs", indices=indices, to=str(path))
        with np.load(path) as saved:
            same_resize = saved["labels"]
    exact = outputs[REFERENCE]["labels"]
    return {
        key: {
            "label_map": [*output["labels"].shape[1:], str(output["labels"].dtype)],
            "overlay": [*output["overlays"].shape[1:], str(output["overlays"].dtype)],
            "agreement": agreement(output["labels"], exact),
            "agreement_same_resize": agreement(output["labels"], same_resize),
            "overlay_match": overlay_match(output["overlays"], frames[indices], output["labels"], palette),
        }
        for key, output in outputs.items()
    }


def busy(process: str = "") -> float:
    """CPU seconds used so far by a process, with its threads, or by the whole machine and its hypervisor's others."""
    ticks = float(os.sysconf("SC_CLK_TCK"))
    if process:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks
    user, nice, system, _, _, irq, softirq, steal = Path("/proc/stat").read_text(encoding="utf-8").split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / ticks


def turn(worker: Worker, count: int, warm: int, paced: int) -> dict[str, Any]:
    """A contender's turn, and how many cores all that is not the contender used meanwhile (Linux only)."""
    known = Path("/proc/stat").is_file()
    start, mine = time.monotonic(), str(worker.process.pid)
    before = busy() - busy(mine) if known else 0.0
    row = timings(worker, count, warm, paced)
    others = (busy() - busy(mine) - before) / (time.monotonic() - start) if known else None
    row["others_cores"] = None if others is None else round(others, 2)
    return row


def timings(worker: Worker, count: int, warm: int, paced: int) -> dict[str, Any]:
    """What a turn takes; rates are frames per second, the rest milliseconds per frame."""
    one = worker.ask(do="run", frames=count, warm=warm, ahead=False)
    fast = one
    if worker.ready["concurrent"]:
        fast = worker.ask(do="run", frames=count, warm=warm, ahead=True)
    row = {
        "p50_ms": round(median(one["latency_ms"]), 3),
        "latency_ms": one["latency_ms"],
        "cpu_ms": round(1000 * one["cpu_seconds"] / count, 2),
        "rate": round(count / fast["seconds"], 3),
    }
    if one["stages_ms"]:
        row["stages_ms"] = one["stages_ms"]
    if worker.contender.key == "rtseg" and paced:
        rate = OPEN_LOOP * row["rate"]
        row["open_loop"] = {"rate": round(rate, 3), **worker.ask(do="paced", frames=paced, rate=rate)}
    return row


def git(*words: str) -> str:
    """What git says, without the line's end; empty where it says nothing."""
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()


def load() -> list[float]:
    """The system's load averages."""
    return [round(value, 2) for value in os.getloadavg()]


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start everything, check the outputs, take the turns."""
    from rtseg.geometry import follow_aspect
    from rtseg.packages.spec import find_package
    from rtseg.report import machine

    package = find_package(args.model)
    assert package.spec is not None, f"{args.model} has no spec.json"
    spec = package.spec
    network = follow_aspect(args.frame, spec.short_side or 512, spec.multiple)
    frames = read_frames(args.clip, args.frame, args.distinct)
    frames_file = folder / "frames.npy"
    np.save(frames_file, frames)
    palette = np.array(spec.palette, np.uint8)[:, ::-1]
    job = {
        "model": str(package.path),
        "network": network,
        "frame": args.frame,
        "threads": args.threads,
        "folder": str(folder),
    }
    started_at, load_before = time.strftime("%Y-%m-%d %H:%M:%S"), load()
    missing: dict[str, str] = {}
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        workers = []
        for contender in CONTENDERS:
            if args.only and contender.key not in args.only:
                continue
            print(f"starting {contender.key} ...", file=sys.stderr, flush=True)
            try:
                workers.append(stack.enter_context(started(contender, job, frames_file, folder)))
            except PeerError as exc:
                missing[contender.key] = str(exc)
                print(f"{contender.key} does not run here: {exc}", file=sys.stderr)
        outputs = check_outputs(workers, frames, palette, job, frames_file, folder)
        end = time.monotonic() + 60 * args.minutes
        for index in range(args.rounds):
            if time.monotonic() > end:
                break
            # The order turns, so that nobody always follows the same neighbour.
            order = workers[index % len(workers) :] + workers[: index % len(workers)]
            turns = {worker.contender.key: turn(worker, args.frames, args.warm, args.paced) for worker in order}
            rounds.append(turns)
            line = "  ".join(f"{key} {row['p50_ms']:.0f}" for key, row in sorted(turns.items()))
            print(f"round {index + 1}/{args.rounds}, ms: {line}", file=sys.stderr, flush=True)
        facts = {worker.contender.key: worker.ready for worker in workers}
    return {
        "schema": SCHEMA,
        "command": " ".join(["python", *sys.argv]),
        "revision": git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
        "date": started_at,
        "machine": {name: value for name, value in machine().items() if name != "libraries"},
        "load": {"before": load_before, "after": load()},
        "clip": {"name": args.clip.name, "sha256": hashlib.sha256(args.clip.read_bytes()).hexdigest()},
        "model": {"name": spec.name, "sha256": hashlib.sha256(package.path.read_bytes()).hexdigest()},
        "frame": args.frame,
        "network": network,
        "threads": args.threads,
        "frames_per_turn": args.frames,
        "warm_up_frames": args.warm,
        "contenders": {key: {**fact, **outputs[key], "missing": None} for key, fact in facts.items()}
        | {key: {"missing": reason} for key, reason in missing.items()},
        "rounds": rounds,
    }


def size(text: str) -> tuple[int, int]:
    """(height, width) from "HxW"."""
    from rtseg.geometry import parse_size

    return parse_size(text)


def main() -> int:
    """Run the comparison and write it as JSON."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default=str(ROOT / "engines/unet-fast0-camvid/model.onnx"))
    parser.add_argument("--frame", type=size, default=(1080, 1920), help="frames are scaled to this size (1080x1920)")
    parser.add_argument("--distinct", type=int, default=32, help="frames of the clip held in memory")
    parser.add_argument("--frames", type=int, default=6, help="frames of a turn")
    parser.add_argument("--warm", type=int, default=2, help="frames before those of a turn that are not counted")
    parser.add_argument("--paced", type=int, default=48, help="frames of rtseg's open loop in a turn; 0 for none")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30.0, help="no round begins after this many")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", help="keys of contenders; rtseg-fp32 must be among them")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not args.clip.is_file():
        print(f"no clip at {args.clip}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        result = run(args, Path(folder))
    args.out.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
