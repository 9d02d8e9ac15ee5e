"""Real plans by TensorRT-RTX: inputs and outputs, profiles, layers, options, errors, interruption."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import helper, numpy_helper
from rich.console import Console

from rtseg.errors import BackendError, ConfigError, ModelError
from rtseg.packages.spec import find_package
from rtseg.tensorrt import fold, half
from tests.onnx_models import CLASSES, save, value
from tests.tensorrt.rtx import ONE, SIZE, Profile, small

from rtseg.tensorrt import compile as compiling  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT
from rtseg.tensorrt import library  # isort: skip
from rtseg.tensorrt import progress  # isort: skip
from rtseg.tensorrt.compile import Layer, Options, check_options, compile_plan  # isort: skip


def test_inputs_outputs_layers_and_bytes(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    made = compile_plan(path.read_bytes(), spec, ONE, Options())
    assert made.tensors == {
        "pixels": ("input", "fp32", (-1, 3, -1, -1)),
        "scores": ("output", "fp32", (-1, CLASSES, -1, -1)),
    }
    assert made.counts()["convolution"] == {"fp32": 1}
    assert len(made.plan) > 1000
    assert made.seconds > 0


def test_half_precision_is_in_the_plan(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    model = fold.load(path)
    fold.fold(model)
    half.halve(model)
    made = compile_plan(model.SerializeToString(), spec, ONE, Options())
    assert made.counts()["convolution"] == {"fp16": 1}
    assert made.tensors["pixels"][1] == made.tensors["scores"][1] == "fp32"


def test_several_profiles_make_one_plan(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    profiles = (*ONE, Profile.fixed((128, 128)), Profile((32, 32), (64, 64), (256, 512)))
    one, several = (len(compile_plan(path.read_bytes(), spec, some, Options()).plan) for some in (ONE, profiles))
    assert several > one


def test_size_outside_of_what_the_graph_takes(tmp_path: Path) -> None:
    path, spec = small(tmp_path, shape=(1, 3, *SIZE))
    with pytest.raises(BackendError, match=r"tensorrt_rtx (cannot build|does not accept)"):
        compile_plan(path.read_bytes(), spec, (Profile.fixed((128, 128)),), Options())


def test_int8_layers_are_told(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).integers(-127, 127, (4, 3, 3, 3)).astype(np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["dw"]),
        helper.make_node("Conv", ["d", "dw"], ["out"]),
    ]
    held = {"s": np.array(0.01, np.float32), "z": np.array(0, np.int8), "w": kernel}
    path = save(
        tmp_path / "net.onnx",
        nodes,
        [value("image", (1, 3, "h", "w"))],
        [value("out", None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    (tmp_path / "other").mkdir()
    _, spec = small(tmp_path / "other")
    spec = msgspec.structs.replace(spec, input_name="image", output_name="out")
    made = compile_plan(path.read_bytes(), spec, ONE, Options())
    assert made.counts()["convolution"] == {"int8": 1}


def test_operator_that_it_does_not_know(tmp_path: Path) -> None:
    _, spec = small(tmp_path)
    path = save(
        tmp_path / "wiggle.onnx",
        [helper.make_node("Wiggle", ["pixels"], ["scores"], name="odd", domain="acme")],
        [value("pixels", (1, 3, 64, 96))],
        [value("scores", (1, CLASSES, 8, 12))],
        [],
        opsets=[helper.make_opsetid("acme", 1)],
    )
    with pytest.raises(ModelError, match=r"tensorrt_rtx cannot read net: .*Wiggle") as error:
        compile_plan(path.read_bytes(), spec, ONE, Options())
    assert "\n" not in str(error.value)


def test_tensor_that_the_spec_names_is_not_there(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    other = msgspec.structs.replace(spec, output_name="logits")
    with pytest.raises(ModelError, match=r"finds no output 'logits' in net \(tensors: pixels, scores\)"):
        compile_plan(path.read_bytes(), other, ONE, Options())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(hardware_compatible="ampere+"), "TensorRT-RTX does not have --hardware-compatible"),
        (Options(version_compatible=True), "TensorRT-RTX does not have --version-compatible"),
        (Options(timing_cache=Path("timing.cache")), "TensorRT-RTX does not have --timing-cache"),
        (Options(workspace=0), "--workspace is 0 MiB: it must be at least 1"),
    ],
)
def test_options_that_do_not_apply(options: Options, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        check_options(options)


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    out = io.StringIO()
    compile_plan(path.read_bytes(), spec, ONE, Options(), console=Console(file=out, force_terminal=True, width=120))
    assert "Building engine" in out.getvalue()
    out = io.StringIO()
    compile_plan(path.read_bytes(), spec, ONE, Options(), console=Console(file=out, force_terminal=False))
    assert out.getvalue() == ""


def test_progress_without_a_terminal_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, spec = small(tmp_path)
    step = progress.Monitor.step_complete

    def slow(self: Any, phase: str, at: int) -> bool:
        time.sleep(0.02)
        return step(self, phase, at)

    monkeypatch.setattr(compiling, "QUIET", 0.01)
    monkeypatch.setattr(progress.Monitor, "step_complete", slow)
    with caplog.at_level(logging.INFO, "rtseg"):
        compile_plan(path.read_bytes(), spec, ONE, Options())
    assert re.search(r"still building after \d s: Building engine \d/\d", caplog.text)
    caplog.clear()
    with caplog.at_level(logging.INFO, "rtseg"):
        compile_plan(path.read_bytes(), spec, ONE, Options(), console=Console(file=io.StringIO(), force_terminal=True))
    assert "still building" not in caplog.text


def test_phases_are_followed_by_name() -> None:
    monitor = progress.Monitor(None)
    assert monitor.at == ""
    monitor.phase_start("Building engine", None, 6)
    monitor.phase_start("Timing", "Building engine", 300)
    assert monitor.step_complete("Timing", 11)
    assert monitor.at == "Building engine 0/6, Timing 12/300"
    monitor.phase_start("Timing", "Building engine", 4)  # the next one of that name
    assert monitor.at == "Building engine 0/6, Timing 0/4"
    monitor.phase_finish("Timing")
    monitor.phase_finish("Timing")
    monitor.stopped.set()
    assert not monitor.step_complete("Building engine", 0)
    assert monitor.at == "Building engine 1/6"


def test_bars_are_indented_by_phase() -> None:
    with progress.progress(Console(file=io.StringIO(), force_terminal=True)) as bars:
        assert bars is not None
        monitor = progress.Monitor(bars)
        for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "a")):
            monitor.phase_start(name, parent, 2)
        monitor.step_complete("c", 0)
        assert [(task.description, task.completed) for task in bars.tasks] == [
            ("a", 0), ("  b", 0), ("    c", 1), ("  d", 0)
        ]  # fmt: skip
        monitor.phase_finish("b")
        assert [task.description for task in bars.tasks] == ["a", "    c", "  d"]


def test_builder_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As TensorRT's does without a working GPU: pybind11 then raises TypeError."""
    path, spec = small(tmp_path)

    def nothing(log: Any) -> None:
        log.log(library.trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(library.trt, "Builder", nothing)
    with pytest.raises(BackendError, match="does not start its builder: CUDA initialization failure with error: 35"):
        compile_plan(path.read_bytes(), spec, ONE, Options())


def test_too_little_workspace_is_told() -> None:
    package = find_package("unet-fast0-camvid")
    assert package.spec is not None
    model = fold.load(package.path)
    fold.fold(model)
    with pytest.raises(BackendError, match=r"cannot build unet-fast0-camvid: .*; --workspace 1 may be too little"):
        compile_plan(
            model.SerializeToString(), package.spec, (Profile.fixed((416, 768)),), Options(workspace=1)
        )  # fmt: skip


class Config:
    """Keeps what the builder would be told; `cache` is the timing cache that it makes of bytes."""

    def __init__(self, cache: Any = b"") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.cache = cache

    def set_flag(self, flag: Any) -> None:
        self.calls.append(("flag", flag))

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.calls.append((pool, size))

    def create_timing_cache(self, held: bytes) -> Any:
        self.calls.append(("cache", held))
        return self.cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return cache is self.cache and not ignore_mismatch


def configured(options: Options, **config: Any) -> Any:
    """What `_configure` tells the builder of TensorRT itself."""
    told: Any = Config(**config)
    compiling._configure(told, options, library.Log())
    return told


def test_options_that_only_tensorrt_itself_has(tmp_path: Path) -> None:
    trt = library.trt
    told = configured(Options(workspace=512))
    assert told.calls == [(trt.MemoryPoolType.WORKSPACE, 512 << 20)]
    assert told.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert not hasattr(told, "hardware_compatibility_level")
    level = configured(Options(hardware_compatible="ampere+")).hardware_compatibility_level
    assert level == trt.HardwareCompatibilityLevel.AMPERE_PLUS
    level = configured(Options(hardware_compatible="same-capability")).hardware_compatibility_level
    assert level == trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    assert configured(Options(version_compatible=True)).calls == [("flag", trt.BuilderFlag.VERSION_COMPATIBLE)]
    file = tmp_path / "timing.cache"
    assert configured(Options(timing_cache=file)).calls == [("cache", b"")]  # the first build makes it
    file.write_bytes(b"timings")
    assert configured(Options(timing_cache=file)).calls == [("cache", b"timings")]
    with pytest.raises(
        ConfigError, match=r"timing\.cache is not a timing cache of this GPU and tensorrt_rtx: delete it"
    ):
        configured(Options(timing_cache=file), cache=None)
    with pytest.raises(ConfigError, match=r"cannot keep the timing cache nowhere/t: there is no folder nowhere"):
        configured(Options(timing_cache=Path("nowhere/t")))


def test_level_that_an_older_tensorrt_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.trt, "HardwareCompatibilityLevel", type("Levels", (), {"AMPERE_PLUS": 1}))
    with pytest.raises(ConfigError, match="this tensorrt_rtx has no level same-capability: update it"):
        configured(Options(hardware_compatible="same-capability"))


