"""Frames in, results out, in a program's own loop: the loop that `rtseg run` uses too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rtseg.config import DEFAULT_MODEL, RunConfig, from_mapping
from rtseg.errors import ConfigError
from rtseg.frame import Image, Result, StreamInfo, checked_image, checked_needs
from rtseg.geometry import checked_size
from rtseg.packages.spec import ModelSpec
from rtseg.pipeline.loop import Pipeline, results
from rtseg.pipeline.opening import Input, Output, open_pipeline, report_of, run_config
from rtseg.sources.contract import Source
from rtseg.sources.memory import IterableSource

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Stream", "astream", "run", "stream"]

LABELS = frozenset({"labels"})
HERE = "frames of the program"
"""The input of a configuration whose frames come from Python."""


@dataclass(slots=True)
class _State:
    """How far a stream is."""

    pipeline: Pipeline | None = None
    info: StreamInfo | None = None
    start: float = 0.0
    end: float = 0.0
    closed: bool = False


class Stream:
    """The results of a stream, in order, in a `for` loop; made by `rtseg.stream`.

    Nothing is opened before the first result is asked for. Leaving the loop early, an exception in its body, Ctrl-C and
    the end of the source close everything; a result at which the loop is left counts as used. `close`, or a `with`
    block, does it for a stream that is held elsewhere.
    """

    def __init__(self, config: RunConfig, source: Source | None, needs: frozenset[str]) -> None:
        self._config = config
        self._state = _State()
        self._results = _play(config, source, needs, self._state)

    @property
    def info(self) -> StreamInfo | None:
        """What the source really gave: size, rate, expected frames; None before the first result."""
        return self._state.info

    @property
    def spec(self) -> ModelSpec | None:
        """The model's class names and colours, as `rtseg.draw` and `rtseg.open_sink` take them; None before that."""
        return None if self._state.pipeline is None else self._state.pipeline.segmenter.spec

    @property
    def drops(self) -> int:
        """Frames lost so far, because newer ones replaced them (live input) or the connection lost them."""
        return 0 if self._state.pipeline is None else self._state.pipeline.drops

    def report(self) -> dict[str, Any]:
        """Frames, drops, rate and latency percentiles so far: the report that `rtseg run` writes, of the same keys.

        Raises:
            ConfigError: no result was asked for yet.
        """
        state = self._state
        if state.pipeline is None or state.info is None:
            raise ConfigError("a stream has a report once its first result was taken")
        return report_of(self._config, state.pipeline, state.info, (state.end or time.monotonic()) - state.start)

    def close(self) -> None:
        """End the stream and give everything back; a second time does nothing.

        From any thread: where one waits for the next result, its loop ends as at the end of the source, and it is that
        thread which gives everything back.
        """
        self._state.closed = True
        try:
            self._results.close()
        except ValueError as exc:
            if str(exc) != "generator already executing":
                raise
            if self._state.pipeline is not None:
                self._state.pipeline.capture.close()

    def __iter__(self) -> Iterator[Result]:
        return self._results

    def __next__(self) -> Result:
        return next(self._results)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _play(
    config: RunConfig, source: Source | None, needs: frozenset[str], state: _State
) -> Generator[Result, None, None]:
    # It does not know its Stream: a loop that is left drops the last reference to it, and so closes everything at once.
    with ExitStack() as stack:
        state.pipeline, state.info = open_pipeline(config, stack, source=source, sinks=[], needs=needs)
        state.start = time.monotonic()
        if state.closed:  # while it was opened
            return
        try:
            yield from results(state.pipeline, config.limit)
        finally:
            state.end = time.monotonic()


