"""The whole loop on the synthetic source, whose exact labels are known, with a null backend that returns them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import numpy as np
import pytest

from rtseg.backends.null import NullBackend, one_hot
from rtseg.drawing.palette import resolve_palette
from rtseg.drawing.render import Renderer
from rtseg.drawing.view import View
from rtseg.errors import BackendError, SourceError, StopRun
from rtseg.frame import Frame, Result
from rtseg.packages.spec import ModelSpec
from rtseg.pipeline.capture import Capture
from rtseg.pipeline.delivery import Delivery
from rtseg.pipeline.loop import Pipeline, run
from rtseg.segmenter.host import HostSegmenter
from rtseg.sources.memory import MemorySource
from rtseg.sources.synthetic import SyntheticSource

SIZE = (48, 80)
SCENE = SyntheticSource("shapes", size=SIZE, length=12, seed=5)
CLASSES = SCENE.classes
SPEC = ModelSpec(name="exact", classes=CLASSES, short_side=48, multiple=8, output_stride=1)


class Answers:
    """Returns the exact labels of frame 0, 1, 2 … as scores."""

    def __init__(self) -> None:
        self.index = -1

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        self.index += 1
        return one_hot(SCENE.render(self.index)[1], len(CLASSES))


class Keep:
    """A sink that keeps results."""

    threaded = False

    def __init__(self, needs: str = "", stop_after: int | None = None) -> None:
        self.needs = frozenset(needs.split())
        self.results: list[Result] = []
        self.stop_after = stop_after

    def __enter__(self) -> Keep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, result: Result) -> None:
        self.results.append(result)
        if len(self.results) == self.stop_after:
            raise StopRun


def drive(
    source: object, sink: Keep, backend: NullBackend, limit: int | None = None, opened: list[Pipeline] | None = None
) -> Pipeline:
    view = View()
    with ExitStack() as stack:
        capture = stack.enter_context(Capture(source))  # type: ignore[arg-type]
        renderer = Renderer(backend.spec, resolve_palette(None, backend.spec), view)
        pipeline = Pipeline(capture, HostSegmenter(backend), renderer, None, sink.needs)  # type: ignore[arg-type]
        delivery = Delivery([sink], "wait", pipeline.recorder.add_written)
        pipeline.delivery = stack.enter_context(delivery)
        if opened is not None:
            opened.append(pipeline)
        run(pipeline, limit)
    return pipeline


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_labels_through_the_whole_pipeline_are_exact_and_in_order(depth: int) -> None:
    sink = Keep("labels")
    source = SyntheticSource("shapes", size=SIZE, length=12, seed=5)
    pipeline = drive(source, sink, NullBackend(spec=SPEC, answer=Answers(), depth=depth))
    assert [result.frame.index for result in sink.results] == list(range(12))
    for result in sink.results:
        np.testing.assert_array_equal(result.labels, SCENE.render(result.frame.index)[1])
        assert result.drops == 0
        assert set(result.stages) == {"capture", "preprocess", "infer", "labels", "render", "sink"}
    assert pipeline.recorder.summary()["capture_to_overlay_ms"]["samples"] == 12


def test_results_hold_only_what_was_asked_for() -> None:
    bare, full = Keep(), Keep("overlay areas confidence")
    drive(MemorySource([SCENE.render(0)[0]]), bare, NullBackend(spec=SPEC))
    drive(MemorySource([SCENE.render(0)[0]]), full, NullBackend(spec=SPEC))
    assert (bare.results[0].overlay, bare.results[0].areas, bare.results[0].confidence) == (None, None, None)
    result = full.results[0]
    assert result.overlay is not None and result.overlay.shape == (*SIZE, 3)
    assert result.areas is not None and result.areas.sum() == pytest.approx(1)
    assert result.confidence is not None and result.confidence.max() > 250


class Listened(Keep):
    """Asks for areas at every second frame only."""

    @property
    def wanted(self) -> frozenset[str]:
        return self.needs if len(self.results) % 2 else self.needs - {"areas", "confidence"}


def test_nothing_is_made_while_nobody_listens_unless_the_report_holds_it() -> None:
    pictures = [SCENE.render(index)[0] for index in range(4)]
    sink = Listened("overlay areas confidence")
    drive(MemorySource(pictures), sink, NullBackend(spec=SPEC))
    assert [result.areas is None for result in sink.results] == [True, False, True, False]
    assert [result.confidence is None for result in sink.results] == [True, False, True, False]
    assert all(result.overlay is not None for result in sink.results)
    pipeline = Pipeline(None, None, None, Delivery([sink], "wait", lambda frame, t: None), sink.needs)  # type: ignore[arg-type]
    assert pipeline.wanted == {"overlay"}
    pipeline.reported = frozenset({"areas"})
    assert pipeline.wanted == {"overlay", "areas"}


def test_the_overlay_is_the_blend_of_frame_and_class_colours() -> None:
    sink = Keep("overlay")
    picture, labels = SCENE.render(0)
    drive(MemorySource([picture]), sink, NullBackend(spec=SPEC, answer=one_hot(labels, len(CLASSES))))
    colors = resolve_palette(None, SPEC).colors.astype(float)
    expected = (picture.astype(float) * (255 - 128) + colors[labels] * 128) / 255
    assert np.abs(sink.results[0].overlay - expected).max() <= 1


def test_a_limit_and_a_sink_that_stops_the_run() -> None:
    limited, stopped = Keep(), Keep(stop_after=3)
    drive(MemorySource([SCENE.render(0)[0]], count=50), limited, NullBackend(spec=SPEC), limit=4)
    with pytest.raises(StopRun):
        drive(MemorySource([SCENE.render(0)[0]], count=50), stopped, NullBackend(spec=SPEC))
    assert (len(limited.results), len(stopped.results)) == (4, 3)


def test_an_error_of_the_backend_ends_the_run() -> None:
    sink = Keep()
    with pytest.raises(BackendError, match="fails at frame 2"):
        drive(MemorySource([SCENE.render(0)[0]], count=50), sink, NullBackend(spec=SPEC, fail_at=2))
    assert len(sink.results) == 2


class Breaks(MemorySource):
    """Fails after its frames."""

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        raise SourceError("the cable is out")


def test_an_error_of_the_source_is_raised_after_the_frames_before_it() -> None:
    sink = Keep()
    with pytest.raises(SourceError, match="the cable is out"):
        drive(Breaks([SCENE.render(0)[0]], count=3), sink, NullBackend(spec=SPEC))
    assert len(sink.results) == 3


def test_a_slow_network_behind_live_input_gets_the_newest_frame_and_counts_the_rest() -> None:
    sink = Keep()
    source = SyntheticSource("shapes", size=SIZE, rate=100, length=40, live=True)
    pipeline = drive(source, sink, NullBackend(spec=SPEC, delay_ms=50))
    indices = [result.frame.index for result in sink.results]
    assert indices == sorted(set(indices))
    assert indices[-1] == 39
    assert len(indices) + pipeline.drops == 40
    assert pipeline.drops >= 20
    assert [result.drops for result in sink.results] == [index - place for place, index in enumerate(indices)]
    waits = [result.stages["capture"] for result in sink.results]
    assert np.median(waits) < 40e6  # never a queue of old frames


def test_frames_captured_after_the_last_one_used_are_not_drops() -> None:
    sink = Keep()
    source = SyntheticSource("shapes", size=SIZE, rate=200, length=0, live=True)
    pipeline = drive(source, sink, NullBackend(spec=SPEC, delay_ms=50), limit=4)
    last = sink.results[-1].frame.index
    assert last + 1 == 4 + pipeline.drops
    assert pipeline.capture.drops > pipeline.drops  # the camera went on while the last frame was in the network
    assert pipeline.drops_at_start == sink.results[0].frame.index


def test_the_frame_at_which_the_user_quits_counts() -> None:
    sink, pipelines = Keep(stop_after=2), list[Pipeline]()
    with pytest.raises(StopRun):
        drive(MemorySource([SCENE.render(0)[0]], count=9), sink, NullBackend(spec=SPEC), opened=pipelines)
    assert len(sink.results) == len(pipelines[0].recorder.to_overlay) == 2


def test_stage_times_add_up_to_the_latency() -> None:
    sink = Keep("overlay")
    drive(MemorySource([SCENE.render(0)[0]], count=30), sink, NullBackend(spec=SPEC, delay_ms=5))
    for result in sink.results:
        inside = sum(result.stages[name] for name in ("capture", "preprocess", "infer", "labels", "render"))
        assert inside <= result.latency_ns
        assert result.latency_ns - inside < max(2e6, 0.2 * result.latency_ns)
    assert time.monotonic_ns() > sink.results[-1].t_overlay
