"""What a batch of scores costs: against labels, against grades, against a teacher's scores, against a reader's answers.

Knows scores, and which columns count for which question; knows nothing of models.

Shapes: B questions, N passages, K columns that a teacher scored or passages that a reader read, T target tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def in_batch_loss(
    scores_BN: Tensor,
    labels_B: Tensor,
    masked_BN: Tensor,
    *,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of each question's positive against every other passage of the batch.

    masked_BN: bool, columns that are left out of a question's softmax.  label_smoothing spreads that share of the
    target evenly over the columns that are not left out.  float32 whatever the scores are.
    Source: FLMR's published in-batch loss, which has neither temperature nor smoothing.
    """
    logits_BN = (scores_BN.float() / temperature).masked_fill(masked_BN, -torch.inf)
    log_p_BN = logits_BN.log_softmax(dim=1)
    right_B = log_p_BN.gather(1, labels_B[:, None])[:, 0]
    if not label_smoothing:
        return -right_B.mean()
    open_BN = ~masked_BN
    even_B = log_p_BN.where(open_BN, torch.zeros_like(log_p_BN)).sum(1) / open_BN.sum(1)
    return -((1 - label_smoothing) * right_B + label_smoothing * even_B).mean()


def graded_loss(scores_BN: Tensor, grades_BN: Tensor, *, temperature: float = 1.0) -> Tensor:
    """List-wise cross-entropy: -sum_j t_j log softmax(s / temperature)_j with t_j = g_j / sum g, g = 2^grade - 1.

    grades_BN: 0 and more; a question without a grade above 0 has no target and is left out of the mean.  With one
    passage of grade 1 a question it is `in_batch_loss`.
    Source: Bruch et al., "An analysis of the softmax cost function for learning to rank", ICTIR 2019; gains as in nDCG.
    """
    gains_BN = torch.exp2(grades_BN.float()) - 1
    total_B = gains_BN.sum(1)
    targets_BN = gains_BN / total_B.clamp(min=1)[:, None]  # the smallest grade above 0 is 1, whose gain is 1
    log_p_BN = (scores_BN.float() / temperature).log_softmax(dim=1)
    return _mean_of(-_dot(targets_BN, log_p_BN), total_B > 0)