def test_timing_cache_that_cannot_be_kept_does_not_lose_the_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timings: Any = type("Timings", (), {"serialize": lambda self: b"timings"})()
    compiling._keep(tmp_path / "timing.cache", timings)
    assert (tmp_path / "timing.cache").read_bytes() == b"timings"
    (tmp_path / "folder").mkdir()
    compiling._keep(tmp_path / "folder", timings)
    assert "the timing cache is not kept: cannot write" in caplog.text and "Is a directory" in caplog.text


def test_interrupting_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = small(tmp_path)
    seen = threading.Event()
    step = progress.Monitor.step_complete

    def interrupt(self: Any, phase: str, at: int) -> bool:
        if not seen.is_set():
            seen.set()
            os.kill(os.getpid(), signal.SIGINT)
            assert self.stopped.wait(10)
        return step(self, phase, at)

    monkeypatch.setattr(progress.Monitor, "step_complete", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compile_plan(path.read_bytes(), spec, ONE, Options())
    assert seen.is_set()
    assert not still_building()


def still_building() -> list[threading.Thread]:
    """Threads of builders that have not ended within seconds."""
    threads = [thread for thread in threading.enumerate() if thread.name == "rtseg-build"]
    for thread in threads:
        thread.join(10)
    return [thread for thread in threads if thread.is_alive()]


def test_interrupting_the_very_start_ends_the_build_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = small(tmp_path)
    stopped = []
    step = progress.Monitor.step_complete

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    def wait(self: Any, phase: str, at: int) -> bool:
        stopped.append(self.stopped.wait(10))
        return step(self, phase, at)

    monkeypatch.setattr(progress.Monitor, "step_complete", wait)
    monkeypatch.setattr(compiling.threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_plan(path.read_bytes(), spec, ONE, Options())
    assert not still_building()
    assert all(stopped)


def test_shipped_package_in_fp32_and_fp16() -> None:
    package = find_package("unet-fast0-camvid")
    assert package.spec is not None
    model = fold.load(package.path)
    fold.fold(model)
    sizes = {}
    for precision in ("fp32", "fp16"):
        if precision == "fp16":
            half.halve(model)
        made = compile_plan(model.SerializeToString(), package.spec, (Profile.fixed((96, 128)),), Options())
        assert made.tensors == {
            "image": ("input", "fp32", (1, 3, -1, -1)),
            "logits": ("output", "fp32", (1, 11, -1, -1)),
        }
        assert made.counts()["convolution"] == {precision: 55}
        assert "scale" not in made.counts()  # batch normalisation is in the convolutions
        assert Layer in {type(layer) for layer in made.layers}
        sizes[precision] = len(made.plan)
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
