"""`rtseg.stream`, `rtseg.astream`, `rtseg.run`: the loop in a program's own hands, exact however it is left."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pytest

import rtseg
from rtseg.sources.memory import IterableSource
from rtseg.sources.synthetic import SyntheticSource

NULL: dict[str, Any] = {"model": "", "backend": "null"}
SCENE = SyntheticSource("shapes", size=(48, 64), length=6, seed=3).scene
IMAGES = [SCENE.render(index)[0] for index in range(6)]


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name in ("capture", "sink-Keep")}


class Keep:
    """A sink of the program's own."""

    threaded = False

    def __init__(self, *needs: str, fail_at: int | None = None, error: BaseException | None = None) -> None:
        self.needs = frozenset(needs)
        self.results: list[rtseg.Result] = []
        self.fail_at, self.error, self.left = fail_at, error, 0

    def __enter__(self) -> Keep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left += 1

    def write(self, result: rtseg.Result) -> None:
        self.results.append(result)
        if len(self.results) == self.fail_at and self.error is not None:
            raise self.error


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_frame_of_an_iterable_comes_back_in_order_and_its_arrays_stay_valid(depth: int) -> None:
    stream = rtseg.stream(iter(IMAGES), needs=("labels", "overlay", "areas", "confidence"), depth=depth, **NULL)
    held = list(stream)
    assert [result.frame.index for result in held] == list(range(6))
    for result, image in zip(held, IMAGES, strict=True):
        np.testing.assert_array_equal(result.frame.image, image)
        assert result.labels is not None and result.labels.shape == (48, 64)
        assert result.overlay is not None and result.overlay.shape == (48, 64, 3)
        assert result.areas is not None and result.areas.sum() == pytest.approx(1)
        assert result.confidence is not None
        assert result.classes == ("background", "object") or len(result.classes) > 1
        assert set(result.stages) >= {"capture", "preprocess", "infer", "labels", "render", "sink"}
    assert len({id(result.labels) for result in held}) == 6
    assert stream.drops == 0 and stream.report()["frames"] == 6 and stream.report()["outcome"] == "done"
    assert not threads()


def test_labels_are_the_default_and_nothing_else_is_made() -> None:
    result = next(rtseg.stream(IMAGES, **NULL))
    assert result.labels is not None
    assert (result.overlay, result.areas, result.confidence) == (None, None, None)


@pytest.mark.parametrize(
    ("source", "count"),
    [(IMAGES, 6), (tuple(IMAGES), 6), (np.stack(IMAGES), 6), (IMAGES[0], 1), (IterableSource(IMAGES, rate=10), 6)],
    ids=["list", "tuple", "NHWC", "HWC", "Source"],
)
def test_what_frames_may_come_from(source: Any, count: int) -> None:
    if isinstance(source, IterableSource):  # which is iterated once
        source = IterableSource(IMAGES, rate=10)
        stamps = [result.frame.pts for result in rtseg.stream(source, **NULL)]
        assert stamps == pytest.approx([0.1 * i for i in range(6)])
        return
    results = list(rtseg.stream(source, **NULL))
    assert len(results) == count and all(result.frame.pts is None for result in results)


