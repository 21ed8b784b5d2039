"""Several rankings of one question made one: by their ranks, or by their scores on one scale.

Knows rankings: hits, or (passage id, score) pairs, best first.  Knows nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flmr.errors import InvalidInput
from flmr.evaluate.run import Ranking, Run, check_run
from flmr.hybrid.settings import check_method, check_scale
from flmr.records import Hit


def fuse(
    rankings: Sequence[Ranking | Sequence[Hit]],
    *,
    method: str = "rrf",
    weights: Sequence[float] | None = None,
    scale: str = "minmax",
    constant: float = 60.0,
    k: int | None = None,
) -> list[tuple[str, float]]:
    """The rankings' passages by their fused score, equal ones by id; the best k, or all.

    "rrf": the weighted sum of 1 / (constant + rank) (Cormack et al., SIGIR 2009).  "weighted": the weighted sum of
    scores that lie between 0 and 1 ("minmax") or have mean 0 and deviation 1 ("z"); a passage that a ranking lacks
    counts as its last there, and where all scores are equal those found count 1 and the others 0.
    weights: one a ranking, equal ones by default; a ranking of weight 0 is left out.
    Raises InvalidInput on another method or scale, wrong weights, or a ranking that is not best first.
    """
    check_method(method)
    check_scale(scale)
    if not rankings:
        raise InvalidInput("there is no ranking to fuse; give at least one")
    shares = [1 / len(rankings)] * len(rankings) if weights is None else list(weights)
    if len(shares) != len(rankings) or not all(share >= 0 for share in shares):
        raise InvalidInput(f"{len(rankings)} rankings need as many weights from 0, not {shares}")
    total: dict[str, float] = {}
    for ranking, share in zip(map(_pairs, rankings), shares, strict=True):
        if not share:
            continue
        if method == "rrf":
            points, missing = {passage: 1 / (constant + rank) for rank, (passage, _) in enumerate(ranking, 1)}, 0.0
        else:
            points, missing = _scaled(ranking, scale)
        for passage, value in points.items():
            # What a ranking without a passage gives it is taken off all that it has, so that it need not be added.
            total[passage] = total.get(passage, 0.0) + share * (value - missing)
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


def fuse_runs(
    runs: Sequence[Run],
    *,
    method: str = "rrf",
    weights: Sequence[float] | None = None,
    scale: str = "minmax",
    constant: float = 60.0,
    k: int | None = None,
    missing_ok: bool = False,
) -> dict[str, list[tuple[str, float]]]:
    """`fuse` for every question of several runs, as `evaluate.read_run` and `Retriever.search_many` give them.

    missing_ok: a question that a run lacks had no hit there (TREC files have no line for one).
    Raises InvalidInput where the runs are of different questions, and what `fuse` raises.
    """
    if not runs:
        raise InvalidInput("there is no run to fuse; give at least one")
    questions = list(dict.fromkeys(question for run in runs for question in run))
    for number, run in enumerate(runs, 1):
        lacking = [question for question in questions if question not in run]
        if lacking and not missing_ok:
            raise InvalidInput(
                f"run {number} lacks {len(lacking):,} of {len(questions):,} questions, {lacking[0]!r} among them: give"
                " runs of the same questions, or say that a run may have no hit for some (missing_ok, --missing-ok)"
            )
    return {
        question: fuse(
            [run.get(question, ()) for run in runs],
            method=method,
            weights=weights,
            scale=scale,
            constant=constant,
            k=k,
        )
        for question in questions
    }


def _pairs(ranking: Ranking | Sequence[Hit]) -> list[tuple[str, float]]:
    pairs = [(entry.id, entry.score) if isinstance(entry, Hit) else (entry[0], entry[1]) for entry in ranking]
    check_run({"a question": pairs})
    return pairs


def _scaled(ranking: Sequence[tuple[str, float]], scale: str) -> tuple[dict[str, float], float]:
    """Each passage's score on the common scale, and what a passage has that is not in the ranking."""
    scores = [score for _, score in ranking]
    spread = (scores[0] - scores[-1] if scale == "minmax" else float(np.std(scores))) if scores else 0.0
    if not spread > 0:
        return {passage: 1.0 for passage, _ in ranking}, 0.0
    middle = scores[-1] if scale == "minmax" else float(np.mean(scores))
    return {passage: (score - middle) / spread for passage, score in ranking}, (scores[-1] - middle) / spread
