"""How good the weights are now: every validation question against every candidate passage, exactly.

Knows encoding, exact MaxSim and the measures of flmr.evaluate, strict and pseudo.  Knows nothing of training.

Shapes: Q questions, N passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flmr.evaluate import Report as Measures
from flmr.evaluate import evaluate_run
from flmr.evaluate.report import DEPTH
from flmr.ops.maxsim import maxsim
from flmr.progress import Report
from flmr.records import Passage
from flmr.train.dataset import QuestionSet
from flmr.train.encode import PassageSide, QuerySide
from flmr.train.recipe import EvaluateRecipe


@dataclass(frozen=True)
class Validation:
    """The measure that chooses, and the full report of each group ("" where there is one only)."""

    value: float
    reports: dict[str, Measures]

    def values(self) -> dict[str, float]:
        """Every measure by name, `group/name` where there are groups."""
        return {
            f"{group}/{row.measure}" if group else row.measure: row.value
            for group, report in self.reports.items()
            for row in report.rows
        }


def validate(
    queries: QuerySide,
    passages: PassageSide,
    questions: QuestionSet,
    records: tuple[Passage, ...],
    candidates: np.ndarray,
    corpora: Mapping[str, np.ndarray],
    recipe: EvaluateRecipe,
    measure_of: Callable[[str], str],
    tick: Report,
) -> Validation:
    """Rank the candidates for every question and measure; the model must be in evaluation mode.

    corpora: where they differ, the passage rows that the questions of each task are ranked among.  measure_of: the
    measure of a group that chooses.
    """
    with torch.no_grad():
        scores_QN = _score_all(queries, passages, candidates, recipe.batch_size, tick)
    depth = max(DEPTH, *recipe.ks, *(int(measure_of(group).rpartition("@")[2]) for group in set(questions.groups)))
    rankings = _rank(scores_QN, questions, [records[row].id for row in candidates], candidates, corpora, depth)
    reports, texts = {}, {records[row].id: records[row].full_text for row in candidates}
    for group in sorted(set(questions.groups)):
        rows = [i for i, g in enumerate(questions.groups) if g == group]
        run = {questions.questions[i].id: rankings[i] for i in rows}
        qrels = {questions.questions[i].id: {records[row].id: 1 for row in questions.positives[i]} for i in rows}
        answers = {questions.questions[i].id: questions.questions[i].answers for i in rows}
        ks = {*recipe.ks, int(measure_of(group).rpartition("@")[2])}
        reports[group] = evaluate_run(
            run, qrels, ks=sorted(ks), answers=answers, passage_text=texts.__getitem__, num_passages=len(candidates)
        )
    chosen = [report.value(measure_of(group)) for group, report in reports.items()]
    return Validation(float(np.mean(chosen)), reports)


def _rank(
    scores_QN: np.ndarray,
    questions: QuestionSet,
    ids: list[str],
    candidates: np.ndarray,
    corpora: Mapping[str, np.ndarray],
    depth: int,
) -> list[list[tuple[str, float]]]:
    """The best candidates of each question among those of its corpus, as (passage id, score)."""
    columns_of = {task: np.flatnonzero(np.isin(candidates, rows)) for task, rows in corpora.items()}
    everything = columns_of.get("", np.arange(len(candidates)))
    rankings = []
    for question, scores_N in zip(questions.questions, scores_QN, strict=True):
        columns = columns_of.get(str(question.meta.get("task")), everything)
        top = torch.from_numpy(scores_N[columns]).topk(min(len(columns), depth))
        rankings.append([(ids[columns[n]], float(s)) for n, s in zip(top.indices.tolist(), top.values, strict=True)])
    return rankings


def _score_all(
    queries: QuerySide, passages: PassageSide, candidates: np.ndarray, batch_size: int, tick: Report
) -> np.ndarray:
    """Scores (Q, N) in the order of the candidates; documents of like length are padded together."""
    Q, N = len(queries), len(candidates)
    scores_QN = np.empty((Q, N), np.float32)
    encoded = list(_encode_queries(queries, batch_size))
    order = np.argsort(passages.texts.lengths[candidates], kind="stable")
    for start in range(0, N, batch_size):
        columns = order[start : start + batch_size]
        document_NLD, mask_NL = passages.encode(candidates[columns].tolist())
        for rows, query_BLD, query_mask_BL in encoded:
            part = maxsim(query_BLD, document_NLD.float(), query_mask=query_mask_BL, document_mask=mask_NL)
            scores_QN[np.ix_(rows, columns)] = part.cpu().numpy()
        tick("validating", min(start + batch_size, N), N)
    return scores_QN


def _encode_queries(queries: QuerySide, batch_size: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    for start in range(0, len(queries), batch_size):
        rows = np.arange(start, min(start + batch_size, len(queries)))
        query_BLD, mask_BL = queries.encode(rows, np.zeros(len(rows), np.int64))
        yield rows, query_BLD.float(), mask_BL
