"""Rows clustered in the forward pass: the rows of a pooled index, with a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from flmr.ops.pool import pool
from flmr.train.pooling import pooled_rows


def _rows(lengths: list[int], dim: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    rows_BLD = F.normalize(torch.randn(len(lengths), max(lengths), dim, generator=generator), dim=-1)
    mask_BL = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return rows_BLD * mask_BL[..., None], mask_BL


@pytest.mark.parametrize("factor", [2, 3, 8, 100])
def test_rows_are_those_that_a_pooled_index_stores(factor: int) -> None:
    lengths = [17, 1, 8, 9]
    rows_BLD, mask_BL = _rows(lengths)
    found_BKD, found_BK = pooled_rows(rows_BLD, mask_BL, factor)
    stored, offsets = pool(rows_BLD[mask_BL].numpy(), np.cumsum([0, *lengths]), factor)
    assert found_BK.sum(1).tolist() == np.diff(offsets).tolist()
    assert np.abs(found_BKD[found_BK].numpy() - stored).max() < 1e-6
    assert not found_BKD[~found_BK].any()


def test_the_gradient_of_a_pooled_row_reaches_each_row_of_its_cluster() -> None:
    rows_BLD, mask_BL = _rows([6, 4])
    rows_BLD.requires_grad_()
    found_BKD, found_BK = pooled_rows(rows_BLD, mask_BL, 2, sums=True)
    found_BKD[found_BK].sum().backward()
    assert rows_BLD.grad is not None
    assert torch.equal(rows_BLD.grad, mask_BL[..., None].expand_as(rows_BLD).float())


def test_sums_of_like_rows_score_as_the_rows_did() -> None:
    row, other = F.normalize(torch.randn(2, 5, generator=torch.Generator().manual_seed(1)), dim=-1)
    rows_1LD, mask_1L = torch.stack([row, row, row, other])[None], torch.ones(1, 4, dtype=torch.bool)
    sums_1KD, _ = pooled_rows(rows_1LD, mask_1L, 2, sums=True)
    document_TD = F.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(2)), dim=-1)
    scores = [(rows[0] @ document_TD.T).max(1).values.sum() for rows in (rows_1LD, sums_1KD)]
    assert abs(scores[0] - scores[1]) < 1e-5


def test_a_factor_of_one_changes_nothing() -> None:
    rows_BLD, mask_BL = _rows([3, 2])
    found_BLD, found_BL = pooled_rows(rows_BLD, mask_BL, 1)
    assert found_BLD is rows_BLD and found_BL is mask_BL
