"""From a RunConfig to a finished run: opens every part in order, runs the loop, closes in reverse, and reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg.backends import open_backend
from rtseg.backends.contract import Backend
from rtseg.config import RunConfig
from rtseg.drawing.draw import painter_of
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.errors import SourceError, StopRun
from rtseg.frame import StreamInfo
from rtseg.geometry import parse_size
from rtseg.kernels import cpu as kernels
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.checks import check_outputs, checked_sink, outputs_of, sink_options
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.pipeline.mailbox import parse_policy
from rtseg.pipeline.signals import finished
from rtseg.pipeline.summary import describe_source, report_of
from rtseg.segmenter.contract import Painter, Stages
from rtseg.segmenter.opening import open_segmenter
from rtseg.sinks import open_sink
from rtseg.sinks.contract import Sink
from rtseg.sources import open_source
from rtseg.sources.contract import Source
from rtseg.timing import Recorder

__all__ = ["Input", "Output", "open_pipeline", "report_of", "run_config"]

log = logging.getLogger("rtseg")

LIVE_QUEUE, FILE_QUEUE = "drop-oldest:8", "wait:4"
"""Policies of the queues in front of threaded sinks."""

Input = str | Path | NDArray[np.uint8] | Source
"""Where frames come from: a name as on the command line, an image or an array of them, a source."""
Output = str | Sink
"""Where results go: a name as on the command line, or a sink."""
Notify = Callable[[str], None]
"""Called with one line of text for a person."""
Watch = Callable[[Pipeline, StreamInfo], AbstractContextManager[Any]]
"""Makes the context in which frames flow: a progress display."""
SinkFactory = Callable[[Stages, View], Sink]
"""Makes a sink for what a segmenter finds, drawn as a view says."""


def run_config(
    config: RunConfig,
    *,
    source: Source | None = None,
    sinks: Sequence[Output] | None = None,
    notify: Notify = log.info,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run a whole pipeline and return its report.

    `source` takes the place of the configured input, `sinks` (names and objects) that of the outputs. `outcome` in the
    report is "done", "interrupted" (KeyboardInterrupt), "stopped" (by a sink: a closed window), or, with the reason in
    `error`, "source cut off" or "source failed" after at least one frame: what came before is processed and the outputs
    are whole. Every other RtsegError is raised.
    """
    outcome, error = "done", None
    with ExitStack() as stack:
        pipeline, info = open_pipeline(config, stack, notify, source=source, sinks=sinks)
        start = time.monotonic()
        with watch(pipeline, info) if watch else ExitStack():
            try:
                run(pipeline, config.limit)
            except KeyboardInterrupt as exc:
                outcome = getattr(exc, "outcome", "interrupted")
            except StopRun:
                outcome = "stopped"
            except SourceError as exc:
                if not pipeline.recorder.to_overlay:
                    raise
                outcome, error = "source failed", str(exc)
        elapsed = time.monotonic() - start
    if outcome == "done" and "warning" in info.details:
        outcome, error = "source cut off", info.details["warning"]
    return report_of(config, pipeline, info, elapsed, outcome, error)


def open_pipeline(
    config: RunConfig,
    stack: ExitStack,
    notify: Notify = log.info,
    *,
    source: Source | None = None,
    sinks: Sequence[Output] | None = None,
    sink: SinkFactory | None = None,
    needs: frozenset[str] = frozenset(),
    recorder: Callable[[tuple[str, ...]], Recorder] = Recorder,
) -> tuple[Pipeline, StreamInfo]:
    """Open every part of a run on `stack`, warmed up and ready for the loop; `notify` gets lines for a person.

    `source` takes the place of the configured input; `sinks` (names and objects), or what `sink` makes, that of the
    outputs. `needs` is made of every frame, whatever the sinks want. `recorder` makes what notes the times, from the
    stages' names.

    Raises:
        RtsegError: what a setting, model, source or output can give.
    """
    if sink is None and (sinks is None or config.output):
        check_outputs(config)
    if config.threads:
        # What runs next in this process is not ours to slow down.
        stack.callback(kernels.set_threads, kernels.threads())
        kernels.set_threads(config.threads)
    backend = stack.enter_context(open_model(config))
    segmenter = make_segmenter(config, backend)
    stack.enter_context(segmenter)
    hidden = frozenset(backend.spec.class_id(name) for name in config.hide_class)
    view = View(config.visualize, config.alpha, hidden, config.legend, config.hud, config.palette)
    palette = resolve_palette(config.palette, backend.spec)
    if palette.note:
        log.warning("%s", palette.note)
    renderer = Renderer(backend.spec, palette, view)
    seconds = 0.0
    if not segmenter.on_gpu:
        if kernels.is_cold(refine=segmenter.refines):
            notify("first start on this machine: compiling the CPU kernels, once ...")
        seconds = kernels.warm_up(refine=segmenter.refines)
    capture = stack.enter_context(Capture(source or open_source(config.input, config.source), config.policy))
    info = capture.info
    notify(describe_source(info, capture))
    outputs = outputs_of(config) if sinks is None else sinks
    opened = [sink(segmenter, view)] if sink else open_sinks(outputs, config, info, segmenter, view)
    reported = needs | ({"areas"} if config.stats else set())
    needs = reported.union(*(each.needs for each in opened))
    queue = LIVE_QUEUE if info.live else FILE_QUEUE
    painter: Painter = painter_of(renderer, on_gpu=segmenter.on_gpu)
    queued = parse_policy(queue)[1] if any(each.threaded for each in opened) else 0
    segmenter.produce(needs, view, renderer.colormaps, queued)
    if info.size:
        start = time.monotonic()
        segmenter.warm_up(info.size)
        if "overlay" in needs:
            painter.warm_up(info.size)
        seconds += time.monotonic() - start
        place = segmenter.place(info.size)
        notify(
            f"model {backend.spec.name} at {place.network[0]}x{place.network[1]} on {backend.name} {backend.device} "
            f"{backend.precision}, ready after {seconds:.1f} s"
        )
    noted = recorder(segmenter.stages)
    delivery = stack.enter_context(finished(Delivery(opened, queue, noted.add_written)))
    pipeline = Pipeline(capture, segmenter, painter, delivery, needs, noted, reported, warm_up_s=round(seconds, 3))
    return pipeline, info


def open_model(config: RunConfig) -> Backend:
    """The backend with the configured model, not yet entered."""
    return open_backend(
        config.backend,
        config.model,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        depth=config.depth,
        spec_file=config.spec,
        overrides=config.spec_fields,
    )


def make_segmenter(config: RunConfig, backend: Backend) -> Stages:
    """The configured network size, fit and classes around a backend."""
    return open_segmenter(
        backend,
        size=parse_size(config.size) if config.size else None,
        short_side=config.short_side,
        mode=config.fit,
        ignore=config.ignore_class,
        antialias=config.antialias,
        refine=config.refine,
    )


def open_sinks(
    outputs: Sequence[Output], config: RunConfig, info: StreamInfo, segmenter: Stages, view: View
) -> list[Sink]:
    """Every output's sink, not yet entered; a configured option goes to each sink given by name that has it."""
    return [
        open_sink(
            each,
            info,
            segmenter.spec,
            view,
            {key: value for key, value in config.sink.items() if key in sink_options(each)},
        )
        if isinstance(each, str)
        else checked_sink(each)
        for each in outputs
    ]
