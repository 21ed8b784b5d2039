"""Scores of embedded queries and documents, and the two contrastive losses.

Knows rows, masks and groups, and how ranks share their rows.  Knows nothing of tokens, images or parameters.

Shapes: B queries, N documents, L rows, D dimension, n negatives a query; the documents of query i are i*(1+n) and the
n that follow, the positive one first.
"""

from __future__ import annotations

import torch
from torch import distributed
from torch.nn import functional as F  # noqa: N812

from flmr.errors import InvalidInput
from flmr.ops.maxsim import maxsim, maxsim_pairs

# What a document without rows scores for each query row in the published `score`; nowhere else in flmr.
PUBLISHED_FILL = -9999.0


def in_batch_loss(scores_BN: torch.Tensor, num_negative_examples: int) -> torch.Tensor:
    """Cross-entropy of every query over all documents, its own positive being the label; the mean, ()."""
    labels_B = torch.arange(len(scores_BN), device=scores_BN.device) * (1 + num_negative_examples)
    return F.cross_entropy(scores_BN, labels_B)


def grouped_loss(scores_BG: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every query over its own group, the first being the label; the mean, ()."""
    labels_B = torch.zeros(len(scores_BG), dtype=torch.long, device=scores_BG.device)
    return F.cross_entropy(scores_BG, labels_B)


def own_scores(scores_BN: torch.Tensor, num_negative_examples: int) -> torch.Tensor:
    """Of all pairs, each query with its own group: (B, 1+n)."""
    size = 1 + num_negative_examples
    columns_BG = torch.arange(scores_BN.shape[1], device=scores_BN.device).view(-1, size)
    return scores_BN.gather(1, columns_BG)


def group_scores(
    queries_BLD: torch.Tensor, documents_NLD: torch.Tensor, mask_NL: torch.Tensor, num_negative_examples: int
) -> torch.Tensor:
    """Each query with its own documents only: (B, 1+n)."""
    groups = (len(queries_BLD), 1 + num_negative_examples)
    return maxsim_pairs(
        queries_BLD,
        documents_NLD.reshape(*groups, *documents_NLD.shape[1:]),
        document_mask=mask_NL.reshape(*groups, -1),
    )


def published_score(queries: torch.Tensor, documents: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """MaxSim as the published `score` gives it: in the documents' type, -9999 a row for a document without rows.

    queries (N, Lq, D) or (1, Lq, D) with documents (N, Ld, D): pairs, (N,).  Any other B: all pairs, (B, N).
    documents (B, K, Ld, D): each query with its K documents, (B, K).
    """
    queries = queries.to(documents.dtype)
    if mask is None:
        mask = torch.ones(documents.shape[:-1], dtype=torch.bool, device=documents.device)
    mask = mask.reshape(documents.shape[:-1]).bool()
    if documents.ndim == 4:
        scores = maxsim_pairs(queries, documents, document_mask=mask)
    elif len(queries) == len(documents):
        scores = maxsim_pairs(queries, documents[:, None], document_mask=mask[:, None])[:, 0]
        return scores.masked_fill(~mask.any(-1), PUBLISHED_FILL * queries.shape[1])
    else:
        scores = maxsim(queries, documents, document_mask=mask)
    scores = scores.masked_fill(~mask.any(-1), PUBLISHED_FILL * queries.shape[1])
    return scores[0] if documents.ndim == 3 and len(queries) == 1 else scores


def gather_ranks(rows_BLD: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows and masks of all ranks, in rank order; this rank's own keep their gradient, the others have none.

    Ranks may differ in L (shorter ones are filled with masked zero rows), not in B.  Without a process group the
    result is the input.  Raises InvalidInput.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows_BLD, mask_BL
    world, rank = distributed.get_world_size(), distributed.get_rank()
    own = torch.tensor(rows_BLD.shape[:2], device=rows_BLD.device)
    shapes = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(shapes, own)
    if len({int(shape[0]) for shape in shapes}) > 1:
        raise InvalidInput(f"ranks have batches of {[int(s[0]) for s in shapes]}; give every rank the same number")
    missing = max(int(shape[1]) for shape in shapes) - rows_BLD.shape[1]
    rows_BLD, mask_BL = F.pad(rows_BLD, (0, 0, 0, missing)), F.pad(mask_BL, (0, missing))
    rows = [torch.empty_like(rows_BLD) for _ in range(world)]
    masks = [torch.empty_like(mask_BL, dtype=torch.uint8) for _ in range(world)]
    distributed.all_gather(rows, rows_BLD.detach().contiguous())
    distributed.all_gather(masks, mask_BL.to(torch.uint8).contiguous())
    rows[rank] = rows_BLD
    return torch.cat(rows), torch.cat(masks).bool()
