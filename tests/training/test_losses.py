"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rtseg.models.blocks import Heads
from rtseg.training.losses import (
    Criterion,
    LossWeights,
    boundaries,
    boundary_loss,
    class_weights,
    hard_mean,
    lovasz_softmax,
)


def test_class_weights() -> None:
    pixels = np.array([900, 100])
    assert class_weights(pixels, 0.0).tolist() == pytest.approx([1, 1])
    # Proportional to 1/sqrt(0.9) and 1/sqrt(0.1), with a mean of 1 over pixels.
    root = class_weights(pixels, 0.5)
    assert root[1] / root[0] == pytest.approx(3.0)
    assert 0.9 * root[0] + 0.1 * root[1] == pytest.approx(1.0)
    assert class_weights(np.array([10, 0]), 0.5).isfinite().all()


def test_hard_mean_takes_the_pixels_below_the_probability() -> None:
    probabilities = torch.tensor([0.95, 0.92, 0.5, 0.2, 0.01])
    valid = torch.tensor([True, True, True, True, False])
    loss = -probabilities.log()
    expected = -(math.log(0.5) + math.log(0.2)) / 2
    assert hard_mean(loss, valid, 0.9, 0.0).item() == pytest.approx(expected)
    # Three quarters of four pixels are at least three: the next hardest one is 0.92.
    expected = -(math.log(0.5) + math.log(0.2) + math.log(0.92)) / 3
    assert hard_mean(loss, valid, 0.9, 0.75).item() == pytest.approx(expected)
    nothing = hard_mean(loss.requires_grad_(), torch.zeros(5, dtype=torch.bool), 0.9, 0.5)
    assert nothing.item() == 0
    nothing.backward()


def test_boundaries() -> None:
    labels = torch.zeros(1, 5, 6, dtype=torch.int64)
    labels[:, :, 3:] = 7
    labels[:, 0, :] = 11
    expected = torch.zeros(1, 5, 6, dtype=torch.bool)
    expected[:, 1:, 2:4] = True  # beside void there is no boundary, and void is none
    assert torch.equal(boundaries(labels, ignore=11), expected)
    wide = boundaries(labels, ignore=11, width=5)
    assert wide[0, 2].tolist() == [False, True, True, True, True, False]


def test_boundary_loss_balances_the_two_sides() -> None:
    target = torch.tensor([[[True, False, False, False]]])
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
    valid = torch.ones_like(target)
    # One boundary pixel of weight 3/4 and three others of weight 1/4 each, all at -log(1/2), over 4 pixels.
    assert boundary_loss(logits, target, valid).item() == pytest.approx(math.log(2) * 1.5 / 4)
    valid[..., 3] = False
    assert boundary_loss(logits, target, valid).item() == pytest.approx(math.log(2) * (2 / 3 + 2 / 3) / 3)
    sure = torch.tensor([[[30.0, -30.0, -30.0, -30.0]]])
    assert boundary_loss(sure, target, valid).item() < 1e-6
    assert boundary_loss(logits, target, torch.zeros_like(valid)).item() == 0


def test_the_four_terms() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[..., 8:] = 1
    labels[:, 0] = 2  # void
    weights = LossWeights(auxiliary=0.4, boundary=20.0, boundary_aware=1.0, hard_fraction=0.0)
    criterion = Criterion(weights, torch.ones(2), ignore=2)
    flat = torch.zeros(1, 2, 2, 2)
    total, terms = criterion(Heads(flat, (flat,), torch.full((1, 1, 2, 2), 9.0)), labels)
    assert terms["auxiliary"].item() == pytest.approx(0.4 * math.log(2), rel=1e-5)
    assert terms["main"].item() == pytest.approx(math.log(2), rel=1e-5)
    assert terms["boundary_aware"].item() == pytest.approx(math.log(2), rel=1e-5)
    share = 2 / 16  # two of sixteen columns are boundary
    expected = 20 * (
        share * (1 - share) * math.log1p(math.exp(-9)) + (1 - share) * share * (9 + math.log1p(math.exp(-9)))
    )
    assert terms["boundary"].item() == pytest.approx(expected, rel=1e-4)
    assert total.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-6)
    # No pixel is a sure boundary: the boundary-aware term is silent.
    _, terms = criterion(Heads(flat, (flat,), torch.zeros(1, 1, 2, 2)), labels)
    assert terms["boundary_aware"].item() == 0


