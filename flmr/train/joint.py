"""Retriever and reader learn together: the questions' rows through the scores of what they found (RA-VQA).

Knows how a step retrieves, reads and is charged, which passages are read, and when the index is made anew.  Knows no
optimiser and no file but the index.
Source: Lin and Byrne, "Retrieval augmented visual question answering with outside knowledge", EMNLP 2022; the code
published for its successor freezes the retriever.
"""

# B questions, K passages of each, N = B * K prompts, L rows, D dimension.

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flmr.errors import CheckpointError, InvalidInput, InvalidRecipe
from flmr.evaluate import Run
from flmr.evaluate.answers import exact_match, vqa_score
from flmr.evaluate.pseudo_recall import usable_answers
from flmr.index import Index
from flmr.model.encoder import FLMREncoder
from flmr.model.reader import Lora, ReadTargets, load_reader
from flmr.progress import Report
from flmr.records import Hit, Question
from flmr.train.contrastive import Autocast
from flmr.train.dataset import QuestionSet, TrainingData
from flmr.train.encode import QuerySide
from flmr.train.hooks import RetrieverHooks, read_static_results
from flmr.train.losses import marginal_loss, pseudo_relevance_loss, reading_loss
from flmr.train.recipe import JointLossWeights, TrainingRecipe, TrainRecipe
from flmr.train.stage import ReadyStage

READER = "reader"  # in a run's folder: the reader; before the names of its weights; its learning-rate group
INDEX = "index"


@dataclass(frozen=True)
class JointStep:
    """The loss, how many passages were read, and what a row of metrics says beside.

    found: the share of questions with an answer in what they read.  right: the share of prompts whose answer the reader
    begins right.
    """

    loss: float
    num_passages: int
    facts: dict[str, float]


