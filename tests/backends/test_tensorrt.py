"""What concerns TensorRT alone: no driver, plans by name, plans that do not load, several sizes in one plan."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtseg.backends import open_backend
from rtseg.cli.main import main
from rtseg.errors import BackendError, ConfigError
from rtseg.packages.spec import METADATA_KEY
from tests.onnx_models import NORMALISATION, conv_model, reference
from tests.tensorrt.rtx import SIZE, Profile, small

from rtseg.backends import tensorrt  # isort: skip - tests.tensorrt.rtx skips where there is no TensorRT
from rtseg.backends.null import NullBackend  # isort: skip
from rtseg.export import build as building  # isort: skip
from rtseg.segmenter.host import HostSegmenter  # isort: skip
from rtseg.gpu import driver  # isort: skip
from rtseg.gpu.opening import open_gpu  # isort: skip
from rtseg.tensorrt.engine import deserialise  # isort: skip
from rtseg.tensorrt.execution import Execution  # isort: skip
from rtseg.export.make_plan import Check  # isort: skip
from tests.tensorrt.fakes import FakeEngine, install  # isort: skip

OTHER = (96, 32)


def image(size: tuple[int, int], seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((1, 3, *size)).astype(np.float32)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    driver._library.cache_clear()
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")


@pytest.mark.usefixtures("no_driver")
class TestWithoutADriver:
    def test_opening(self, tmp_path: Path) -> None:
        path, _ = small(tmp_path)
        with pytest.raises(BackendError, match=r"no NVIDIA driver here .* pip install 'rtseg\[tensorrt,gpu\]'"):
            open_backend("tensorrt", str(path), overrides=NORMALISATION)

    def test_running_is_one_line_and_exit_code_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "synthetic:drive", "null:", "--backend", "tensorrt", "--limit", "1"]) == 1
        error = capsys.readouterr().err
        assert "rtseg: error: no NVIDIA driver here" in error and "Traceback" not in error

    def test_devices_and_runtime(self) -> None:
        with pytest.raises(BackendError, match="no NVIDIA driver"):
            tensorrt.devices()
        with pytest.raises(BackendError, match="no NVIDIA driver"):
            deserialise(b"plan")

    def test_check_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from rtseg import registry
        from rtseg.cli.check import check

        monkeypatch.setattr(registry, "BACKENDS", {"tensorrt": registry.BACKENDS["tensorrt"]})
        (entry,) = check()["backends"]
        assert (entry["works"], entry["device"]) == (False, "")
        assert "no NVIDIA driver here" in entry["detail"]


@pytest.mark.gpu
def test_a_plan_runs_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, spec = small(tmp_path)
    sizes = (Profile.fixed(SIZE), Profile((32, 32), (64, 64), (96, 96)))
    out = tmp_path / "net.plan"
    building.build(path, spec, sizes, precision="fp32", out=out)
    path.unlink()
    loaded = install(monkeypatch, profiles=2)
    with open_backend("tensorrt", str(out), depth=2) as backend:
        assert (backend.device, backend.precision, backend.spec) == ("cuda:0", "fp32", spec)
        for size in (SIZE, OTHER, (96, 96), SIZE):
            backend.submit(image(size))
            np.testing.assert_allclose(backend.collect(), reference(image(size)), atol=1e-4)
        with pytest.raises(BackendError, match=r"takes 64x96.32x32-64x64-96x96, got 128x128: build one for that size"):
            backend.submit(image((128, 128)))
    assert len(loaded) == 1
    # The first run of a size is to warm up.
    assert [profile for profile, _ in loaded[0].runs] == [0, 0, 1, 1, 1, 1, 0]
    with pytest.raises(BackendError, match="is a plan in fp32, not in fp16"):
        open_backend("tensorrt", str(out), precision="fp16")
    with pytest.raises(ConfigError, match="has its spec in its sidecar"):
        open_backend("tensorrt", str(out), overrides=NORMALISATION)
    with pytest.raises(BackendError, match="a TensorRT plan runs with --backend tensorrt"):
        open_backend("openvino", str(out))


@pytest.mark.gpu
def test_plan_built_ahead_is_used_for_every_size_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, spec = small(tmp_path)
    building.build(path, spec, (Profile((32, 32), (64, 96), (96, 96)),), precision="fp32")
    loaded = install(monkeypatch)
    with caplog.at_level(logging.INFO, "rtseg"), tensorrt.TensorRTBackend(path, spec, precision="fp32") as backend:
        for size in (SIZE, OTHER):
            backend.prepare(size)
        assert "building" not in caplog.text
        backend.prepare((128, 128))
        assert "building engines/net/net.128x128.fp32" in caplog.text
    assert len(loaded) == 2


@pytest.mark.gpu
def test_running_builds_at_first_use_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, spec = small(tmp_path)
    path = conv_model(tmp_path / "net.onnx", metadata={METADATA_KEY: spec.to_json()})
    install(monkeypatch)
    words = ["run", "synthetic:drive", "null:", "--backend", "tensorrt", "--model", str(path), "--limit", "2"]
    assert main([*words, "--size", "64x96"]) == 0
    said = capsys.readouterr().err
    assert "building engines/net/net.64x96.fp16.tensorrt_rtx" in said
    assert "comparing labels with fp32 on 8 frames of synthetic:drive (fp16 rounding emulated on the CPU)" in said
    assert "net in fp16: labels equal to fp32 on " in said
    assert main([*words, "--size", "64x96"]) == 0
    said = capsys.readouterr().err
    assert "building" not in said and "tensorrt" in said


@pytest.mark.gpu
def test_a_plan_that_does_not_load_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, spec = small(tmp_path)
    building.build(path, spec, (Profile.fixed(SIZE),), precision="fp32")
    install(monkeypatch)
    answers: list[Any] = [(None, "expecting compute 8.9 got compute 12.0"), (FakeEngine(), "")]
    monkeypatch.setattr(tensorrt, "deserialise", lambda plan, host_code: answers.pop(0))
    with caplog.at_level(logging.INFO, "rtseg"), tensorrt.TensorRTBackend(path, spec, precision="fp32") as backend:
        backend.prepare(SIZE)
    assert "again: tensorrt_rtx does not load it on cuda:0: expecting compute 8.9 got compute 12.0" in caplog.text
    answers = [(None, "why"), (None, "why not")]
    told = pytest.raises(BackendError, match=r"\.plan does not load on cuda:0 with tensorrt_rtx: why not")
    with tensorrt.TensorRTBackend(path, spec, precision="fp32") as backend, told:
        backend.prepare(SIZE)


@pytest.mark.gpu
def test_a_plan_is_tried_on_the_gpu_before_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, spec = small(tmp_path)
    loaded = install(monkeypatch)
    check = Check(count=1)
    made = building.build(path, spec, (Profile.fixed(SIZE),), check=check)
    assert made.sidecar.report["agreement"]["where"] == "on cuda:0"
    assert len(loaded) == 1
    monkeypatch.setattr(tensorrt, "deserialise", lambda plan, host_code: (None, "no kernel image for sm90"))
    made = building.build(path, spec, (Profile.fixed((32, 32)),), check=check)
    assert "labels were compared on the CPU only: " in caplog.text and "no kernel image for sm90" in caplog.text
    assert made.sidecar.report["agreement"]["where"] == "fp16 rounding emulated on the CPU"
    wrong = FakeEngine()
    wrong.network = lambda tensor: -reference(tensor)
    monkeypatch.setattr(tensorrt, "deserialise", lambda plan, host_code: (wrong, ""))
    with pytest.raises(BackendError, match=r"net in fp16: labels equal to fp32 on .* on cuda:0\), 99\.000% is asked"):
        building.build(path, spec, (Profile.fixed((64, 64)),), check=check)
    assert len(list(Path("engines/net").glob("*.plan"))) == 2


@pytest.mark.gpu
def test_a_steady_run_allocates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Any) -> None:
    path, spec = small(tmp_path)
    install(monkeypatch)
    with tensorrt.TensorRTBackend(path, spec, precision="fp32", depth=2) as backend:
        for index in range(12):
            if index == 4:
                before = emulator.counters()
            backend.submit(image(SIZE, index))
            np.testing.assert_allclose(backend.collect(), reference(image(SIZE, index)), atol=1e-4)
        after = emulator.counters()
        for name in ("allocations", "pinned", "events", "streams"):
            assert after[name] == before[name], name
    after = emulator.counters()
    assert [after[name] for name in ("device_bytes", "pinned", "events", "streams", "contexts")] == [0] * 5


@pytest.mark.gpu
def test_frames_stay_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame's graph around TensorRT's network gives the labels of the host's path."""
    from rtseg.segmenter.device import DeviceSegmenter  # which imports PyCUDA

    path, spec = small(tmp_path)
    install(monkeypatch)
    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 70, 3), np.uint8)
    with (
        tensorrt.TensorRTBackend(path, spec, precision="fp32", depth=2) as backend,
        DeviceSegmenter(backend, backend.device_network, size=SIZE) as segmenter,
    ):
        found = [segmenter(frame) for frame in frames]
    host = HostSegmenter(NullBackend(None, spec, answer=lambda tensor: reference(tensor).astype(np.float32)), size=SIZE)
    for frame, labels in zip(frames, found, strict=True):
        np.testing.assert_array_equal(labels, host(frame))


