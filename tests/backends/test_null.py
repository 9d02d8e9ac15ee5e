import time

import numpy as np
import pytest

from rtseg.backends import open_backend
from rtseg.backends.null import NULL_SPEC, NullBackend, bands, one_hot
from rtseg.errors import BackendError, ConfigError
from rtseg.packages.spec import ModelSpec

SIZE = (16, 64)
TENSOR = np.zeros((1, 3, *SIZE), np.float32)


def test_bands_from_left_to_right() -> None:
    with NullBackend() as backend:
        backend.prepare(SIZE)
        backend.submit(TENSOR)
        labels = backend.collect().argmax(0)
    assert labels.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2


def test_bands_of_a_label_map_network() -> None:
    spec = ModelSpec(name="x", classes=("a", "b"), multiple=8, output_stride=16, output_kind="labels")
    with NullBackend(None, spec) as backend:
        backend.submit(TENSOR)
        labels = backend.collect()
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 0, 1, 1]]
    assert bands(spec, (1, 1)).tolist() == [[0]]


def test_answer_as_an_array_and_as_a_function() -> None:
    labels = np.array([[0, 3], [2, 255]])
    with NullBackend(answer=one_hot(labels, 4)) as backend:
        backend.submit(TENSOR)
        found = backend.collect()
    assert found.argmax(0).tolist() == [[0, 3], [2, 0]]
    assert len(set(found[:, 1, 1])) == 1
    with NullBackend(answer=lambda tensor: tensor[0] + 1) as backend:
        backend.submit(TENSOR)
        assert np.array_equal(backend.collect(), TENSOR[0] + 1)


def test_delays_follow_each_other_and_stall_once() -> None:
    with NullBackend(delay_ms=20, stall_at=1, stall_ms=60, depth=3) as backend:
        start = time.monotonic()
        for _ in range(3):
            backend.submit(TENSOR)
        assert time.monotonic() - start < 0.015
        due = []
        for _ in range(3):
            backend.collect()
            due.append(time.monotonic() - start)
    assert [due[0] >= 0.02, due[1] >= 0.1, due[2] >= 0.12] == [True] * 3
    assert due[0] < 0.1


def test_stalls_again_and_again() -> None:
    with NullBackend(stall_every=2, stall_ms=30) as backend:
        for place in range(4):
            start = time.monotonic()
            backend.submit(TENSOR)
            backend.collect()
            assert place % 2 == 0 or time.monotonic() - start >= 0.03


def test_fails_when_asked() -> None:
    with NullBackend(fail_at=1) as backend:
        backend.submit(TENSOR)
        backend.collect()
        backend.submit(TENSOR)
        with pytest.raises(BackendError, match="fails at frame 1"):
            backend.collect()


def test_opens_without_a_model() -> None:
    with open_backend("null", "", depth=2) as backend:
        assert (backend.spec, backend.depth) == (NULL_SPEC, 2)


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(BackendError, match="got cuda, fp32"):
        NullBackend(device="cuda")
    with pytest.raises(BackendError, match="got cpu, fp16"):
        NullBackend(precision="fp16")
    with pytest.raises(ConfigError, match="got -1 and 0"):
        NullBackend(delay_ms=-1)
