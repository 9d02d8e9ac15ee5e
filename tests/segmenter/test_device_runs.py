"""A whole run with frames on a GPU: the same loop, the same files, the times on the GPU in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from tests import gpu

gpu.skip_without()

from rtseg.backends.null import NullBackend  # noqa: E402
from rtseg.config import RunConfig  # noqa: E402
from rtseg.pipeline import opening as runner  # noqa: E402
from rtseg.pipeline.opening import run_config  # noqa: E402
from rtseg.segmenter.host import HostSegmenter  # noqa: E402
from rtseg.segmenter.opening import on_host  # noqa: E402
from rtseg.segmenter.recorded import GPU_STAGES  # noqa: E402
from rtseg.timing import STAGES  # noqa: E402
from tests.segmenter.block_network import SPEC, BlockBackend  # noqa: E402

pytestmark = pytest.mark.gpu


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, on_gpu: bool, **options: Any) -> dict[str, Any]:
    """Run the synthetic drive into PNG files of `folder`."""
    backend = BlockBackend(options.get("depth", 1))

    def opened(config: RunConfig) -> Any:
        return backend if on_gpu else NullBackend(None, SPEC, answer=backend.answer, depth=config.depth)

    monkeypatch.setattr(runner, "open_model", opened)
    chosen: dict[str, Any] = {
        "input": "synthetic:drive",
        "output": (f"{folder}/overlay-%03d.png", f"labels:{folder}/labels-%03d.png", f"{folder}/stats.jsonl"),
        "source": {"size": "96x160", "length": 9},
        "legend": True,
    }
    with backend:
        return run_config(RunConfig(**{**chosen, **options}))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_run_writes_the_files_of_the_host(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = {}
    for name in ("host", "gpu"):
        reports[name] = run(tmp_path / name, monkeypatch, on_gpu=name == "gpu", depth=depth)
    files = sorted(path.name for path in (tmp_path / "host").glob("*.png"))
    assert len(files) == 18
    for name in files:
        pictures = [cv2.imread(str(tmp_path / side / name), cv2.IMREAD_UNCHANGED) for side in ("host", "gpu")]
        np.testing.assert_array_equal(pictures[1], pictures[0], err_msg=name)
    assert reports["gpu"]["frames"] == reports["host"]["frames"] == 9
    assert reports["gpu"]["areas"] == reports["host"]["areas"]
    assert list(reports["host"]["latency"]["stages_ms"]) == list(STAGES)
    stages = reports["gpu"]["latency"]["stages_ms"]
    assert list(stages) == [*STAGES, *GPU_STAGES]
    assert all(stages[name]["samples"] == 9 and stages[name]["max"] > 0 for name in GPU_STAGES)
    assert reports["gpu"]["model"]["device"] == "cuda:0"


def test_a_run_without_an_overlay_brings_none_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Any
) -> None:
    report = run(tmp_path, monkeypatch, on_gpu=True, output=(f"{tmp_path}/stats.jsonl",), legend=False)
    counters = emulator.counters()
    assert report["frames"] == 9
    # And one before the graphs are recorded, one of each slot's graph, and the segmenter's own warm-up.
    assert counters["copies_down"] == 9 + 1 + 8 + 1
    assert counters["bytes_down"] == counters["copies_down"] * 1024
    assert [counters[name] for name in ("device_bytes", "pinned", "contexts", "streams", "events")] == [0] * 5


def test_refined_scores_go_through_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with BlockBackend() as backend:
        assert on_host(backend.spec, "crf") == "--refine works on the host's scores"
        assert on_host(backend.spec, "none") is None


def test_frames_on_the_host_open_no_gpu(caplog: pytest.LogCaptureFixture) -> None:
    class Elsewhere(NullBackend):
        """A network whose `device_network` nobody may ask for, as where PyCUDA is not installed."""

        @property
        def device_network(self) -> None:
            raise AssertionError("nothing needs them")

    backend = Elsewhere(None, replace(SPEC, output_layout="NHWC"))
    backend.device = "cuda:0"
    with runner.make_segmenter(RunConfig(input="synthetic:drive"), backend) as segmenter:
        assert isinstance(segmenter, HostSegmenter)
    assert "frames go through the host, only the network runs on cuda:0: blocks puts its classes last" in caplog.text
