"""From a RunConfig to a finished run: opens every part in order, runs the loop, closes in reverse, and reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rtseg.backends import Backend, open_backend
from rtseg.capture import Capture
from rtseg.config import RunConfig, parse_size
from rtseg.delivery import Delivery
from rtseg.errors import ConfigError, StopRun
from rtseg.frame import StreamInfo
from rtseg.kernels import cpu
from rtseg.palette import resolve_palette
from rtseg.pipeline import Pipeline, run
from rtseg.render import Renderer, View
from rtseg.report import SCHEMA, file_hash, machine, peak_memory_mb
from rtseg.segmenter import Segmenter
from rtseg.sinks import Sink, open_sink, sink_kind
from rtseg.sources import open_source
from rtseg.spec import find_package

__all__ = ["run_config"]

log = logging.getLogger("rtseg")

Notify = Callable[[str], None]
"""Called with one line of text for a person."""


def run_config(
    config: RunConfig, *, notify: Notify = log.info, watch: Callable[[Pipeline, StreamInfo], Any] | None = None
) -> dict[str, Any]:
    """Run a whole pipeline and return its report.

    `notify` gets the lines that a person should see before the first frame; `watch(pipeline, info)`, if given, returns
    a context manager that is active while frames flow (a progress display). A KeyboardInterrupt ends the run like the
    end of the source does; `outcome` in the report then says "interrupted". Errors: every RtsegError.
    """
    report: dict[str, Any] = {"schema": SCHEMA, "outcome": "done"}
    with ExitStack() as stack:
        backend = open_model(config, stack)
        notify(f"model {backend.spec.name} on {describe(backend)}")
        view = make_view(config, backend)
        segmenter = Segmenter(
            backend,
            size=parse_size(config.size) if config.size else None,
            short_side=config.short_side,
            mode=config.fit,
            ignore=config.ignore_class,
            antialias=config.antialias,
        )
        capture = stack.enter_context(Capture(open_source(config.input, config.source), config.policy))
        info = capture.info
        notify(describe_source(info, capture))
        renderer = Renderer(backend.spec, resolve_palette(config.palette, backend.spec), view)
        sinks = open_sinks(config, info, segmenter, view)
        needs = frozenset({"areas"} if config.stats else ()).union(*(sink.needs for sink in sinks))
        pipeline = Pipeline(capture, segmenter, renderer, None, needs)  # type: ignore[arg-type]
        report["warm_up_s"] = round(warm_up(segmenter, info, notify), 3)
        queue = "drop-oldest:8" if info.live else "wait:4"
        pipeline.delivery = stack.enter_context(Delivery(sinks, queue, pipeline.recorder.add_written))
        start_drops, start = capture.drops, time.monotonic()
        if watch is not None:
            stack.enter_context(watch(pipeline, info))
        try:
            run(pipeline, config.limit)
        except KeyboardInterrupt:
            report["outcome"] = "interrupted"
        except StopRun:
            report["outcome"] = "stopped"
        finally:
            elapsed = time.monotonic() - start
        stack.close()  # sinks finish their files here, and their errors are raised
    report.update(summarise(config, pipeline, info, elapsed, start_drops))
    return report


def open_model(config: RunConfig, stack: ExitStack) -> Backend:
    """The backend with the configured model, entered on `stack`."""
    package = find_package(config.model, config.spec) if config.backend != "null" else None
    if config.threads:
        cpu.set_threads(config.threads)
    backend = open_backend(
        config.backend,
        str(package.path) if package else config.model,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        depth=config.depth,
        spec_file=config.spec,
        overrides=config.spec_fields,
    )
    return stack.enter_context(backend)


def make_view(config: RunConfig, backend: Backend) -> View:
    """How to draw, with class names resolved against the model."""
    hidden = frozenset(backend.spec.class_id(name) for name in config.hide_class)
    return View(tuple(config.visualize), config.alpha, hidden, config.legend, config.hud)


def open_sinks(config: RunConfig, info: StreamInfo, segmenter: Segmenter, view: View) -> list[Sink]:
    """Every output's sink, not yet entered; an option goes to each sink that has it and must fit at least one."""
    outputs = config.output or (("null:",) if config.headless else ("window:",))
    if config.headless:
        outputs = tuple(uri for uri in outputs if sink_kind(uri)[0] != "window") or ("null:",)
    unused = dict.fromkeys(config.sink)
    sinks = []
    for uri in outputs:
        chosen: dict[str, Any] = {}
        for name, value in config.sink.items():
            if name in sink_options(uri):
                chosen[name] = value
                unused.pop(name, None)
        sinks.append(open_sink(uri, info, segmenter.spec, view, chosen))
    if unused:
        raise ConfigError(f"option '{next(iter(unused))}' does not apply to any output ({', '.join(outputs)})")
    return sinks


def sink_options(uri: str) -> list[str]:
    """Names of the options that the sink of an output string has."""
    from rtseg import registry

    return registry.option_names(registry.load(registry.SINKS, sink_kind(uri)[0], "sink"))


def warm_up(segmenter: Segmenter, info: StreamInfo, notify: Notify) -> float:
    """Compile before the first frame where its size is known; a cold start is announced."""
    if cpu.is_cold():
        notify("first start: compiling the CPU kernels, once per machine (about half a minute) …")
    return segmenter.warm_up(info.size) if info.size else cpu.warm_up()


def describe(backend: Backend) -> str:
    """One line on what runs the network."""
    name = type(backend).__name__.removesuffix("Backend").lower()
    return f"{name} {backend.device} {backend.precision}"


def describe_source(info: StreamInfo, capture: Capture) -> str:
    """One line on what the source really gave."""
    size = f"{info.size[1]}x{info.size[0]}" if info.size else "size not known yet"
    rate = f"{info.fps:.3g} fps" if info.fps else "no rate"
    details = "".join(f", {key} {value}" for key, value in info.details.items() if value is not None)
    return f"input {info.source}: {size}, {rate}{details}; policy {capture.policy}"


def summarise(
    config: RunConfig, pipeline: Pipeline, info: StreamInfo, elapsed: float, start_drops: int
) -> dict[str, Any]:
    """The report of a finished run."""
    segmenter, recorder, capture = pipeline.segmenter, pipeline.recorder, pipeline.capture
    spec, frames = segmenter.spec, len(recorder.to_overlay)
    path = None if config.backend == "null" else find_package(config.model, config.spec).path
    stream = {**asdict(info), "time_base": str(info.time_base) if info.time_base else None}
    network = segmenter.fit(info.size).network if info.size else None
    areas = None
    if frames and "areas" in pipeline.needs:
        areas = dict(zip(spec.classes, (round(float(a), 6) for a in pipeline.area_sum / frames), strict=True))
    return {
        "frames": frames,
        "seconds": round(elapsed, 3),
        "rate": round(frames / elapsed, 3) if elapsed > 0 else None,
        "drops": {
            "total": capture.drops - start_drops + pipeline.delivery.drops,
            "capture": capture.drops - start_drops,
            "sinks": pipeline.delivery.drops,
            "while_starting": start_drops,
        },
        "reconnects": capture.reconnects,
        "policy": capture.policy,
        "latency": recorder.summary(),
        "areas": areas,
        "input": stream,
        "model": {"name": spec.name, "file": str(path) if path else None, "sha256": file_hash(path) if path else None},
        "backend": {
            "name": describe(segmenter.backend).split()[0],
            "device": segmenter.backend.device,
            "precision": segmenter.backend.precision,
            "depth": segmenter.backend.depth,
        },
        "network_size": network,
        "peak_memory_mb": peak_memory_mb(),
        "machine": machine(),
    }
