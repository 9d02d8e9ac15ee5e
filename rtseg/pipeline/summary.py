"""What a run did, as plain data for its report, and what its input and model are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rtseg.config import RunConfig
from rtseg.files import file_hash
from rtseg.frame import StreamInfo
from rtseg.packages.spec import find_package
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.loop import Pipeline
from rtseg.platforms import peak_memory_mb
from rtseg.report import SCHEMA, machine
from rtseg.segmenter.contract import FrameQueue

__all__ = ["describe_source", "model_status", "report_of", "summarise"]


def describe_source(info: StreamInfo, capture: Capture) -> str:
    """One line on what the source really gave."""
    size = f"{info.size[0]}x{info.size[1]}" if info.size else "size not known yet"
    rate = f"{info.fps:.4g} fps" if info.fps else "no rate"
    shown = "".join(f", {key} {value}" for key, value in info.details.items() if value is not None)
    return f"input {info.source}: {size}, {rate}{shown}; policy {capture.policy}"


def model_status(config: RunConfig, backend: FrameQueue) -> dict[str, Any]:
    """The model's name, file and hash, and what runs it."""
    path: Path | None = find_package(config.model, config.spec).path if config.model else None
    return {
        "name": backend.spec.name,
        "file": str(path) if path else None,
        "sha256": file_hash(path) if path else None,
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "depth": backend.depth,
        "refine": config.refine,
    }


def summarise(pipeline: Pipeline, info: StreamInfo, elapsed: float) -> dict[str, Any]:
    """The figures of a finished run."""
    recorder, capture, delivery = pipeline.recorder, pipeline.capture, pipeline.delivery
    spec, frames = pipeline.segmenter.spec, len(recorder.to_overlay)
    areas = None
    if pipeline.area_frames:  # fewer than all, where a sink wanted them at times
        means = (round(float(share), 6) for share in pipeline.area_sum / pipeline.area_frames)
        areas = dict(zip(spec.classes, means, strict=True))
    at_start = pipeline.drops_at_start or 0
    captured = pipeline.drops - at_start
    return {
        "frames": frames,
        "seconds": round(elapsed, 3),
        "rate": round(frames / elapsed, 3) if elapsed > 0 else None,
        "drops": {
            "total": captured + delivery.drops,
            "capture": captured,
            "sinks": delivery.drops,
            "while_starting": at_start,
        },
        "reconnects": capture.reconnects,
        "policy": capture.policy,
        "latency": recorder.summary(),
        "areas": areas,
        "input": {**asdict(info), "time_base": str(info.time_base) if info.time_base else None},
        "network_size": pipeline.segmenter.place(info.size).network if info.size else None,
        "peak_memory_mb": peak_memory_mb(),
        "machine": machine(),
    }


def report_of(
    config: RunConfig,
    pipeline: Pipeline,
    info: StreamInfo,
    elapsed: float,
    outcome: str = "done",
    error: str | None = None,
) -> dict[str, Any]:
    """The report (`rtseg.report/1`) of a run that took `elapsed` seconds, or has so far."""
    return {
        "schema": SCHEMA,
        "outcome": outcome,
        "error": error,
        "warm_up_s": pipeline.warm_up_s,
        **summarise(pipeline, info, elapsed),
        "model": model_status(config, pipeline.segmenter.backend),
    }