def test_files_by_name_and_path(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    for source in (tmp_path, str(tmp_path), f"{tmp_path}/*.png"):
        assert sum(1 for _ in rtseg.stream(source, **NULL)) == 6
    assert [result.frame.index for result in rtseg.stream(tmp_path, limit=2, **NULL)] == [0, 1]
    paths = [result.frame.path for result in rtseg.stream(tmp_path, options={"stride": 3}, **NULL)]
    assert paths == [tmp_path / "0.png", tmp_path / "3.png"]


def test_leaving_the_loop_early_closes_everything_at_once_and_counts_the_frame() -> None:
    gc.disable()  # nothing may depend on the collector
    try:
        for result in rtseg.stream("synthetic:drive", **NULL):
            if result.frame.index == 2:
                break
        del result
        assert not threads()
        stream = rtseg.stream("synthetic:drive", **NULL)
        for result in stream:
            if result.frame.index == 2:
                break
        assert stream.report()["frames"] == 2  # the third is still in the body's hands
        stream.close()
        assert stream.report()["frames"] == 3 and not threads()
        assert list(stream) == []
    finally:
        gc.enable()


@pytest.mark.parametrize("waiting", [True, False], ids=["for a frame", "for the model"])
def test_another_thread_may_close_a_stream_that_waits(waiting: bool) -> None:
    class Slow:
        """A camera that gives one frame and then none, and is slow to open."""

        reconnects = 0
        info = rtseg.StreamInfo("slow", True)

        def __init__(self) -> None:
            self.reached, self.opening, self.closed = threading.Event(), threading.Event(), threading.Event()

        def __enter__(self) -> Slow:
            self.opening.set()
            assert waiting or going.wait(20)
            return self

        def __exit__(self, *_: object) -> None: ...

        def __iter__(self) -> Iterator[rtseg.Frame]:
            yield rtseg.Frame(0, 0, None, None, IMAGES[0])
            self.reached.set()
            assert self.closed.wait(20)

        def close(self) -> None:
            self.closed.set()

    going, source, seen = threading.Event(), Slow(), list[int]()
    stream = rtseg.stream(source, **NULL)
    thread = threading.Thread(target=lambda: seen.extend(result.frame.index for result in stream))
    thread.start()
    if waiting:
        assert source.reached.wait(20)
        while not seen and thread.is_alive():  # the loop is back at the stream as soon as it has noted the frame
            thread.join(0.01)
        assert stream.spec is not None and stream.spec.classes
    else:
        assert source.opening.wait(20)
    stream.close()
    going.set()
    thread.join(20)
    assert not thread.is_alive() and not threads()
    assert seen == ([0] if waiting else []) and list(stream) == []


@pytest.mark.parametrize("error", [RuntimeError("of the body"), KeyboardInterrupt()])
def test_an_exception_in_the_body_is_the_bodys_and_everything_is_closed(error: BaseException) -> None:
    with rtseg.stream("synthetic:drive", depth=2, **NULL) as stream, pytest.raises(type(error)):
        for result in stream:
            if result.frame.index == 1:
                raise error
    stream.close()
    assert not threads() and stream.report()["frames"] == 2


def test_a_source_that_fails_raises_after_the_frames_before_it() -> None:
    def failing() -> Iterator[np.ndarray[Any, Any]]:
        yield from IMAGES[:3]
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for result in rtseg.stream(failing(), **NULL):
            seen.append(result.frame.index)
    assert seen == [0, 1, 2] and not threads()


def test_a_slow_body_drops_frames_of_live_input_and_the_accounts_are_exact() -> None:
    source = SyntheticSource("shapes", size=(48, 64), length=40, rate=200, live=True)
    pause = threading.Event()
    used = []
    stream = rtseg.stream(source, **NULL)
    for result in stream:
        used.append(result.frame.index)
        pause.wait(0.03)
    report = stream.report()
    assert report["policy"] == "latest" and stream.drops > 0
    assert used[-1] + 1 == len(used) + stream.drops
    assert report["drops"]["capture"] + report["drops"]["while_starting"] == stream.drops
    waited = rtseg.stream(SyntheticSource("shapes", size=(48, 64), length=10, live=True), policy="wait", **NULL)
    assert [result.frame.index for result in waited] == list(range(10)) and waited.drops == 0


@pytest.mark.parametrize(
    ("source", "settings", "error", "message"),
    [
        (5, {}, rtseg.ConfigError, "cannot take frames from int"),
        (None, {}, rtseg.ConfigError, "cannot take frames from NoneType"),
        (IMAGES, {"needs": {"label"}}, rtseg.ConfigError, "unknown need 'label': did you mean 'labels'"),
        (IMAGES, {"alpha": 2.0}, rtseg.ConfigError, "alpha is 2.0, expected 0 to 1"),
        (IMAGES, {"visualize": "maks"}, rtseg.ConfigError, "did you mean 'mask'"),
        (IMAGES, {"size": (48, "x")}, rtseg.ConfigError, "size is .48, 'x'., expected .height, width."),
        (IMAGES, {"size": 48}, rtseg.ConfigError, "size is 48, expected .height, width."),
        (IMAGES, {"options": {"start": 1}}, rtseg.ConfigError, "options are for sources given by name"),
        (np.zeros((4, 4, 3)), {}, rtseg.ConfigError, "an image is uint8 .0 to 255., got float64"),
        ([], {}, rtseg.SourceError, "the iterable of images is empty"),
        ([IMAGES[0], None], {}, rtseg.SourceError, "image 1 of the iterable: the image is None"),
        ("no/such.mp4", {}, rtseg.SourceError, "no/such.mp4"),
    ],
)
def test_what_cannot_be_streamed_is_said_in_a_line(
    source: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(rtseg.stream(source, **{**NULL, **settings}))
    assert "\n" not in str(caught.value) and not threads()


def test_a_source_that_is_not_open_says_so_instead_of_yielding_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), IMAGES[0])
    clip = tmp_path / "clip.mp4"
    rtseg.run(IMAGES, str(clip), **NULL)
    for uri in (str(tmp_path / "0.png"), str(clip)):
        with pytest.raises(rtseg.SourceError, match=r"this source is not open: use it as `with rtseg\.open_source"):
            list(rtseg.open_source(uri))
        with rtseg.open_source(uri) as source:
            assert len(list(source)) >= 1