class Joint:
    """The reader and the index of a run, from its start to its end."""

    def __init__(
        self, recipe: TrainingRecipe, data: TrainingData, model: Any, tokenizers: tuple[Any, Any], folder: Path
    ) -> None:
        assert recipe.joint is not None and recipe.reader is not None
        self.recipe, self.data, self.folder = recipe.joint, data, folder / INDEX
        self.batch_size = recipe.evaluate.batch_size
        asked = recipe.reader
        settings = {name: getattr(asked, name) for name in ("prompt", "max_prompt", "max_answer", "beams")}
        self.reader = load_reader(
            asked.start,
            lora=Lora(**vars(asked.lora)) if asked.lora is not None else None,
            device=model.device,
            dtype=getattr(torch, asked.dtype),
            **{name: value for name, value in settings.items() if value},
        )
        self.adapts = {name for name, weight in self.reader.model.named_parameters() if weight.requires_grad}
        self.static = self._read_static()
        self.hooks: RetrieverHooks | None = None
        self.encoder = FLMREncoder(model, *tokenizers, device=str(model.device))
        self.built_at = 0
        self._check()

    # --- the index -------------------------------------------------------------------------------------------------

    def open(self, step: int | None, tick: Report) -> None:
        """The index made at a step (the run is resumed), or a new one (None).  Raises CheckpointError."""
        if self.recipe.retrieval == "none":
            return
        if step is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            tick("indexing", 0, len(self.data.passages))
            self.hooks = RetrieverHooks.build(
                self.data.passages, self.folder / "0", self.encoder, nbits=self.recipe.nbits
            )
            return
        place = self.folder / str(step)
        if not place.is_dir():
            raise CheckpointError(f"the index {str(place)!r} of the run is gone; train into another folder")
        self.hooks, self.built_at = RetrieverHooks(self.encoder, Index.open(place)), step

    def refresh(self, step: int) -> None:
        """Index the passages as the model encodes them now; the old index stays until `forget`."""
        if self.hooks is not None and step != self.built_at:
            self.hooks.refresh(self.folder / str(step))
            self.built_at = step

    def forget(self) -> None:
        """Remove the indexes that no saved state needs any more."""
        for place in self.folder.iterdir() if self.folder.is_dir() else ():
            if place.name.split(".")[0] != str(self.built_at):
                shutil.rmtree(place)

    def close(self) -> None:
        """Release the index and remove it: the checkpoint's own index is made by `flmr index`."""
        if self.hooks is not None:
            self.hooks.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- a step ----------------------------------------------------------------------------------------------------

    def moving(self, stage: TrainRecipe) -> dict[str, list[tuple[str, torch.nn.Parameter]]]:
        """The reader's weights that a stage moves, as `moving_parameters` gives the retriever's."""
        moved = []
        for name, weight in self.reader.model.named_parameters():
            weight.requires_grad_(name in self.adapts and stage.learning_rate_reader > 0)
            if weight.requires_grad:
                moved.append((f"{READER}.{name}", weight))
        return {READER: moved}

    def weights(self) -> dict[str, Tensor]:
        """The reader's weights that may move, by the names that `moving` gives."""
        named = self.reader.model.named_parameters()
        return {f"{READER}.{name}": weight for name, weight in named if name in self.adapts}

    def step(self, ready: ReadyStage, stage: TrainRecipe, step: int, autocast: Autocast) -> JointStep:
        """Retrieve, read, and add the gradient of the weighted losses to the weights of both."""
        self.reader.model.train(stage.learning_rate_reader > 0)
        rng = np.random.default_rng([ready.seed, step, 2])
        rows_B = ready.sampler.rows(step)
        views_B = rng.integers(ready.queries.views, size=len(rows_B))
        questions = [self.data.train.questions[row] for row in rows_B]
        with autocast():
            scores_BK, texts_BK = self._retrieve(ready.queries, rows_B, views_B, questions, rng)
            asked_N, texts_N, targets_N = [], [], []
            for question, texts in zip(questions, texts_BK, strict=True):
                asked_N += [question.query] * len(texts)
                texts_N += texts
                targets_N += choose_targets(question, texts, self.recipe.targets)
            read = self.reader.read(asked_N, texts_N, targets_N)
        holds_BK = torch.tensor([holds_answer(q, texts) for q, texts in zip(questions, texts_BK, strict=True)])
        weights = self.recipe.loss
        loss = joint_loss(scores_BK, read, holds_BK.to(scores_BK.device), weights)
        loss.backward()  # type: ignore[no-untyped-call]
        found = holds_BK.any(1).float().mean().item()
        right = read.first_right_N.float().mean().item()
        return JointStep(loss.item(), len(texts_N), {"found": found, "right": right})

    def _retrieve(
        self,
        queries: QuerySide,
        rows_B: np.ndarray,
        views_B: np.ndarray,
        questions: Sequence[Question],
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[list[str]]]:
        """Scores (B, K) of the passages that each question reads, with gradient, and their texts."""
        hooks, K = self.hooks, self.recipe.passages
        if hooks is None:
            return torch.zeros(len(questions), 1, device=self.reader.model.device), [[""] for _ in questions]
        rows_BLD, mask_BL = queries.encode(rows_B, views_B)
        first = max(K, self.recipe.of_first)
        if self.static:
            ranked = [[passage for passage, _ in self.static[question.id][:first]] for question in questions]
        else:
            ranked = [[hit.id for hit in hits] for hits in hooks.search(rows_BLD, mask_BL, first)]
        ids_BK = [[ids[i] for i in sorted(rng.permutation(len(ids))[:K])] for ids in ranked]
        documents = hooks.encode_passages(ids_BK) if self.recipe.move_passages else hooks.passage_rows(ids_BK)
        return hooks.score(rows_BLD, mask_BL, *documents), hooks.texts(ids_BK)

    # --- validation ------------------------------------------------------------------------------------------------

    def validate(self, queries: QuerySide, questions: QuestionSet, ks: Sequence[int], tick: Report) -> dict[str, float]:
        """pseudo_recall@k of what is found, exact_match and vqa_score of what is answered from the first K of it."""
        self.reader.model.eval()
        sums: dict[str, float] = defaultdict(float)
        depth = max(self.recipe.passages, *ks) if self.hooks is not None else 0
        if self.hooks is not None:
            depth = min(depth, len(self.hooks.index))
        for start in range(0, len(questions), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(questions)))
            asked = [questions.questions[row] for row in rows]
            hits = self._find(queries, rows, asked, depth)
            answers = self.reader.answers([q.query for q in asked], [own[: self.recipe.passages] for own in hits])
            for question, own, answer in zip(asked, hits, answers, strict=True):
                held = holds_answer(question, [hit.passage.full_text for hit in own if hit.passage is not None])
                for k in ks if self.hooks is not None else ():
                    sums[f"pseudo_recall@{k}"] += any(held[:k])
                sums["exact_match"] += exact_match(answer.text, question.answers)
                sums["vqa_score"] += vqa_score(answer.text, question.answers)
            tick("validating", int(rows[-1]) + 1, len(questions))
        return {name: total / len(questions) for name, total in sums.items()}

    @torch.no_grad()
    def _find(self, queries: QuerySide, rows: np.ndarray, asked: Sequence[Question], depth: int) -> list[list[Hit]]:
        if self.hooks is None:
            return [[] for _ in rows]
        rows_BLD, mask_BL = queries.encode(rows, np.zeros(len(rows), np.int64))
        if not self.static:
            return self.hooks.search(rows_BLD, mask_BL, depth, passages=True)
        ids_BK = [[passage for passage, _ in self.static[question.id][:depth]] for question in asked]
        found = []
        for i, ids in enumerate(ids_BK):
            scores = self.hooks.score(rows_BLD[i : i + 1], mask_BL[i : i + 1], *self.hooks.passage_rows([ids]))[0]
            texts = self.hooks.index.passages(ids)
            found.append([Hit(*own) for own in zip(ids, scores.tolist(), range(1, len(ids) + 1), texts, strict=True)])
        return found

    # --- checks ----------------------------------------------------------------------------------------------------

    def _read_static(self) -> Run:
        """The static results that the questions need; raises InvalidInput where they lack some."""
        ranked: dict[str, Any] = {}
        for path in self.recipe.static:
            ranked |= read_static_results(path)
        if not self.recipe.static:
            return {}
        known = {passage.id for passage in self.data.passages}
        names = ", ".join(repr(path.name) for path in self.recipe.static)
        sets = [self.data.train, *([self.data.valid] if self.data.valid is not None else [])]
        asked = [question.id for questions in sets for question in questions.questions]
        wanted = max(self.recipe.passages, self.recipe.of_first)
        missing = [question for question in asked if len(ranked.get(question, ())) < self.recipe.passages]
        if missing:
            raise InvalidInput(
                f"static results {names} hold fewer than {self.recipe.passages} passages for {len(missing):,} of"
                f" {len(asked):,} questions (first {missing[0]!r}); retrieve for all questions, validation's too"
            )
        for question in asked:
            unknown = [passage for passage, _ in ranked[question][:wanted] if passage not in known]
            if unknown:
                raise InvalidInput(f"static results {names}: passage {unknown[0]!r} is not among [data] passages")
        return ranked

    def _check(self) -> None:
        wanted, there = max(self.recipe.passages, self.recipe.of_first), len(self.data.passages)
        if self.recipe.retrieval != "none" and wanted > there:
            raise InvalidRecipe(f"[joint] wants {wanted} passages a question, but there are only {there}; lower it")


