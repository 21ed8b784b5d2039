"""One contrastive step: questions against the passages of the batch, and the gradient of their loss.

Knows how a batch is encoded in parts, scored, and what its loss is.  Knows no optimiser and no file.

The gradient is taken in two halves that meet at the encoded rows.  A part may therefore forget how its rows were made
and be encoded once more when their gradient is known: memory is then that of one part, whatever the batch.
Source: Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021.
"""

# B questions, N passages, L rows, D dimension.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flmr.errors import InvalidInput
from flmr.ops.maxsim import maxsim
from flmr.train.encode import PassageSide, QuerySide
from flmr.train.losses import batch_accuracy, distillation_loss, graded_loss, in_batch_loss, ranknet_loss
from flmr.train.ranks import Ranks, SharedRows
from flmr.train.recipe import TrainRecipe
from flmr.train.sampler import Batch

PASSAGES_AT_ONCE = 32

Encode = Callable[[], tuple[Tensor, Tensor]]
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class StepResult:
    """The loss, and the share of the batch's questions that rank their positive first."""

    loss: float
    accuracy: float
    num_passages: int

    @property
    def facts(self) -> dict[str, float]:
        """What a row of metrics says beside the loss."""
        return {"accuracy": self.accuracy}


def contrastive_step(
    queries: QuerySide,
    passages: PassageSide,
    batch: Batch,
    views_B: np.ndarray,
    recipe: TrainRecipe,
    ranks: Ranks,
    autocast: Autocast = contextlib.nullcontext,
) -> StepResult:
    """Encode both sides, score every question with every passage of the batch, add its gradient to the weights.

    With recipe.chunk so many questions or passages are encoded at a time, and twice.  Each of several processes encodes
    its share and scores its questions; the loss is that of the whole batch in all of them, and their gradients add up
    to its gradient.  autocast: what forward passes run under.
    """
    if min(len(batch.question_rows), len(batch.passage_rows)) < ranks.world:
        raise InvalidInput(
            f"a batch of {len(batch.question_rows)} questions and {len(batch.passage_rows)} passages cannot be shared"
            f" by {ranks.world} processes; raise batch_size, drop small groups, or start fewer processes"
        )
    # Passages of like length are encoded and scored together, so that little is padded.
    order_N = np.argsort(passages.texts.lengths[batch.passage_rows], kind="stable")
    order_N = np.concatenate([order_N[rank :: ranks.world] for rank in range(ranks.world)])
    own_questions = np.arange(len(batch.question_rows))[ranks.own(len(batch.question_rows))]
    own_passages = batch.passage_rows[order_N[_place_of_own(len(order_N), ranks)]]
    keep_graph = recipe.chunk == 0
    with autocast():  # one for all parts: each weight is rounded once
        question_parts = [
            _Part(_asking(queries, batch, views_B, rows), autocast, keep_graph)
            for rows in _cut(own_questions, recipe.chunk or len(own_questions))
        ]
        passage_parts = [
            _Part(partial(passages.encode, rows.tolist()), autocast, keep_graph)
            for rows in _cut(own_passages, recipe.chunk or PASSAGES_AT_ONCE)
        ]
        shared = None
        documents = [(part.rows, part.mask) for part in passage_parts]
        if ranks.world > 1:
            shared = SharedRows(ranks, documents)
            documents = shared.parts(recipe.chunk or PASSAGES_AT_ONCE)
        scores_BN = ranks.gather_with_own_graph(_score(question_parts, documents))
        scores_BN = scores_BN[:, torch.from_numpy(np.argsort(order_N, kind="stable")).to(scores_BN.device)]
        loss = batch_loss(scores_BN, batch, recipe)
    labels_B, masked_BN = (torch.from_numpy(part).to(scores_BN.device) for part in (batch.labels, batch.masked))
    accuracy = batch_accuracy(scores_BN.detach(), labels_B, masked_BN)
    if not loss.requires_grad:
        raise InvalidInput(
            "no weight that this stage moves makes a row of this batch, as where only the mapping networks move and no"
            " question shows a picture; move another group, or leave that task out"
        )
    loss.backward()  # type: ignore[no-untyped-call]
    if shared is not None:
        shared.backward()
    _to_weights([*question_parts, *passage_parts], queries.model)
    return StepResult(loss.item(), accuracy, len(batch.passage_rows))


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


def _asking(queries: QuerySide, batch: Batch, views_B: np.ndarray, rows: np.ndarray) -> Encode:
    """How some questions of the batch are encoded."""
    asked = None if batch.asked is None else batch.asked[rows]
    return partial(queries.encode, batch.question_rows[rows], views_B[rows], asked)


class _Part:
    """Encoded rows (n, L, D) as a leaf of the loss's graph, with the mask (n, L) of those that count.

    keep_graph: whether the way back to the weights is kept, or walked a second time from the same random state.
    """

    def __init__(self, encode: Encode, autocast: Autocast, keep_graph: bool) -> None:
        self._encode, self._autocast, self._keep_graph = encode, autocast, keep_graph
        self._random = [] if keep_graph else _random_states()
        with torch.set_grad_enabled(keep_graph):
            made, self.mask = encode()
        self._made = made if keep_graph else None
        self.rows = made.detach().requires_grad_(made.requires_grad or not keep_graph)

    def made(self) -> Tensor:
        """The rows with the graph that made them."""
        if self._made is not None:
            return self._made
        _set_random_states(self._random)
        with self._autocast():
            return self._encode()[0]


def _score(questions: Sequence[_Part], documents: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Scores (B, N), parts in their order."""
    return torch.cat(
        [
            torch.cat([maxsim(q.rows, rows, query_mask=q.mask, document_mask=mask) for rows, mask in documents], dim=1)
            for q in questions
        ]
    )


def _to_weights(parts: Sequence[_Part], model: Any) -> None:
    """Carry the rows' gradients on to the weights: through the kept graphs together, or part by part."""
    kept = [part for part in parts if part._keep_graph and part.rows.grad is not None]
    if kept:
        torch.autograd.backward([part.made() for part in kept], [part.rows.grad for part in kept])
    with _statistics_at_rest(model):
        for part in parts:
            if not part._keep_graph:
                made = part.made()
                if made.requires_grad:
                    torch.autograd.backward(made, part.rows.grad)


@contextlib.contextmanager
def _statistics_at_rest(model: Any) -> Iterator[None]:
    """Batch normalisation counts a batch once, in the first pass."""
    layers = [layer for layer in model.modules() if hasattr(layer, "momentum")]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _random_states() -> list[Tensor]:
    """The processor's generator and, where CUDA is in use, that of the current device."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random_states(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)


def _place_of_own(count: int, ranks: Ranks) -> slice:
    """Where this process's passages stand when each takes every world-th of `count`, process by process."""
    sizes = [len(range(rank, count, ranks.world)) for rank in range(ranks.world)]
    return slice(sum(sizes[: ranks.rank]), sum(sizes[: ranks.rank + 1]))


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
