"""From a RunConfig to a finished run: opens every part in order, runs the loop, closes in reverse, and reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from rtseg.backends import Backend, open_backend
from rtseg.config import RunConfig
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.errors import SourceError, StopRun
from rtseg.frame import StreamInfo
from rtseg.geometry import parse_size
from rtseg.kernels import cpu as kernels
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.checks import check_outputs, outputs_of, sink_options
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.pipeline.mailbox import parse_policy
from rtseg.pipeline.signals import finished
from rtseg.pipeline.summary import describe_source, model_status, summarise
from rtseg.report import SCHEMA
from rtseg.segmenter.contract import Painter, Stages
from rtseg.segmenter.host import Segmenter
from rtseg.sinks import Sink, open_sink
from rtseg.sources import Source, open_source
from rtseg.timing import Recorder

if TYPE_CHECKING:
    from rtseg.segmenter.device import DeviceSegmenter

__all__ = ["open_pipeline", "run_config"]

log = logging.getLogger("rtseg")

LIVE_QUEUE, FILE_QUEUE = "drop-oldest:8", "wait:4"
"""Policies of the queues in front of threaded sinks."""

Notify = Callable[[str], None]
"""Called with one line of text for a person."""
Watch = Callable[[Pipeline, StreamInfo], AbstractContextManager[Any]]
"""Makes the context in which frames flow: a progress display."""
SinkFactory = Callable[[Stages, View], Sink]
"""Makes a sink for what a segmenter finds, drawn as a view says."""


def run_config(config: RunConfig, *, notify: Notify = log.info, watch: Watch | None = None) -> dict[str, Any]:
    """Run a whole pipeline and return its report.

    `outcome` in the report is "done", "interrupted" (KeyboardInterrupt), "stopped" (by a sink: a closed window), or,
    with the reason in `error`, "source cut off" or "source failed" after at least one frame: what came before is
    processed and the outputs are whole. Every other RtsegError is raised.
    """
    report: dict[str, Any] = {"schema": SCHEMA, "outcome": "done", "error": None}
    with ExitStack() as stack:
        pipeline, info = open_pipeline(config, stack, notify)
        report["warm_up_s"] = pipeline.warm_up_s
        start = time.monotonic()
        with watch(pipeline, info) if watch else ExitStack():
            try:
                run(pipeline, config.limit)
            except KeyboardInterrupt as exc:
                report["outcome"] = getattr(exc, "outcome", "interrupted")
            except StopRun:
                report["outcome"] = "stopped"
            except SourceError as exc:
                if not pipeline.recorder.to_overlay:
                    raise
                report.update(outcome="source failed", error=str(exc))
        elapsed = time.monotonic() - start
    if report["outcome"] == "done" and "warning" in info.details:
        report.update(outcome="source cut off", error=info.details["warning"])
    report.update(summarise(pipeline, info, elapsed))
    report["model"] = model_status(config, pipeline.segmenter.backend)
    return report


def open_pipeline(
    config: RunConfig,
    stack: ExitStack,
    notify: Notify = log.info,
    *,
    source: Source | None = None,
    sink: SinkFactory | None = None,
    recorder: Callable[[tuple[str, ...]], Recorder] = Recorder,
) -> tuple[Pipeline, StreamInfo]:
    """Open every part of a run on `stack`, warmed up and ready for `pipeline.run`; `notify` gets lines for a person.

    `source` takes the place of the configured input, what `sink` makes that of the outputs; `recorder` makes what notes
    the times, from the stages' names.
    Errors: every RtsegError that a setting, model, source or output can give.
    """
    if sink is None:
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
    renderer = Renderer(backend.spec, resolve_palette(config.palette, backend.spec), view)
    seconds = 0.0
    if isinstance(segmenter, Segmenter):
        if kernels.is_cold(refine=segmenter.refines):
            notify("first start on this machine: compiling the CPU kernels, once ...")
        seconds = kernels.warm_up(refine=segmenter.refines)
    capture = stack.enter_context(Capture(source or open_source(config.input, config.source), config.policy))
    info = capture.info
    notify(describe_source(info, capture))
    sinks = [sink(segmenter, view)] if sink else open_sinks(config, info, segmenter, view)
    reported = frozenset({"areas"} if config.stats else ())
    needs = reported.union(*(sink.needs for sink in sinks))
    queue = LIVE_QUEUE if info.live else FILE_QUEUE
    painter: Painter = renderer
    if not isinstance(segmenter, Segmenter):
        from rtseg.drawing.device import DeviceRenderer
        from rtseg.segmenter.device import HELD

        painter = DeviceRenderer(renderer)
        queued = parse_policy(queue)[1] if any(sink.threaded for sink in sinks) else 0
        segmenter.produce(needs, view, renderer.inks, HELD + queued)
    if info.size:
        start = time.monotonic()
        segmenter.warm_up(info.size)
        if "overlay" in needs:
            painter.warm_up(info.size)
        seconds += time.monotonic() - start
        place = segmenter.fit(info.size)
        notify(
            f"model {backend.spec.name} at {place.network[0]}x{place.network[1]} on {backend.name} {backend.device} "
            f"{backend.precision}, ready after {seconds:.1f} s"
        )
    noted = recorder(segmenter.stages)
    pipeline = Pipeline(capture, segmenter, painter, None, needs, noted, reported, warm_up_s=round(seconds, 3))  # type: ignore[arg-type]
    pipeline.delivery = stack.enter_context(finished(Delivery(sinks, queue, pipeline.recorder.add_written)))
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


def make_segmenter(config: RunConfig, backend: Backend) -> Segmenter | DeviceSegmenter:
    """The configured network size, fit and classes around a backend: on its GPU, where it has one, else on the host.

    Scores that are to be refined, and networks whose answer is channels last, go through the host; that is logged.
    """
    options: dict[str, Any] = {
        "size": parse_size(config.size) if config.size else None,
        "short_side": config.short_side,
        "mode": config.fit,
        "ignore": config.ignore_class,
        "antialias": config.antialias,
    }
    reason = on_host(config, backend)
    # Asking for lanes opens the GPU by PyCUDA, which frames on the host do without.
    if reason is None and (lanes := getattr(backend, "lanes", None)) is not None:
        from rtseg.segmenter.device import DeviceSegmenter

        return DeviceSegmenter(backend, lanes, **options)
    if reason is not None and backend.device.startswith("cuda"):
        log.warning("frames go through the host, only the network runs on %s: %s", backend.device, reason)
    return Segmenter(backend, refine=config.refine, **options)


def on_host(config: RunConfig, backend: Backend) -> str | None:
    """Why frames cannot stay on the backend's GPU; None where they can."""
    if config.refine != "none":
        return "--refine works on the host's scores"
    if backend.spec.output_layout == "NHWC" and backend.spec.output_kind != "labels":
        return f"{backend.spec.name} puts its classes last"
    return None


def open_sinks(config: RunConfig, info: StreamInfo, segmenter: Stages, view: View) -> list[Sink]:
    """Every output's sink, not yet entered; an option goes to each sink that has it."""
    return [
        open_sink(
            uri,
            info,
            segmenter.spec,
            view,
            {key: value for key, value in config.sink.items() if key in sink_options(uri)},
        )
        for uri in outputs_of(config)
    ]