def passages_move(model: Any, stage: TrainRecipe, move_passages: bool) -> bool:
    """Whether a stage changes how passages are encoded, so that their index grows old."""
    config = model.config
    shared = not config.separate_query_and_context_text_encoder
    moves = (move_passages or shared) and (stage.learning_rate_text or stage.learning_rate_linear)
    if config.use_vision_encoder and config.context_concat_output_from_vision_encoder:
        seen_alike = not config.separate_query_and_context_vision_encoder
        moves = moves or ((move_passages or seen_alike) and (stage.learning_rate_vision or stage.learning_rate_mapping))
    return bool(moves)


def joint_loss(scores_BK: Tensor, read: ReadTargets, holds_BK: Tensor, weights: JointLossWeights) -> Tensor:
    """The sum of the losses that are weighed above 0, each times its weight."""
    shape = scores_BK.shape
    parts = []
    if weights.marginal:
        parts.append(weights.marginal * marginal_loss(scores_BK, read.log_p.reshape(shape)))
    if weights.reading:
        parts.append(weights.reading * reading_loss(read.log_p_NT, read.mask_NT))
    if weights.relevance:
        right_BK = read.first_right_N.reshape(shape)
        parts.append(weights.relevance * pseudo_relevance_loss(scores_BK, right_BK, holds_BK))
    return torch.stack(parts).sum()


def choose_targets(question: Question, texts: Sequence[str], rule: str) -> list[str]:
    """The answer that the reader shall give from each passage.

    rule "gold": the answer that most annotators gave.  "per_passage": that one where the passage holds it or holds
    none, else the most frequent one that it holds.
    """
    ranked = [answer for answer, _ in Counter(question.answers).most_common()]
    if rule == "gold":
        return [ranked[0]] * len(texts)
    lowered = [text.lower() for text in texts]
    return [next((a for a in ranked if a.strip() and a.strip().lower() in text), ranked[0]) for text in lowered]


def holds_answer(question: Question, texts: Sequence[str]) -> list[bool]:
    """Whether each text holds one of the question's answers, as pseudo recall looks for them."""
    wanted = usable_answers({question.id: question.answers}).get(question.id, ())
    return [any(answer in text.lower() for answer in wanted) for text in texts]
