"""The in-batch loss against arithmetic by hand."""

from __future__ import annotations

import math

import torch

from flmr.train.losses import batch_accuracy, in_batch_loss

SCORES = torch.tensor([[2.0, 1.0, 5.0], [0.0, 3.0, 1.0]])
LABELS = torch.tensor([0, 1])
OPEN = torch.zeros(2, 3, dtype=torch.bool)


def test_loss_is_the_mean_cross_entropy() -> None:
    expected = torch.nn.functional.cross_entropy(SCORES, LABELS)
    assert torch.allclose(in_batch_loss(SCORES, LABELS, OPEN), expected)


def test_a_masked_passage_takes_no_part() -> None:
    masked = OPEN.clone()
    masked[0, 2] = True
    first = math.log(1 + math.exp(-1.0))
    second = -torch.log_softmax(SCORES[1], 0)[1].item()
    assert math.isclose(in_batch_loss(SCORES, LABELS, masked).item(), (first + second) / 2, rel_tol=1e-6)
    assert batch_accuracy(SCORES, LABELS, OPEN) == 0.5 and batch_accuracy(SCORES, LABELS, masked) == 1.0


def test_temperature_divides_and_smoothing_skips_masked_passages() -> None:
    masked = OPEN.clone()
    masked[0, 2] = True
    sharp = in_batch_loss(SCORES, LABELS, OPEN, temperature=0.5)
    assert torch.allclose(sharp, in_batch_loss(SCORES * 2, LABELS, OPEN))
    smoothed = in_batch_loss(SCORES, LABELS, masked, label_smoothing=0.1)
    log_p = torch.log_softmax(torch.tensor([2.0, 1.0]), 0), torch.log_softmax(SCORES[1], 0)
    expected = -sum(0.9 * p[label] + 0.1 * p.mean() for p, label in zip(log_p, (0, 1), strict=True)) / 2
    assert torch.allclose(smoothed, expected)


def test_masked_passages_get_no_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    masked = OPEN.clone()
    masked[0, 2] = True
    in_batch_loss(scores, LABELS, masked, label_smoothing=0.2).backward()
    assert scores.grad is not None and scores.grad[0, 2] == 0 and torch.isfinite(scores.grad).all()
