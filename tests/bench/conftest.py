"""A network of known delays in place of the configured one, and a clip to play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rtseg.backends.null import NullBackend
from rtseg.bench.replay import Clip
from rtseg.config import RunConfig
from rtseg.pipeline import opening as runner
from rtseg.timing import Samples, percentiles


@pytest.fixture
def clip() -> Clip:
    images = [np.full((48, 80, 3), 40 * i, np.uint8) for i in range(5)]
    return Clip("five grey frames", images, 25.0, {"frames": 5, "fps": 100.0, "ms": percentiles(Samples())})


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(input="five grey frames", output=("null:",), model="", backend="null", short_side=48)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with options of NullBackend: every pipeline that is opened then has that network."""

    def use(**options: Any) -> None:
        monkeypatch.setattr(runner, "open_model", lambda config: NullBackend(depth=config.depth, **options))

    return use