def test_main_term_is_weighted_cross_entropy_of_the_upsampled_logits() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 4, (2, 16, 20))
    balance = torch.tensor([1.0, 2.0, 5.0])
    weights = LossWeights(hard_probability=0.999999, hard_fraction=1.0)
    _, terms = Criterion(weights, balance, ignore=3)(Heads(logits, (logits,), torch.zeros(2, 1, 4, 5)), labels)
    large = F.interpolate(logits, (16, 20), mode="bilinear", align_corners=False)
    expected = 0.0
    for image in range(2):
        for y in range(16):
            for x in range(20):
                label = int(labels[image, y, x])
                if label != 3:
                    expected -= float(balance[label] * large[image, :, y, x].log_softmax(0)[label])
    assert terms["main"].item() == pytest.approx(expected / int((labels != 3).sum()), rel=1e-4)


def test_void_has_no_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    boundary = torch.randn(1, 1, 2, 2, requires_grad=True)
    labels = torch.full((1, 16, 16), 3)
    total, _ = Criterion(LossWeights(), torch.ones(3), ignore=3)(Heads(logits, (logits,), boundary), labels)
    total.backward()
    assert total.item() == 0
    assert not logits.grad.any() and not boundary.grad.any()


def jaccard_loss(wrong: set[int], truth: set[int]) -> float:
    """1 - IoU where exactly the pixels `wrong` are mistaken for one class (Berman et al. 2018, equation 4)."""
    return len(wrong) / len(truth | wrong) if truth | wrong else 0.0


def lovasz_by_definition(errors: list[float], truth: set[int]) -> float:
    """The Lovasz extension of `jaccard_loss`: errors in falling order, each times what its pixel adds (equation 5)."""
    order = sorted(range(len(errors)), key=lambda pixel: -errors[pixel])
    taken: set[int] = set()
    total = 0.0
    for pixel in order:
        before = jaccard_loss(taken, truth)
        taken.add(pixel)
        total += errors[pixel] * (jaccard_loss(taken, truth) - before)
    return total


def test_lovasz_softmax_is_the_extension_of_the_jaccard_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 3, 5), generator=generator)  # class 3 is not shown
    labels[0, 0, :2] = 9
    valid = (labels != 9).flatten()
    probabilities = logits.softmax(1).permute(0, 2, 3, 1).flatten(0, 2)[valid]
    truth = labels.flatten()[valid]
    expected = []
    for index in range(3):
        errors = (probabilities[:, index] - (truth == index).float()).abs().tolist()
        expected.append(lovasz_by_definition(errors, set(torch.nonzero(truth == index).flatten().tolist())))
    assert lovasz_softmax(logits, labels, 9).item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_lovasz_softmax_at_its_ends() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    right = 40.0 * F.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    assert lovasz_softmax(right, labels, 9).item() == pytest.approx(0, abs=1e-6)
    assert lovasz_softmax(-right, labels, 9).item() == pytest.approx(1, abs=1e-6)  # every IoU is 0
    logits = torch.zeros(1, 2, 1, 4, requires_grad=True)
    lovasz_softmax(logits, labels, 9).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 0, 0, :2] < 0).all() and (logits.grad[0, 0, 0, 2:] > 0).all()
    void = torch.zeros(1, 2, 1, 4, requires_grad=True)
    nothing = lovasz_softmax(void, torch.full((1, 1, 4), 9), 9)
    nothing.backward()
    assert nothing.item() == 0 and void.grad is not None and not void.grad.any()


def test_lovasz_softmax_draws_pixels_of_a_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtseg.training import losses

    monkeypatch.setattr(losses, "LOVASZ_PIXELS", 4000)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3, 100, 200, generator=generator)
    labels = torch.randint(0, 3, (1, 100, 200), generator=generator)
    torch.manual_seed(3)
    drawn = [lovasz_softmax(logits, labels, 9).item() for _ in range(2)]
    torch.manual_seed(3)
    assert lovasz_softmax(logits, labels, 9).item() == drawn[0] != drawn[1]
    monkeypatch.setattr(losses, "LOVASZ_PIXELS", 10**6)
    assert drawn == pytest.approx([lovasz_softmax(logits, labels, 9).item()] * 2, rel=0.05)
