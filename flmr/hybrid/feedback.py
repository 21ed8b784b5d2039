"""Pseudo-relevance feedback on a query's rows: what the best passages have in common and others have not is added.

Knows rows.  Knows no text, and needs no vocabulary: how rare a row is follows from a sample of other passages.
"""

# Q query rows, T rows of the passages, C centres, S sampled passages, D dimension.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flmr.hybrid.settings import Feedback
from flmr.index.kmeans import kmeans
from flmr.ops.maxsim import maxsim
from flmr.records import MultiVectors


def expand(
    query_QD: np.ndarray, passages: Sequence[np.ndarray], others: MultiVectors, settings: Feedback
) -> np.ndarray:
    """The query's rows and, after them, weighted centres of the passages' rows: (Q + at most settings.rows, D) float32.

    passages: their rows, (n, D) each.  others: a sample of the collection.  A centre's weight is what its best match in
    other passages falls short of that in these, as a share: about 0 for a row that every passage has.
    """
    rows_TD = np.concatenate(passages).astype(np.float32)
    if len(rows_TD) == 0:
        return query_QD
    centres_CD = kmeans(rows_TD, min(settings.clusters, len(rows_TD)))
    lone = MultiVectors.from_list([centre[None] for centre in centres_CD])
    here_C = maxsim(lone, MultiVectors.from_list([rows for rows in passages if len(rows)])).mean(axis=1)
    there_C = maxsim(lone, others).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rarity_C = np.where(here_C > 0, np.clip(1 - there_C / here_C, 0, 1), 0)
    best = np.argsort(-rarity_C, kind="stable")[: settings.rows]
    lengths = np.linalg.norm(centres_CD[best], axis=1)
    best, lengths = best[(lengths > 0) & (rarity_C[best] > 0)], lengths[(lengths > 0) & (rarity_C[best] > 0)]
    usual = np.linalg.norm(query_QD, axis=1).mean()
    scale = settings.weight * usual * rarity_C[best] / lengths
    added = centres_CD[best] * scale[:, None]
    return np.concatenate([query_QD, added]).astype(np.float32)