def distillation_loss(
    scores_BN: Tensor,
    teacher_BN: Tensor,
    taught_BN: Tensor,
    *,
    temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """KL(p || q) of each question: the softmax of the teacher's scores and of the own, over what the teacher scored.

    taught_BN: bool, the columns that the teacher scored; what teacher_BN holds elsewhere is not read.  The mean is over
    the questions with two such columns or more, 0 where there is none.  Probabilities of a teacher are given as
    log-odds.
    Source: Hinton et al., "Distilling the knowledge in a neural network", 2015; for late interaction Santhanam et al.,
    "ColBERTv2", NAACL 2022.
    """
    own_BK, teacher_BK, taught_BK = _taught_columns(scores_BN, teacher_BN, taught_BN)
    log_p_BK = _log_softmax(teacher_BK / teacher_temperature, taught_BK)
    log_q_BK = _log_softmax(own_BK / temperature, taught_BK)
    return _mean_of(_dot(log_p_BK.exp(), log_p_BK - log_q_BK), taught_BK.sum(1) > 1)


def ranknet_loss(scores_BN: Tensor, teacher_BN: Tensor, taught_BN: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean of log(1 + exp(-(s_i - s_j) / temperature)) over the pairs that the teacher puts in order, t_i > t_j.

    The mean over a question's pairs, then over the questions that have a pair, 0 where there is none; a tie of the
    teacher's is no pair.  taught_BN as in `distillation_loss`.
    Source: Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    own_BK, teacher_BK, taught_BK = _taught_columns(scores_BN, teacher_BN, taught_BN)
    pairs_BKK = (teacher_BK[:, :, None] > teacher_BK[:, None]) & taught_BK[:, :, None] & taught_BK[:, None]
    costs_BKK = F.softplus((own_BK[:, None] - own_BK[:, :, None]) / temperature)
    pairs_B = pairs_BKK.sum((1, 2))
    costs_B = costs_BKK.where(pairs_BKK, 0.0).sum((1, 2)) / pairs_B.clamp(min=1)
    return _mean_of(costs_B, pairs_B > 0)


def marginal_loss(scores_BK: Tensor, log_p_BK: Tensor) -> Tensor:
    """Mean of -log sum_k p(k) p(target | k) with p(k) = softmax of the question's scores over the passages it read.

    log_p_BK: the reader's log-probability of the whole target given each passage.  The gradient reaches whatever made
    the scores: passages with which the target is likelier than on average are drawn nearer.
    Source: Lewis et al., "Retrieval-augmented generation for knowledge-intensive NLP tasks", NeurIPS 2020
    (RAG-sequence); the published RA-VQA code takes the sum over the batch in place of the mean.
    """
    return -(scores_BK.float().log_softmax(dim=1) + log_p_BK.float()).logsumexp(dim=1).mean()


def reading_loss(log_p_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over the target tokens that count of -log p(token); knows no retriever.

    Source: Lin and Byrne, "Retrieval augmented visual question answering with outside knowledge", EMNLP 2022.
    """
    return -log_p_NT.float().where(mask_NT, 0.0).sum() / mask_NT.sum().clamp(min=1)


def pseudo_relevance_loss(scores_BK: Tensor, right_BK: Tensor, holds_BK: Tensor) -> Tensor:
    """Mean binary cross-entropy of softmax(scores) against what reader and text agree on; 0 where they never agree.

    right_BK: bool, the reader began the right answer with this passage (taken as given, no gradient).  holds_BK: bool,
    the passage holds an answer.  Both: target 1.  Neither: target 0.  One of the two: the passage is ignored, as it
    is either unhelpful though it holds the answer, or helpful by luck.
    Source: Lin and Byrne, EMNLP 2022 (the pseudo relevance labels of RA-VQA's retrieval loss).
    """
    agreed_BK = right_BK == holds_BK
    costs_BK = F.binary_cross_entropy(scores_BK.float().softmax(dim=1), holds_BK.float(), reduction="none")
    return costs_BK.where(agreed_BK, 0.0).sum() / agreed_BK.sum().clamp(min=1)


def batch_accuracy(scores_BN: Tensor, labels_B: Tensor, masked_BN: Tensor) -> float:
    """Share of questions whose positive scores above every passage that is not left out."""
    best_B = scores_BN.masked_fill(masked_BN, -torch.inf).argmax(dim=1)
    return (best_B == labels_B).float().mean().item()


def _taught_columns(scores_BN: Tensor, teacher_BN: Tensor, taught_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The taught columns of each question moved to the front, K being the most that any has; elsewhere zeros."""
    K = int(taught_BN.sum(1).max()) if len(taught_BN) else 0
    columns_BK = (~taught_BN).to(torch.uint8).argsort(dim=1, stable=True)[:, :K]
    taught_BK = taught_BN.gather(1, columns_BK)
    own_BK = scores_BN.float().gather(1, columns_BK).where(taught_BK, 0.0)
    return own_BK, teacher_BN.float().gather(1, columns_BK).where(taught_BK, 0.0), taught_BK


def _log_softmax(logits_BK: Tensor, open_BK: Tensor) -> Tensor:
    """Over the open columns; the lowest number in the others."""
    closed = torch.finfo(logits_BK.dtype).min  # not -inf: a row that is closed throughout has a gradient of 0, not NaN
    log_p_BK = logits_BK.masked_fill(~open_BK, closed).log_softmax(dim=1)
    return log_p_BK.where(open_BK, closed)


def _dot(weights_BN: Tensor, values_BN: Tensor) -> Tensor:
    """Sum of products (B,); a weight of 0 takes no part, be its value infinite."""
    return (weights_BN * values_BN.where(weights_BN > 0, 0.0)).sum(1)


def _mean_of(values_B: Tensor, counted_B: Tensor) -> Tensor:
    """The mean of what counts, 0 where nothing does."""
    return values_B.where(counted_B, 0.0).sum() / counted_B.sum().clamp(min=1)
