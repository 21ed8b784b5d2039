"""The contrastive loss over the passages of a batch.

Knows scores, labels and which columns are neither right nor wrong; knows nothing of models.

Shapes: B questions, N passages.
"""

from __future__ import annotations

import torch
from torch import Tensor


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


def batch_accuracy(scores_BN: Tensor, labels_B: Tensor, masked_BN: Tensor) -> float:
    """Share of questions whose positive scores above every passage that is not left out."""
    best_B = scores_BN.masked_fill(masked_BN, -torch.inf).argmax(dim=1)
    return (best_B == labels_B).float().mean().item()
