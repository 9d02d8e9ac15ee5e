"""A benchmark as `rtseg bench` would write it: simulated frames, and percentiles taken from those very frames."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

import numpy as np

MS = 1_000_000
FLOORS = {"p50": 1, "p90": 64, "p95": 130, "p99": 662, "p99.9": 6636}
STAGES = {"preprocess": 1.4, "infer": 0.0, "labels": 0.8, "render": 1.6, "sink": 0.3}
"""Milliseconds of each stage; `infer` is given by the configuration."""
GPU = {"gpu-upload": 0.1, "gpu-preprocess": 0.05, "gpu-infer": 0.75, "gpu-labels": 0.06, "gpu-download": 0.04}
"""Shares of `infer` that the events of a GPU saw."""


def percentiles(values: list[int] | list[float]) -> dict[str, Any]:
    """Nearest-rank percentiles in milliseconds of nanoseconds."""
    ordered = sorted(values)
    out: dict[str, Any] = {"samples": len(ordered)}
    for key, floor in FLOORS.items():
        rank = int(np.ceil(float(key[1:]) / 100 * len(ordered))) - 1
        out[key] = round(ordered[rank] / MS, 3) if len(ordered) >= floor else None
    out["max"] = round(ordered[-1] / MS, 3) if ordered else None
    return out


def repetition(number: int, started_s: float, infer_ms: float, due: int, rate: float, gpu: bool) -> dict[str, Any]:
    """One repetition of `due` frames at `rate`, the newest frame waiting and no other; the last third has a stall."""
    random = np.random.default_rng(number)
    period = int(1e9 / rate)
    start = 0
    trace: dict[str, Any] = {"index": [], "due_ns": [], "overlay_ns": [], "sink_ns": [], "dropped": []}
    starts: dict[str, list[int]] = {name: [] for name in ("capture", *STAGES)}
    lasted: dict[str, list[int]] = {name: [] for name in ("capture", *STAGES, "other", *(GPU if gpu else ()))}
    now, index = start, 0
    while index < due:
        newest = min((now - start) // period, due - 1)
        for skipped in range(index, newest):
            trace["dropped"].append([skipped, start + skipped * period])
        index = max(index, newest)
        due_ns = start + index * period
        now = taken = max(now, due_ns) + 40_000
        starts["capture"].append(due_ns)
        lasted["capture"].append(taken - due_ns)
        other = 0
        for name, typical in STAGES.items():
            slowness = float(random.gamma(6, 0.02)) + (1.2 if random.random() < 0.01 else 0)
            lasting = int((typical or infer_ms) * (1 + slowness) * MS)
            if name == "infer" and index == due * 2 // 3:
                lasting += 200 * MS
            if name == "sink":
                overlay = now
            starts[name].append(now)
            lasted[name].append(lasting)
            if name == "infer" and gpu:
                for part, share in GPU.items():
                    lasted[part].append(int(share * lasting * 0.98))
            now += lasting
            if name not in ("render", "sink"):
                now += 30_000
                other += 30_000
        lasted["other"].append(other)
        trace["index"].append(index)
        trace["due_ns"].append(due_ns)
        trace["overlay_ns"].append(overlay)
        trace["sink_ns"].append(now + int(random.gamma(4, 0.5) * MS))
        index += 1
    trace.update(start_ns=starts, stages_ns=lasted)
    overlays = [done - due_ns for done, due_ns in zip(trace["overlay_ns"], trace["due_ns"], strict=True)]
    written = [done - due_ns for done, due_ns in zip(trace["sink_ns"], trace["due_ns"], strict=True)]
    frames, seconds = len(overlays), due / rate
    whole = sum(overlays) + sum(lasted["sink"])
    return {
        "started_s": started_s,
        "seconds": seconds,
        "due": due,
        "frames": frames,
        "rate": round(frames / seconds, 2),
        "drops": {"total": due - frames, "capture": due - frames, "sinks": 0},
        "late": {"frames": number, "worst_ms": round(1.1 * number, 1)},
        "capture_to_overlay_ms": percentiles(overlays),
        "capture_to_sink_ms": percentiles(written),
        "jitter_ms": percentiles([abs(b - a) for a, b in pairwise(overlays)]),
        "stages_ms": {name: percentiles(values) for name, values in lasted.items() if name not in GPU},
        "stages_sum": {
            "ratio": round(sum(sum(values) for name, values in lasted.items() if name not in GPU) / whole, 4),
            "within": 0.02,
        },
        "gpu_ms": {name: percentiles(lasted[name]) for name in GPU} if gpu else None,
        "cpu_s_per_frame": round(0.031 + 0.001 * number, 4),
        "memory_mb": {"peak": 512.3 + number, "final": 480.0 + number, "since": "repetition"},
        "trace": trace,
    }


def summary(repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, min and max over the repetitions of what all of them have."""
    out = {}
    for path in ("capture_to_overlay_ms.p50", "capture_to_overlay_ms.p99", "rate", "drops.total", "memory_mb.peak"):
        first, _, rest = path.partition(".")
        values = [repetition[first][rest] if rest else repetition[first] for repetition in repetitions]
        if None not in values:
            out[path] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return out


