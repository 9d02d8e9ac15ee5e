"""From a RunConfig to a finished run: opens every part in order, runs the loop, closes in reverse, and reports."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtseg import registry
from rtseg.backends import Backend, open_backend
from rtseg.capture import Capture
from rtseg.config import RunConfig
from rtseg.delivery import Delivery
from rtseg.errors import ConfigError, SourceError, StopRun
from rtseg.frame import StreamInfo
from rtseg.geometry import parse_size
from rtseg.kernels import cpu as kernels
from rtseg.mailbox import parse_policy
from rtseg.palette import resolve_palette
from rtseg.pipeline import Pipeline, run
from rtseg.render import Renderer
from rtseg.report import SCHEMA, file_hash, machine, peak_memory_mb
from rtseg.segmenter import Segmenter
from rtseg.sinks import Sink, open_sink, sink_kind
from rtseg.sources import Source, open_source
from rtseg.spec import find_package
from rtseg.stages import FrameQueue, Painter, Stages
from rtseg.timing import Recorder
from rtseg.view import View

if TYPE_CHECKING:
    from rtseg.device.segmenter import DeviceSegmenter

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
    report["model"] = model_facts(config, pipeline.segmenter.backend)
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
        from rtseg.device.render import DeviceRenderer
        from rtseg.device.segmenter import HELD

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
    pipeline.delivery = stack.enter_context(_finished(Delivery(sinks, queue, pipeline.recorder.add_written)))
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
        from rtseg.device.segmenter import DeviceSegmenter

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


def outputs_of(config: RunConfig) -> tuple[str, ...]:
    """The outputs of a run: a window unless others are named, none but null where that is not wanted."""
    outputs = config.output or ("window:",)
    if config.headless:
        outputs = tuple(uri for uri in outputs if sink_kind(uri)[0] != "window") or ("null:",)
    return outputs


def check_outputs(config: RunConfig) -> None:
    """ConfigError for what is wrong with the outputs' names and options, before anything is opened or compiled."""
    outputs, seen = outputs_of(config), set[str]()
    options = {uri: _sink_options(uri) for uri in outputs}
    for name in config.sink:
        if not any(name in known for known in options.values()):
            raise ConfigError(f"option '{name}' does not apply to any output ({', '.join(outputs)})")
    for uri in outputs:
        kind, target = sink_kind(uri)
        place = str(Path(target).absolute()) if kind not in ("window", "null") else kind
        if place in seen and kind != "null":
            raise ConfigError(f"output '{uri}' is given twice: give each its own name")
        seen.add(place)


def open_sinks(config: RunConfig, info: StreamInfo, segmenter: Stages, view: View) -> list[Sink]:
    """Every output's sink, not yet entered; an option goes to each sink that has it."""
    return [
        open_sink(
            uri,
            info,
            segmenter.spec,
            view,
            {key: value for key, value in config.sink.items() if key in _sink_options(uri)},
        )
        for uri in outputs_of(config)
    ]


def _sink_options(uri: str) -> list[str]:
    return registry.option_names(registry.load(registry.SINKS, sink_kind(uri)[0], "sink"))


class _Undisturbed:
    """Ignores Ctrl-C and SIGTERM from when it is entered until it is left; no effect outside the main thread."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._previous = {
                number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def __exit__(self, *_: object) -> None:
        if self._main:
            for number, handler in self._previous.items():
                signal.signal(number, handler)


@contextmanager
def _finished(delivery: Delivery) -> Iterator[Delivery]:
    """`delivery`, left without being disturbed by a second Ctrl-C: files are being finished then."""
    with ExitStack() as stack:
        stack.enter_context(delivery)
        try:
            yield delivery
        finally:
            with _Undisturbed():
                stack.close()


def describe_source(info: StreamInfo, capture: Capture) -> str:
    """One line on what the source really gave."""
    size = f"{info.size[0]}x{info.size[1]}" if info.size else "size not known yet"
    rate = f"{info.fps:.4g} fps" if info.fps else "no rate"
    shown = "".join(f", {key} {value}" for key, value in info.details.items() if value is not None)
    return f"input {info.source}: {size}, {rate}{shown}; policy {capture.policy}"


def model_facts(config: RunConfig, backend: FrameQueue) -> dict[str, Any]:
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
        "network_size": pipeline.segmenter.fit(info.size).network if info.size else None,
        "peak_memory_mb": peak_memory_mb(),
        "machine": machine(),
    }
