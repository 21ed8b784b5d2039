"""Grades and a teacher's scores: read from the files, drawn into the batch, learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from json_lines import read_jsonl, write_jsonl
from training_runs import silent

from flmr.errors import InvalidInput, InvalidRecipe
from flmr.evaluate import write_run
from flmr.train import load_training_recipe, train
from flmr.train.contrastive import batch_loss
from flmr.train.dataset import TrainingData, load_data
from flmr.train.losses import distillation_loss, graded_loss, in_batch_loss, ranknet_loss
from flmr.train.recipe import DataRecipe, EvaluateRecipe, LossWeights, TrainRecipe
from flmr.train.sampler import ListSampler, make_batch

Write = Callable[..., Path]
SCORES = {"red-use": 9.0, "red-origin": 7.5, "pink-use": 3.0, "nowhere": 1.0}


def load(world: Path, **keys: Any) -> TrainingData:
    recipe = DataRecipe(world / "passages.jsonl", world / "questions.jsonl", use_images=False, **keys)
    return load_data(recipe, EvaluateRecipe(), seed=0, tick=silent)


def give_column(world: Path, scores: dict[str, Any]) -> None:
    rows = read_jsonl(world / "questions.jsonl")
    for row in rows:
        row["scores"] = scores if row["id"] == "q-red-use" else None
    write_jsonl(world / "questions.jsonl", rows)


def test_a_run_and_a_column_give_the_same_teacher(world: Path) -> None:
    write_run({"q-red-use": sorted(SCORES.items(), key=lambda hit: -hit[1])}, world / "teacher.trec")
    of_run = load(world, teacher=world / "teacher.trec")
    give_column(world, SCORES)
    of_column = load(world, teacher_column="scores")
    assert of_run.teacher == of_column.teacher
    ids = [passage.id for passage in of_run.passages]
    first = {ids[row]: score for row, score in of_run.teacher[0].items()}
    assert first == {passage: score for passage, score in SCORES.items() if passage != "nowhere"}
    reason = "questions of which the teacher scored fewer than two known passages"
    assert of_run.left_out.counts[reason] == len(of_run.train) - 1


@pytest.mark.parametrize(
    "scores", [{"red-use": "high", "pink-use": 1.0}, {"red-use": None, "pink-use": "1"}, [1.0, 2.0]]
)
def test_a_column_without_scores_is_refused_by_question(world: Path, scores: Any) -> None:
    give_column(world, scores)
    with pytest.raises(InvalidInput, match=r"'q-red-use': 'scores' must be an object"):
        load(world, teacher_column="scores")


def test_a_teacher_of_other_passages_is_refused(world: Path) -> None:
    give_column(world, {"p1": 1.0, "p2": 2.0})
    with pytest.raises(InvalidInput, match="column 'scores' scores two known passages for no training question"):
        load(world, teacher_column="scores")


def test_grades_come_from_the_judgments_and_positives_are_those_from_the_lowest_grade_on(world: Path) -> None:
    (world / "judged.qrels").write_text("q-red-use 0 red-use 3\nq-red-use 0 red-origin 1\nq-red-use 0 pink-use 0\n")
    data = load(world, qrels=world / "judged.qrels", min_grade=2)
    row = {passage.id: row for row, passage in enumerate(data.passages)}
    assert data.train.grades == ({row["red-use"]: 3, row["red-origin"]: 1},)
    assert data.train.positives == (frozenset({row["red-use"]}),)


def test_the_batch_holds_what_is_known_of_each_question_and_passage() -> None:
    teacher: list[dict[int, float]] = [{7: 2.5, 8: -1.0, 0: 4.0}, {}]
    grades = [{0: 2, 9: 1}, {1: 1}]
    lists = [ListSampler([[7, 8], []], 2), ListSampler([[9], [1]], 1)]
    positives = [frozenset({0}), frozenset({1})]
    batch = make_batch(np.array([1, 0]), positives, [], np.random.default_rng(0), lists, grades=grades, teacher=teacher)
    assert sorted(batch.passage_rows) == [0, 1, 7, 8, 9]
    column = {int(row): n for n, row in enumerate(batch.passage_rows)}
    assert not batch.taught[0].any() and not batch.teacher[0].any()
    assert {row: batch.teacher[1, column[row]] for row in column if batch.taught[1, column[row]]} == teacher[0]
    assert {row: batch.grades[1, column[row]] for row in column if batch.grades[1, column[row]]} == grades[0]
    assert {row: batch.grades[0, column[row]] for row in column if batch.grades[0, column[row]]} == grades[1]


def test_the_loss_of_a_batch_is_the_weighted_sum() -> None:
    batch = make_batch(
        np.arange(2), [frozenset({0}), frozenset({1})], [], np.random.default_rng(0),
        grades=[{0: 2, 1: 1}, {1: 1}], teacher=[{0: 1.0, 1: 3.0}, {0: 0.5, 1: -0.5}],
    )  # fmt: skip
    scores = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    labels, masked, grades, taught, teacher = map(
        torch.from_numpy, (batch.labels, batch.masked, batch.grades, batch.taught, batch.teacher)
    )
    recipe = TrainRecipe(loss=LossWeights(0.5, 2.0, 3.0, 4.0), temperature=2.0, teacher_temperature=0.5)
    expected = (
        0.5 * in_batch_loss(scores, labels, masked, temperature=2.0)
        + 2.0 * graded_loss(scores, grades, temperature=2.0)
        + 3.0 * distillation_loss(scores, teacher, taught, temperature=2.0, teacher_temperature=0.5)
        + 4.0 * ranknet_loss(scores, teacher, taught, temperature=2.0)
    )
    torch.testing.assert_close(batch_loss(scores, batch, recipe), expected)


def test_a_student_learns_the_order_of_its_teacher_without_a_label(world: Path, write_recipe: Write) -> None:
    """The teacher prefers the wrong kind of passage, so that only its scores can bring the student there."""
    questions = read_jsonl(world / "questions.jsonl")
    passages = [passage["id"] for passage in read_jsonl(world / "passages.jsonl")]
    for question in questions:
        name, kind = question["entity"], question["kind"]
        wanted = f"{name}-{'origin' if kind == 'use' else 'use'}"
        question["scores"] = {p: 4.0 * (p == wanted) + (p.split("-")[0] == name) for p in passages}
        question["taught_ids"] = [wanted]
        question["text"] += f" {name}"
    write_jsonl(world / "questions.jsonl", questions)
    for question in questions:
        question["positive_ids"] = question["taught_ids"]
    write_jsonl(world / "asked.jsonl", questions)
    recipe = write_recipe(
        ("steps = 12", "steps = 40"),
        ("evaluate_every = 6", "evaluate_every = 40"),
        (
            'valid_questions = "questions.jsonl"',
            'valid_questions = "asked.jsonl"\nteacher_column = "scores"\nuse_images = false',
        ),
        ('vision_tower = "clip"', 'vision_tower = "none"'),
        ("use_transformer_mapping_network = true", "use_transformer_mapping_network = false"),
        extra="taught_passages = 6\nloss = { in_batch = 0.0, distillation = 1.0, ranknet = 1.0 }\n"
        '[evaluate]\nmeasure = "strict_recall@1"',
    )
    result = train(recipe, out=world / "run", progress=False)
    rows = read_jsonl(result.folder / "metrics.jsonl")
    before = next(row["value"] for row in rows if "value" in row)
    assert result.best is not None and before < 0.3 and result.best > 0.8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("loss = { ranknet = 1.0 }", "need .data. teacher or teacher_column"),
        ("taught_passages = 2", "need .data. teacher or teacher_column"),
        ("loss = { in_batch = 0.0 }", "every loss the weight 0"),
        ("loss = { kl = 1.0 }", "unknown key 'kl'"),
        ("loss = { graded = -1.0 }", "graded must be at least 0"),
        ("teacher_temperature = 0.0", "teacher_temperature must be above 0"),
    ],
)
def test_losses_that_cannot_be_had_are_refused_by_name(write_recipe: Write, keys: str, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        load_training_recipe(write_recipe(extra=keys))