@pytest.mark.gpu
def test_contexts_end_with_their_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Any) -> None:
    """A context frees memory on the GPU, so it may neither wait for the garbage collector nor outlive the device."""
    from rtseg.segmenter.device import KEPT_RECORDED, DeviceSegmenter  # which imports PyCUDA

    path, spec = small(tmp_path)
    loaded, left = install(monkeypatch), []
    gc.disable()
    try:
        backend = tensorrt.TensorRTBackend(path, spec, precision="fp32", depth=2)
        close = backend.gpu.close
        monkeypatch.setattr(backend.gpu, "close", lambda: (left.append(len(loaded[0].contexts)), close()))
        with backend, DeviceSegmenter(backend, backend.device_network, size=SIZE) as segmenter:
            backend.prepare(SIZE)
            streams = []
            for count, height in enumerate(range(48, 60, 2), start=1):
                segmenter(np.zeros((height, 70, 3), np.uint8))
                # The host's, and one for each frame in flight of the sizes that are kept.
                assert len(loaded[0].contexts) == 1 + 2 * min(count, KEPT_RECORDED)
                streams.append(emulator.counters()["streams"])
            assert len(set(streams[KEPT_RECORDED - 1 :])) == 1
    finally:
        gc.enable()
    assert left == [0]


@pytest.mark.gpu
def test_engine_that_is_not_what_its_sidecar_says(tmp_path: Path) -> None:
    _, spec = small(tmp_path)
    for engine in (FakeEngine(profiles=2), FakeEngine(names=("pixels", "other"))):
        with (
            open_gpu() as opened,
            pytest.raises(BackendError, match="is not what its sidecar says: build it again"),
        ):
            Execution(engine, [Profile.fixed(SIZE)], spec, opened)  # type: ignore[arg-type]


def test_bf16(tmp_path: Path) -> None:
    path, spec = small(tmp_path)
    with pytest.raises(BackendError, match="in fp16, fp32 or int8, not in bf16"):
        tensorrt.TensorRTBackend(path, spec, precision="bf16")
