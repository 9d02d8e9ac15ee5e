"""The same figures for frames on a GPU, and its own times beside them."""

from __future__ import annotations

import pytest

from tests import gpu

gpu.skip_without()

from rtseg.bench.compare import pooled  # noqa: E402
from rtseg.bench.measure import Load, measure  # noqa: E402
from rtseg.bench.replay import hold  # noqa: E402
from rtseg.config import RunConfig  # noqa: E402
from rtseg.pipeline import opening as runner  # noqa: E402
from rtseg.segmenter.recorded import GPU_STAGES  # noqa: E402
from rtseg.timing import STAGES  # noqa: E402
from tests.segmenter.block_network import BlockBackend  # noqa: E402

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("depth", [1, 2])
def test_times_on_the_gpu_are_measured_apart(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "open_model", lambda config: BlockBackend(config.depth))
    source = {"size": "96x160", "length": 5}
    config = RunConfig(input="synthetic:drive", output=("null:",), source=source, depth=depth, model="")
    clip = hold(config, memory_mb=10)
    one, facts = measure(config, clip, Load(20, 1.0, 3), lambda line: None)
    assert one["due"] == 20 == one["frames"] + one["drops"]["capture"]
    assert set(one["gpu_ms"]) == set(GPU_STAGES)
    assert all(row["samples"] == one["frames"] and row["max"] > 0 for row in one["gpu_ms"].values())
    assert set(one["stages_ms"]) == {*STAGES, "other"}
    assert abs(one["stages_sum"]["ratio"] - 1) <= one["stages_sum"]["within"]
    assert set(pooled([one])["gpu_ms"]) == set(GPU_STAGES)
    assert facts["model"]["device"] == "cuda:0"
