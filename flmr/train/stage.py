"""One stage made ready: which weights move, what frozen towers are run ahead, which batches are dealt.

Knows how a recipe's stage turns a model and data into the two sides that are encoded in every step.  Knows no optimiser
step and writes only the store of picture features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flmr.model.encoder import FLMREncoder
from flmr.progress import Report
from flmr.train.dataset import QuestionSet, TrainingData
from flmr.train.encode import PassageSide, QuerySide, TokenizedTexts
from flmr.train.pictures import Picture, Pictures, Sight, SplitTower, StoredViews, with_black
from flmr.train.ranks import Ranks
from flmr.train.recall import RecalledTower, recalling
from flmr.train.recipe import AugmentRecipe, DataRecipe, TrainingRecipe, TrainRecipe
from flmr.train.sampler import Batch, ListSampler, NegativeSampler, QuestionSampler, make_batch

MEGABYTE = 1 << 20
TEXTS_AT_ONCE = 32  # texts of like length, so that little is padded


@dataclass(frozen=True)
class PreparedSide:
    """One set of records in the model's terms: ids of texts, and the pictures of each as rows of `pictures`."""

    texts: TokenizedTexts
    pictures: Pictures | None
    pictures_of: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Prepared:
    """The data in the model's terms, the same for all stages."""

    model: Any
    passages: PreparedSide
    train: PreparedSide
    valid: PreparedSide | None


def prepare(model: Any, tokenizers: tuple[Any, Any], data: TrainingData, recipe: TrainingRecipe) -> Prepared:
    """Tokenise every text as the encoder would.  What the model makes no rows of is left out of the pictures."""
    query_tokenizer, context_tokenizer = tokenizers
    encoder = FLMREncoder(model, query_tokenizer, context_tokenizer, device=str(model.device))
    # A mapping network looks at all text but the ids left out, and would see padding.
    rows_of = None if model.config.use_transformer_mapping_network else model.query_mask

    def seen(pictures: Sequence[Picture], augment: AugmentRecipe) -> Pictures | None:
        return Pictures(pictures, model.config.vision_config, augment, seed=recipe.seed) if pictures else None

    def side(questions: QuestionSet, augment: AugmentRecipe) -> PreparedSide:
        asked = [encoder.query_text(q.query) for q in questions.questions]
        texts = TokenizedTexts.of(query_tokenizer, asked, rows_of)
        if not encoder.reads_images:
            return PreparedSide(texts, None, ((),) * len(questions))
        pictures, pictures_of = questions.pictures, questions.pictures_of
        if encoder.draws_black:
            pictures, pictures_of = with_black(pictures, pictures_of)
        return PreparedSide(texts, seen(pictures, augment), pictures_of)

    texts = TokenizedTexts.of(context_tokenizer, [encoder.passage_text(passage) for passage in data.passages])
    passages = PreparedSide(texts, None, ((),) * len(data.passages))
    if encoder.encodes_images:
        assert len(data.pictures_of) == len(data.passages), "load_data was not told to look at passages' pictures"
        passages = PreparedSide(texts, seen(data.pictures, AugmentRecipe()), data.pictures_of)
    valid = side(data.valid, AugmentRecipe()) if data.valid is not None else None
    return Prepared(model, passages, side(data.train, recipe.augment), valid)


@dataclass(frozen=True)
class ReadyStage:
    """Everything that a step of this stage needs."""

    queries: QuerySide
    passages: PassageSide
    valid_queries: QuerySide | None
    frozen: tuple[torch.nn.Module, ...]
    sampler: QuestionSampler
    negatives: tuple[NegativeSampler, ...]
    lists: tuple[ListSampler, ...]
    data: TrainingData
    seed: int
    steps: int

    def deal(self, number: int) -> tuple[Batch, np.ndarray]:
        """A batch, counted from 0, and the view of each of its pictures: a pure function of (seed, number)."""
        rng = np.random.default_rng([self.seed, number, 1])
        batch = make_batch(
            self.sampler.rows(number),
            self.data.train.positives,
            self.negatives,
            rng,
            self.lists,
            grades=self.data.train.grades,
            teacher=self.data.teacher,
        )
        views_B = rng.integers(self.queries.views, size=len(batch.question_rows))
        return replace(batch, asked=self.queries.switches(batch.question_rows, rng)), views_B

    def set_modes(self, model: Any, *, training: bool) -> None:
        """Training mode but for what does not move: a frozen tower drops nothing out."""
        model.train(training)
        for module in self.frozen:
            module.eval()


@contextlib.contextmanager
def ready_stage(
    prepared: Prepared,
    data: TrainingData,
    stage: TrainRecipe,
    recipe: TrainingRecipe,
    *,
    seed: int,
    folder: Path,
    tick: Report,
    ranks: Ranks,
) -> Iterator[ReadyStage]:
    """Run frozen towers ahead, and within the block let the model use what they gave."""
    model = prepared.model
    frozen = _frozen_modules(model, stage)
    sight = partial(_sight, stage=stage, folder=folder, tick=tick, ranks=ranks)

    def query_side(side: PreparedSide, questions: QuestionSet) -> QuerySide:
        seen = sight(side.pictures, model, "query")
        drops = _drops(questions, recipe.data) if seen is not None else None
        return QuerySide(model, side.texts, side.pictures_of, seen, drops, stage.pool_queries)

    passages = PassageSide(
        model,
        prepared.passages.texts,
        stage.pool_passages,
        sight(prepared.passages.pictures, model, "context"),
        np.array([own[0] if own else -1 for own in prepared.passages.pictures_of], np.int64),
    )
    valid_queries = None
    if data.valid is not None and prepared.valid is not None:
        valid_queries = query_side(prepared.valid, data.valid)
    sampler = QuestionSampler(data.train.groups, batch_size=stage.batch_size, seed=seed, weights=recipe.data.groups[1])
    ready = ReadyStage(
        queries=query_side(prepared.train, data.train),
        passages=passages,
        valid_queries=valid_queries,
        frozen=frozen,
        sampler=sampler,
        negatives=tuple(NegativeSampler(data.training_passages, spec) for spec in stage.negatives if not spec.mined),
        lists=tuple(_list_samplers(data, stage)),
        data=data,
        seed=seed,
        steps=stage.steps or max(1, round(stage.epochs * sampler.batches_per_epoch / stage.accumulate)),
    )
    with recalling(model, _recalled_towers(prepared, stage, tick)):
        yield ready


