"""One contrastive step: questions against the passages of the batch.

Knows how a batch is scored and what its loss is.  Knows no optimiser and no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flmr.ops.maxsim import maxsim
from flmr.train.encode import PassageSide, QuerySide
from flmr.train.losses import batch_accuracy, distillation_loss, graded_loss, in_batch_loss, ranknet_loss
from flmr.train.recipe import TrainRecipe
from flmr.train.sampler import Batch

PASSAGES_AT_ONCE = 32


@dataclass(frozen=True)
class StepResult:
    """The loss with its gradient, and the share of the batch's questions that rank their positive first."""

    loss: Tensor
    accuracy: float
    num_passages: int


def contrastive_step(
    queries: QuerySide, passages: PassageSide, batch: Batch, views_B: np.ndarray, recipe: TrainRecipe
) -> StepResult:
    """Encode both sides, score every question against every passage of the batch, compare."""
    query_BLD, query_mask_BL = queries.encode(batch.question_rows, views_B)
    scores_BN = _score(query_BLD, query_mask_BL, passages, batch.passage_rows)
    labels_B, masked_BN = (torch.from_numpy(part).to(scores_BN.device) for part in (batch.labels, batch.masked))
    loss = batch_loss(scores_BN, batch, recipe)
    return StepResult(loss, batch_accuracy(scores_BN.detach(), labels_B, masked_BN), len(batch.passage_rows))


def batch_loss(scores_BN: Tensor, batch: Batch, recipe: TrainRecipe) -> Tensor:
    """The sum of the losses that the recipe weighs above 0, each times its weight."""
    labels_B, masked_BN, grades_BN, taught_BN, teacher_BN = (
        torch.from_numpy(part).to(scores_BN.device)
        for part in (batch.labels, batch.masked, batch.grades, batch.taught, batch.teacher)
    )
    weights, own = recipe.loss, {"temperature": recipe.temperature}
    both = {**own, "teacher_temperature": recipe.teacher_temperature}
    parts = []
    if weights.in_batch:
        smoothing = recipe.label_smoothing
        parts.append(weights.in_batch * in_batch_loss(scores_BN, labels_B, masked_BN, label_smoothing=smoothing, **own))
    if weights.graded:
        parts.append(weights.graded * graded_loss(scores_BN, grades_BN, **own))
    if weights.distillation:
        parts.append(weights.distillation * distillation_loss(scores_BN, teacher_BN, taught_BN, **both))
    if weights.ranknet:
        parts.append(weights.ranknet * ranknet_loss(scores_BN, teacher_BN, taught_BN, **own))
    return torch.stack(parts).sum()


def _score(query_BLD: Tensor, query_mask_BL: Tensor, passages: PassageSide, rows_N: np.ndarray) -> Tensor:
    """Scores (B, N); passages of like length are encoded and scored together, so that little is padded."""
    order = np.argsort(passages.texts.lengths[rows_N], kind="stable")
    parts = []
    for start in range(0, len(order), PASSAGES_AT_ONCE):
        rows = rows_N[order[start : start + PASSAGES_AT_ONCE]]
        passage_NLD, passage_mask_NL = passages.encode(rows.tolist())
        parts.append(maxsim(query_BLD, passage_NLD, query_mask=query_mask_BL, document_mask=passage_mask_NL))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(query_BLD.device)
    return torch.cat(parts, dim=1)[:, back]