def test_run_takes_names_and_objects_together(tmp_path: Path) -> None:
    sink = Keep("labels", "areas")
    report = rtseg.run(IMAGES, [tmp_path / "out.mp4", sink, "null:"], alpha=0.7, **NULL)
    assert report["outcome"] == "done" and report["frames"] == 6
    assert [result.frame.index for result in sink.results] == list(range(6)) and sink.left == 1
    with rtseg.open_source(str(tmp_path / "out.mp4")) as source:
        assert len(list(source)) == 6
    assert rtseg.run(rtseg.RunConfig(input="synthetic:drive", output="null:", limit=2, **NULL))["frames"] == 2


def test_a_sink_by_name_takes_the_results_of_a_stream(tmp_path: Path) -> None:
    with rtseg.stream(IMAGES, needs={"overlay"}, **NULL) as stream:
        assert stream.spec is None
        first = next(stream)
        assert stream.info is not None and stream.spec is not None
        with rtseg.open_sink(str(tmp_path / "out.mp4"), stream.info, stream.spec) as sink:
            sink.write(first)
            for result in stream:
                sink.write(result)
    assert sum(1 for _ in rtseg.stream(tmp_path / "out.mp4", **NULL)) == 6


def test_a_sink_that_stops_or_fails_ends_the_run_with_exact_accounts() -> None:
    stop = Keep("labels", fail_at=3, error=KeyboardInterrupt())
    report = rtseg.run("synthetic:drive", stop, **NULL)
    assert (report["outcome"], report["frames"], len(stop.results), stop.left) == ("interrupted", 3, 3, 1)
    enough = Keep("labels", fail_at=2, error=rtseg.StopRun("enough"))
    report = rtseg.run("synthetic:drive", enough, **NULL)
    assert (report["outcome"], report["frames"], enough.left) == ("stopped", 2, 1)
    broken = Keep("labels", fail_at=2, error=RuntimeError("of the sink"))
    with pytest.raises(RuntimeError, match="of the sink"):
        rtseg.run("synthetic:drive", broken, **NULL)
    assert broken.left == 1 and not threads()


def test_what_is_no_sink_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(rtseg.ConfigError, match="an output is a string or a sink; object has no needs, no threaded"):
        rtseg.run(IMAGES, [object()], **NULL)  # type: ignore[list-item]
    with pytest.raises(rtseg.ConfigError, match="leave out the others"):
        rtseg.run(rtseg.RunConfig(input="synthetic:drive"), "out.mp4")
    with pytest.raises(rtseg.ConfigError, match=r"rtseg.run: unknown key 'alpah': did you mean 'alpha'"):
        rtseg.run(IMAGES, alpah=0.5)


def test_run_takes_the_settings_of_a_stream(tmp_path: Path) -> None:
    report = rtseg.run("synthetic:drive", options={"length": 3, "size": (48, 64)}, size=(64, 96), **NULL)
    assert report["frames"] == 3 and report["network_size"] == (64, 96)
    folder = Path(rtseg.__file__).parents[1] / "engines" / "unet-fast0-camvid"
    assert rtseg.run(IMAGES, model=folder, size="64x96")["model"]["name"] == "unet-fast0-camvid"
    with pytest.raises(rtseg.ConfigError, match="options are for sources given by name"):
        rtseg.run(IMAGES, options={"start": 1}, **NULL)
    for settings in ({"output": "out.mp4"}, {"input": "a.mp4"}):
        with pytest.raises(rtseg.ConfigError, match=f"first two arguments: leave out {next(iter(settings))}="):
            rtseg.run(IMAGES, **settings, **NULL)


def test_strings_where_lists_are_meant_mean_the_same_in_python_as_in_yaml() -> None:
    config = rtseg.RunConfig(input="a", output="null:", visualize="mask", hide_class=["Sky"])  # type: ignore[arg-type]
    assert (config.output, config.visualize, config.hide_class) == (("null:",), ("mask",), ("Sky",))


def test_asyncio_users_get_the_same_results_while_the_event_loop_stays_free() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def take(limit: int | None, leave_at: int | None) -> list[int]:
        seen = []
        ticking = asyncio.create_task(tick())
        results = rtseg.astream("synthetic:drive", limit=limit, **NULL, options={"size": (48, 64)})
        async for result in results:
            seen.append(result.frame.index)
            if result.frame.index == leave_at:
                break
        await results.aclose()  # type: ignore[attr-defined]
        ticking.cancel()
        return seen

    assert asyncio.run(take(5, None)) == [0, 1, 2, 3, 4]
    assert ticks > 0
    assert asyncio.run(take(None, 2)) == [0, 1, 2]
    assert not threads()
