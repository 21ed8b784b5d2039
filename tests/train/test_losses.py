"""The losses against arithmetic by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from flmr.train.losses import (
    batch_accuracy,
    distillation_loss,
    graded_loss,
    in_batch_loss,
    marginal_loss,
    pseudo_relevance_loss,
    ranknet_loss,
    reading_loss,
)

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


def log_softmax(*scores: float) -> list[float]:
    total = math.log(sum(math.exp(score) for score in scores))
    return [score - total for score in scores]


def test_graded_loss_spreads_the_target_by_gain() -> None:
    grades = torch.tensor([[2, 1, 0], [0, 0, 0]])  # gains 3 and 1; the second question has no grade and no part
    log_p = log_softmax(2.0, 1.0, 5.0)
    assert math.isclose(graded_loss(SCORES, grades).item(), -(3 * log_p[0] + log_p[1]) / 4, rel_tol=1e-6)
    log_p = log_softmax(1.0, 0.5, 2.5)
    assert math.isclose(
        graded_loss(SCORES, grades, temperature=2.0).item(), -(3 * log_p[0] + log_p[1]) / 4, rel_tol=1e-6
    )
    assert graded_loss(SCORES, torch.zeros(2, 3)) == 0


def test_graded_loss_of_one_positive_is_the_in_batch_loss() -> None:
    grades = torch.nn.functional.one_hot(LABELS, 3)
    torch.testing.assert_close(graded_loss(SCORES, grades), in_batch_loss(SCORES, LABELS, OPEN))


TEACHER = torch.tensor([[1.0, 7.0, 3.0], [4.0, 2.0, 9.0]])
TAUGHT = torch.tensor([[True, False, True], [True, False, False]])  # a single score teaches nothing


def test_distillation_is_the_divergence_over_what_the_teacher_scored() -> None:
    def by_hand(temperature: float, teacher_temperature: float) -> float:
        log_p = log_softmax(1.0 / teacher_temperature, 3.0 / teacher_temperature)
        log_q = log_softmax(2.0 / temperature, 5.0 / temperature)
        return sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))

    assert math.isclose(distillation_loss(SCORES, TEACHER, TAUGHT).item(), by_hand(1.0, 1.0), rel_tol=1e-5)  # float32
    softened = distillation_loss(SCORES, TEACHER, TAUGHT, temperature=4.0, teacher_temperature=2.0)
    assert math.isclose(softened.item(), by_hand(4.0, 2.0), rel_tol=1e-5)
    assert distillation_loss(TEACHER, TEACHER + 100, torch.ones_like(TAUGHT)).item() == pytest.approx(0, abs=1e-6)


def test_ranknet_counts_the_pairs_that_the_teacher_puts_in_order() -> None:
    everything = torch.ones_like(TAUGHT)
    teacher = torch.tensor([[1.0, 3.0, 3.0], [4.0, 2.0, 9.0]])  # the tie is no pair
    first = [math.log1p(math.exp(-(1.0 - 2.0))), math.log1p(math.exp(-(5.0 - 2.0)))]
    second = [math.log1p(math.exp(-d)) for d in (0.0 - 3.0, 1.0 - 3.0, 1.0 - 0.0)]
    expected = (sum(first) / 2 + sum(second) / 3) / 2
    assert math.isclose(ranknet_loss(SCORES, teacher, everything).item(), expected, rel_tol=1e-6)
    alone = math.log1p(math.exp(-(5.0 - 2.0) / 2))
    assert math.isclose(ranknet_loss(SCORES, TEACHER, TAUGHT, temperature=2.0).item(), alone, rel_tol=1e-6)


@pytest.mark.parametrize("loss", [distillation_loss, ranknet_loss])
def test_passages_that_the_teacher_did_not_score_get_no_gradient(loss: Any) -> None:
    scores = SCORES.clone().requires_grad_()
    unknown = TEACHER.masked_fill(~TAUGHT, torch.nan)
    loss(scores, unknown, TAUGHT).backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert (scores.grad[0, [0, 2]] != 0).all() and scores.grad[0, 1] == 0 and (scores.grad[1] == 0).all()
    assert loss(SCORES, TEACHER, torch.zeros_like(TAUGHT)) == 0


def test_gradients_of_the_losses_equal_differences() -> None:
    scores = SCORES.double().requires_grad_()
    grades = torch.tensor([[2, 1, 0], [0, 1, 3]])
    everything = torch.ones_like(TAUGHT)
    # The losses compute in float32, so the steps are wide.
    check = {"eps": 1e-2, "atol": 1e-3, "rtol": 1e-2}
    assert torch.autograd.gradcheck(lambda s: graded_loss(s, grades), scores, **check)
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, TEACHER, everything), scores, **check)
    assert torch.autograd.gradcheck(lambda s: ranknet_loss(s, TEACHER, everything), scores, **check)


def test_marginal_loss_is_minus_the_log_of_the_sum_over_passages() -> None:
    scores_BK = torch.tensor([[1.0, 3.0], [0.5, 0.5]])
    p_BK = torch.tensor([[0.9, 0.2], [0.01, 0.6]])
    e, e3 = math.e, math.e**3
    first, second = (e * 0.9 + e3 * 0.2) / (e + e3), (0.01 + 0.6) / 2
    expected = -(math.log(first) + math.log(second)) / 2
    assert marginal_loss(scores_BK, p_BK.log()).item() == pytest.approx(expected, rel=1e-6)


def test_marginal_loss_draws_helpful_passages_nearer_by_the_posterior_minus_the_prior() -> None:
    scores_BK = torch.randn(3, 4, dtype=torch.float64, generator=torch.manual_seed(0)).float().requires_grad_()
    log_p_BK = torch.randn(3, 4, generator=torch.manual_seed(1))
    marginal_loss(scores_BK, log_p_BK).backward()
    prior = scores_BK.detach().softmax(1)
    posterior = (scores_BK.detach().log_softmax(1) + log_p_BK).softmax(1)
    assert scores_BK.grad is not None
    torch.testing.assert_close(scores_BK.grad, (prior - posterior) / 3)


def test_reading_loss_is_the_mean_over_the_tokens_that_count() -> None:
    log_p_NT = torch.tensor([[-1.0, -2.0, -torch.inf], [-4.0, 0.0, -9.0]], requires_grad=True)
    mask_NT = torch.tensor([[True, True, False], [True, False, False]])
    loss = reading_loss(log_p_NT, mask_NT)
    loss.backward()
    assert loss.item() == pytest.approx(7 / 3)
    assert log_p_NT.grad is not None and log_p_NT.grad[~mask_NT].eq(0).all()


def test_pseudo_relevance_ignores_passages_on_which_reader_and_text_disagree() -> None:
    scores_BK = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    right_BK = torch.tensor([[True, False, True], [False, True, False]])
    holds_BK = torch.tensor([[True, False, False], [True, False, True]])
    loss = pseudo_relevance_loss(scores_BK, right_BK, holds_BK)
    total = math.e**2 + math.e + 1
    expected = -(math.log(math.e**2 / total) + math.log(1 - math.e / total)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert scores_BK.grad is not None and scores_BK.grad[1].eq(0).all() and scores_BK.grad[0].ne(0).all()
    nobody = pseudo_relevance_loss(scores_BK[1:], right_BK[1:], holds_BK[1:])
    assert nobody.item() == 0.0


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_of_answers_have_the_gradient_of_finite_differences(seed: int) -> None:
    torch.manual_seed(seed)
    scores_BK, step = torch.randn(2, 3), 1e-2
    log_p_BK, right_BK = torch.randn(2, 3), torch.rand(2, 3) > 0.5
    holds_BK = right_BK ^ (torch.rand(2, 3) > 0.7)
    for loss_of in (lambda s: marginal_loss(s, log_p_BK), lambda s: pseudo_relevance_loss(s, right_BK, holds_BK)):
        leaf = scores_BK.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(leaf), leaf)
        for b in range(2):
            for k in range(3):
                move = torch.zeros(2, 3)
                move[b, k] = step
                slope = (loss_of(scores_BK + move) - loss_of(scores_BK - move)) / (2 * step)
                assert gradient[b, k].item() == pytest.approx(slope.item(), abs=2e-4)