def _list_samplers(data: TrainingData, stage: TrainRecipe) -> Iterator[ListSampler]:
    for spec in stage.negatives:
        if spec.mined:
            yield ListSampler(data.mined, spec.count, spec.mined)
    if stage.graded_passages:
        yield ListSampler([sorted(grades) for grades in data.train.grades], stage.graded_passages)
    if stage.taught_passages:
        yield ListSampler([sorted(scores) for scores in data.teacher], stage.taught_passages)


def _frozen_modules(model: Any, stage: TrainRecipe) -> tuple[torch.nn.Module, ...]:
    modules: list[torch.nn.Module] = []
    if not stage.learning_rate_text:
        modules += [model.query_text_encoder, model.context_text_encoder]
    if model.config.use_vision_encoder:
        if not stage.learning_rate_vision:
            modules += [model.query_vision_encoder, model.context_vision_encoder]
        if not stage.learning_rate_mapping:
            modules += [model.query_vision_projection, model.context_vision_projection]
    if model.config.use_transformer_mapping_network and not stage.learning_rate_mapping:
        modules += [model.transformer_mapping_network]
    return tuple(modules)


def _sight(
    pictures: Pictures | None,
    model: Any,
    side: str,
    stage: TrainRecipe,
    folder: Path,
    tick: Report,
    ranks: Ranks,
) -> Sight | None:
    """The pictures of a side and its tower, whose resting part has been run ahead where there is room for that."""
    if pictures is None:
        return None
    tower = SplitTower(getattr(model, f"{side}_vision_encoder"), _moving_layers(stage))
    stored = None
    if tower.runs_ahead and _megabytes_of_pictures(pictures, tower) <= stage.cache_mb:
        stored = ranks.first(partial(StoredViews.make, folder, pictures, tower, device=model.device, tick=tick))
    return Sight(pictures, tower, stored, stage.feature_dropout)


def _moving_layers(stage: TrainRecipe) -> int | None:
    """How many of a vision tower's last layers move; None: all."""
    return 0 if not stage.learning_rate_vision else stage.vision_layers or None


def _drops(questions: QuestionSet, recipe: DataRecipe) -> np.ndarray | None:
    """How often the words, and the picture, of each question are left out: (n, 2); None where the recipe never does."""
    drops = np.array([recipe.drops(str(question.meta.get("task"))) for question in questions.questions])
    rest = [(q.query.image is not None, bool(q.query.text.strip())) for q in questions.questions]
    drops *= np.array(rest)  # what a question has nothing beside is not left out
    return drops if drops.any() else None


def _megabytes_of_pictures(pictures: Pictures, tower: SplitTower) -> float:
    one = sum(tensor[0].numel() for tensor in tower.ahead()(pictures.pixels([0], [0]).to(tower.device)))
    return 2 * one * len(pictures) * pictures.views / MEGABYTE


def _recalled_towers(prepared: Prepared, stage: TrainRecipe, tick: Report) -> dict[str, RecalledTower]:
    """Stand-ins for the text towers, filled; none where the towers move or their states would need too much memory."""
    model = prepared.model
    sides = [prepared.passages, prepared.train, *([prepared.valid] if prepared.valid is not None else [])]
    texts = [side.texts for side in sides]
    tokens = sum(int(part.lengths.sum()) for part in texts)
    if stage.learning_rate_text or 4 * tokens * model.config.text_config.hidden_size / MEGABYTE > stage.cache_mb:
        return {}
    query_tower = RecalledTower(model.query_text_encoder)
    context_tower = RecalledTower(model.context_text_encoder)
    for part in texts[1:]:
        _recall(model.query_text_encoder, part, query_tower, tick)
    _recall(model.context_text_encoder, texts[0], context_tower, tick)
    return {"query_text_encoder": query_tower, "context_text_encoder": context_tower}


@torch.no_grad()
def _recall(tower: Any, texts: TokenizedTexts, recalled: RecalledTower, tick: Report) -> None:
    """Run a tower over different texts, in an order and batches that depend on nothing but the texts."""
    tower.eval()
    _, first = np.unique(texts.ids.numpy(), axis=0, return_index=True)
    order = first[np.lexsort((first, texts.lengths[first]))]
    for start in range(0, len(order), TEXTS_AT_ONCE):
        ids, attention = texts.take(order[start : start + TEXTS_AT_ONCE].tolist())
        device = next(tower.parameters()).device
        states_BLH = tower(ids.to(device), attention.to(device))[0]
        recalled.store(ids, states_BLH.cpu())
        tick("reading texts", start + len(ids), len(order))