def pooled(repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Percentiles of all frames of all repetitions."""
    traces = [repetition["trace"] for repetition in repetitions]
    overlays = [[a - b for a, b in zip(one["overlay_ns"], one["due_ns"], strict=True)] for one in traces]
    written = [[a - b for a, b in zip(one["sink_ns"], one["due_ns"], strict=True)] for one in traces]
    return {
        "capture_to_overlay_ms": percentiles([value for one in overlays for value in one]),
        "capture_to_sink_ms": percentiles([value for one in written for value in one]),
        "jitter_ms": percentiles([abs(b - a) for one in overlays for a, b in pairwise(one)]),
        "stages_ms": {
            name: percentiles([value for one in traces for value in one["stages_ns"][name]])
            for name in traces[0]["stages_ns"]
            if name not in GPU
        },
    }


def sample(
    *,
    names: tuple[str, ...] = ("unet-fast0-camvid openvino bf16 416x768", "unet-lite2-camvid openvino bf16 544x960"),
    infer_ms: tuple[float, ...] = (13.0, 27.0),
    repetitions: int = 3,
    due: int = 300,
    rate: float = 30.0,
    trace: bool = True,
    accuracy: bool = True,
    gpu: bool = False,
) -> dict[str, Any]:
    """The whole of it: a configuration for each name, repetitions taking turns."""
    configurations = []
    for place, (name, cost) in enumerate(zip(names, infer_ms, strict=True)):
        runs = []
        for number in range(repetitions):
            started = (number * len(names) + place) * (due / rate + 1.5)
            runs.append(repetition(number, started, cost, due, rate, gpu))
        every = pooled(runs)
        if not trace:
            runs = [{key: value for key, value in run.items() if key != "trace"} for run in runs]
        model = name.split()[0]
        configurations.append(
            {
                "name": name,
                "model": {
                    "name": model,
                    "file": f"engines/{model}",
                    "sha256": f"{place}e5b" * 16,
                    "backend": "openvino",
                    "device": "cpu",
                    "precision": "bf16",
                    "depth": 1,
                    "refine": "none",
                },
                "network_size": [[416, 768], [544, 960]][place % 2],
                "config": {"input": "highway.mp4", "model": model, "backend": "openvino", "output": ["null:"]},
                "accuracy": {
                    "miou": [0.7263, 0.7719][place % 2],
                    "from": f"engines/{model}/eval.json",
                    "network_size": [416, 768],
                    "as_run": place % 2 == 0,
                }
                if accuracy
                else None,
                "repetitions": runs,
                "summary": summary(runs),
                "pooled": every,
            }
        )
    a, b = configurations[0], configurations[-1]
    return {
        "schema": "rtseg.bench/1",
        "created": "2026-11-21T19:30:00Z",
        "command": ["rtseg", "bench", "highway.mp4", "--model", "unet-fast0-camvid", "--rate", "30"],
        "revision": {"commit": "29f56b8c0ffee29f56b8c0ffee29f56b8c0ffee0", "dirty": True},
        "machine": {
            "cpu": "AMD EPYC 9B14",
            "cores": 2,
            "system": "Linux-6.1-x86_64",
            "python": "3.11.7",
            "libraries": {"rtseg": "0.1.0", "numpy": "2.4.6", "openvino": "2026.1.0"},
        },
        "input": {
            "source": "highway.mp4",
            "size": [1080, 1920],
            "frames_held": 120,
            "held_mb": 711.9,
            "decode": {"frames": 120, "fps": 212.4, "ms": percentiles([int(4.7 * MS) + 9000 * i for i in range(120)])},
        },
        "settings": {
            "loop": "open",
            "rate": rate,
            "duration_s": due / rate,
            "repetitions": repetitions,
            "warm_up_frames": 30,
            "sinks": ["null:"],
            "policy": "latest",
            "order": "interleaved",
        },
        "configurations": configurations,
        "comparisons": [
            {
                "a": a["name"],
                "b": b["name"],
                "metric": "capture_to_overlay_ms.p50",
                "ratio": 2.6942,
                "low": 2.6584,
                "high": 2.7457,
                "interval": "min and max",
                "pairs": repetitions,
            }
        ],
        "search": None,
    }