def stream(
    source: Input | Iterable[Image],
    *,
    model: str | Path = DEFAULT_MODEL,
    needs: Iterable[str] = LABELS,
    backend: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    depth: int = 1,
    spec: str | Path | None = None,
    size: tuple[int, int] | str | None = None,
    short_side: int | None = None,
    fit: str = "letterbox",
    refine: str = "none",
    visualize: str | Sequence[str] = ("overlay",),
    alpha: float = 0.5,
    palette: str | None = None,
    ignore_class: str | Sequence[str] = (),
    hide_class: str | Sequence[str] = (),
    legend: bool = False,
    hud: bool = False,
    policy: str | None = None,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Stream:
    """Segment every frame of a source: `for result in rtseg.stream("drive.mp4"): result.labels`.

    Frames are read in a thread of their own while the network works. A file waits for the loop and loses nothing; live
    input keeps the newest frame, so a slow loop body costs frames and not latency; gaps in `result.frame.index` and
    `Stream.drops` count them.

    Args:
        source: what `rtseg run` takes (`drive.mp4`, `camera:0`, `rtsp://…`, a folder, `synthetic:drive` …), one image
            (HWC uint8 BGR), an array of them (NHWC), any iterable of images, or a `Source`.
        model: a package's name, its folder, or an ONNX file.
        needs: what is made of each frame: `labels`, `confidence`, `overlay`, `areas`. The other fields are None.
        backend: as of `rtseg.open_backend`; `auto` picks host or GPU by itself.
        device: what the backend runs on.
        precision: `fp32`, `bf16`, `fp16` or `int8`, as far as the backend has it.
        threads: CPU threads.
        depth: frames in flight: 1 for latency, more for the rate on a GPU.
        spec: a spec file for an ONNX file that carries none.
        size: the network's input, (height, width) or "HxW".
        short_side: the network's short side; the long one follows the frame's shape.
        fit: `letterbox`, `stretch` or `crop`.
        refine: `none` or `crf`.
        visualize: the views of the overlay: `overlay`, `mask`, `split`, `contour`.
        alpha: opacity of the classes' colours.
        palette: a name or a colors file.
        ignore_class: classes that may not win.
        hide_class: classes that are drawn transparent.
        legend: whether overlays name the classes in sight.
        hud: whether overlays show rate, latency and drops.
        policy: `latest`, `wait`, `wait:N` or `drop-oldest:N`; by the kind of source without.
        limit: the number of frames after which the stream ends.
        options: options of the source by name, such as `{"start": 2.5, "loop": 0}`.

    Returns:
        A `Stream`: an iterator of `Result`, whose arrays stay valid as long as they are held.

    Raises:
        ConfigError: a setting, need or option that does not exist, or an array that is no image; at once.
        SourceError, ModelError, BackendError, MissingExtra: with the first result, or later from the source.
    """
    uri, opened = _source_of(source)
    settings = {
        "model": model,
        "backend": backend,
        "device": device,
        "precision": precision,
        "threads": threads,
        "depth": depth,
        "spec": spec,
        "size": size,
        "short_side": short_side,
        "fit": fit,
        "refine": refine,
        "visualize": visualize,
        "alpha": alpha,
        "palette": palette,
        "ignore_class": ignore_class,
        "hide_class": hide_class,
        "legend": legend,
        "hud": hud,
        "policy": policy,
        "limit": limit,
        "options": options,
    }
    config = from_mapping({"input": uri, **_plain(settings, opened)}, RunConfig, "rtseg.stream")
    return Stream(config, opened, checked_needs(needs))


async def astream(source: Input | Iterable[Image], **settings: Any) -> AsyncIterator[Result]:
    """`stream` for asyncio: `async for result in rtseg.astream("camera:0")`; settings and errors are those of `stream`.

    The loop runs in a thread of its own, so the event loop is never blocked. Leaving it early closes everything; a task
    that may be cancelled in its body wraps it in `contextlib.aclosing`.
    """
    made = stream(source, **settings)
    running = asyncio.get_running_loop()
    ended = object()
    with ThreadPoolExecutor(1, thread_name_prefix="rtseg-astream") as pool:
        try:
            while (result := await running.run_in_executor(pool, next, made, ended)) is not ended:
                yield cast(Result, result)
                del result
        finally:
            pool.submit(made.close).result()


def run(
    source: Input | Iterable[Image] | RunConfig, outputs: Output | Sequence[Output] = ("null:",), **settings: Any
) -> dict[str, Any]:
    """Run a source into outputs, as `rtseg run INPUT OUTPUT…` does, and return the report.

    Args:
        source: as of `stream`; or a whole `RunConfig`, without anything else.
        outputs: one or several, strings as on the command line (`out.mp4`, `labels:ids/%06d.png`, `window:` …) and
            objects with the members of `Sink`.
        settings: as of `stream`, without `needs`, and the other fields of `RunConfig` by name.

    Returns:
        The report: `outcome`, `frames`, `drops`, `latency`, `model` … (docs/architecture.md). After Ctrl-C `outcome` is
        `interrupted`, and every file is whole.

    Raises:
        RtsegError: what a setting, model, source or output can give.
    """
    if isinstance(source, RunConfig):
        if settings or outputs != ("null:",):
            raise ConfigError("a RunConfig holds outputs and settings already: leave out the others")
        return run_config(source)
    for name in ("input", "output"):
        if name in settings:
            raise ConfigError(f"rtseg.run: input and outputs are the first two arguments: leave out {name}=…")
    uri, opened = _source_of(source)
    given = [outputs] if isinstance(outputs, (str, Path)) or not isinstance(outputs, Sequence) else list(outputs)
    sinks: list[Output] = [str(each) if isinstance(each, Path) else each for each in given]
    names = [each for each in sinks if isinstance(each, str)]
    config = from_mapping({"input": uri, **_plain(settings, opened), "output": names}, RunConfig, "rtseg.run")
    return run_config(config, source=opened, sinks=sinks)


def _plain(settings: Mapping[str, Any], opened: Source | None) -> dict[str, Any]:
    """Settings as a RunConfig has them: paths and sizes as text, the source's options under `source`."""
    plain: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    if plain.get("size") is not None:
        plain["size"] = "{}x{}".format(*checked_size(plain["size"]))
    plain["source"] = dict(plain.pop("options", None) or {})
    if opened is not None and plain["source"]:
        raise ConfigError("options are for sources given by name: give them to your own when you make it")
    return plain


def _source_of(source: Any) -> tuple[str, Source | None]:
    """The input's name, and the source itself where it is not given by name."""
    if isinstance(source, (str, Path)):
        return str(source), None
    if isinstance(source, np.ndarray):
        return HERE, IterableSource(_frames(source))
    if hasattr(source, "__enter__") and hasattr(source, "info") and hasattr(source, "close"):
        return HERE, cast(Source, source)
    if source is not None and hasattr(source, "__iter__"):
        return HERE, IterableSource(source)
    raise ConfigError(
        f"cannot take frames from {type(source).__name__}: give a file, camera:N, a URL, an image, an iterable of "
        "images or a Source"
    )


def _frames(array: NDArray[Any]) -> list[Image]:
    return [checked_image(image) for image in (array if array.ndim == 4 else [array])]
