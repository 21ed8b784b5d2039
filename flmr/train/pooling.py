"""Clustered rows in the forward pass: training learns with the rows that a pooled index will hold.

Knows rows that are padded at their end and the clusters of `flmr.ops.pool`; a cluster is chosen without a gradient, and
the gradient goes through the sum of its rows.  Knows nothing of models or losses.
Source: Veneroso et al., "CRISP: Clustering multi-vector representations for denoising and pruning", 2025; clusters are
Ward's here, those of the index, in the place of k-means.

Shapes: B items, L rows, K clusters, D dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from flmr.ops.pool import group


def pooled_rows(rows_BLD: Tensor, mask_BL: Tensor, factor: int, *, sums: bool = False) -> tuple[Tensor, Tensor]:
    """ceil(n / factor) rows of each item's n, (B, K, D), and the mask (B, K) of them; those that count come first.

    A row is the direction of its cluster's mean, as documents are pooled; with sums, the sum of the cluster: a query
    then scores as with all rows wherever those of a cluster match the same document row.
    """
    if factor == 1:
        return rows_BLD, mask_BL
    counts = mask_BL.sum(1).tolist()
    longest = max(-(-count // factor) for count in counts)
    members_BKL = rows_BLD.new_zeros(len(rows_BLD), longest, rows_BLD.shape[1])
    for member_KL, rows_LD, count in zip(members_BKL, rows_BLD.detach().float().cpu(), counts, strict=True):
        clusters = torch.from_numpy(group(rows_LD[:count].numpy(), factor))
        member_KL[clusters.to(member_KL.device), torch.arange(count, device=member_KL.device)] = 1
    summed_BKD = members_BKL @ rows_BLD
    return summed_BKD if sums else F.normalize(summed_BKD, dim=-1), members_BKL.any(2)
