"""The torch twin of the dense CRF gives the kernel's result, batched, with gradients, on a GPU too."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from rtseg.errors import ConfigError
from rtseg.geometry import Fit
from rtseg.kernels import cpu
from rtseg.kernels.crf_settings import Crf
from rtseg.kernels.crf_torch import mean_field, solver

SETTINGS = [Crf(), Crf(radius=2, iterations=3, appearance=5.0, smoothness=1.0, theta_beta=30.0), Crf(radius=9)]


def batch(classes: int, grid: tuple[int, int], fine: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(4)
    picture = rng.uniform(0, 60, (2, 3, *fine))
    return (
        torch.from_numpy(rng.normal(0, 2, (2, classes, *grid)).astype(np.float32)),
        torch.from_numpy(picture.astype(np.float32)),
    )


def check_twin(settings: Crf, fine: tuple[int, int], device: str) -> None:
    logits, picture = batch(6, (9, 14), fine)
    twin = mean_field(logits.to(device), picture.to(device), settings).cpu()
    for index in range(2):
        expected = cpu.crf(logits[index].numpy(), picture[index].numpy(), settings)
        assert np.abs(twin[index].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("fine", [(9, 14), (18, 28)])
def test_it_equals_the_kernel(settings: Crf, fine: tuple[int, int]) -> None:
    check_twin(settings, fine, "cpu")


@pytest.mark.gpu
def test_it_equals_the_kernel_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    check_twin(SETTINGS[1], (18, 28), "cuda")


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_it_takes_the_kernels_place(kind: Literal["logits", "probabilities"]) -> None:
    """In a letterboxed frame, on a finer grid, with a class that may not win and numbers that are none."""
    logits, picture = (tensor[0].numpy().copy() for tensor in batch(5, (9, 14), (18, 28)))
    if kind == "probabilities":
        logits = np.asarray(torch.from_numpy(logits).softmax(0))
        logits[0, 2] = 0
    else:
        logits[2, 4, 4], logits[3, 1, 1], logits[1, 7, 2] = np.nan, np.inf, -np.inf
    fit = Fit((100, 200), (180, 280), 40, 0, 100, 280)
    allowed = np.array([True, True, False, True, True])
    expected = cpu.crf(logits, picture, SETTINGS[1], fit=fit, kind=kind, allowed=allowed)
    found = cpu.crf(logits, picture, SETTINGS[1], fit=fit, kind=kind, allowed=allowed, solve=solver("cpu"))
    assert not found[:, :4].any() and found[:, 4:14].any(0).all()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_array_equal(found.argmax(0), expected.argmax(0))


def test_gradients_reach_the_scores_of_neighbours() -> None:
    logits, picture = batch(3, (5, 6), (5, 6))
    logits.requires_grad_()
    mean_field(logits, picture, Crf(radius=2, iterations=1))[0, 0, 2, 2].backward()
    assert logits.grad is not None
    reached = logits.grad[0].abs().sum(0) > 0
    assert reached[0:5, 0:5].all() and not reached[:, 5].any()
    assert not logits.grad[1].any()


def test_wrong_shapes_are_named() -> None:
    logits, picture = batch(3, (5, 6), (5, 6))
    with pytest.raises(ConfigError, match=r"picture \(1, 3, 5, 6\), expected \(N, C, h, w\)"):
        mean_field(logits, picture[:1], Crf())
