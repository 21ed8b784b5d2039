"""Tasks and mixtures of tasks as training data: ids, corpora, weights, samples, and what a recipe may not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import COLOURS
from json_lines import read_jsonl, write_jsonl
from task_files import write_m2kr, write_okvqa, write_text
from training_runs import silent

from flmr.errors import InvalidInput, InvalidRecipe, UnreadableImage
from flmr.evaluate import write_run
from flmr.recipe import from_table
from flmr.train import train
from flmr.train.dataset import choose_candidates, load_data
from flmr.train.recipe import DataRecipe, EvaluateRecipe, Negatives, TaskShare
from flmr.train.sampler import NegativeSampler, QuestionSampler

Write = Callable[..., Path]
FILES = 'passages = "passages.jsonl"\nquestions = "questions.jsonl"\nvalid_questions = "questions.jsonl"'


@pytest.fixture
def m2kr(tmp_path: Path) -> Path:
    for name in ("okvqa", "msmarco", "llava"):
        write_m2kr(tmp_path / "m2kr", name)
    return tmp_path / "m2kr"


def mixture(root: Path, *shares: TaskShare, valid_split: str = "") -> DataRecipe:
    return DataRecipe(mixture=shares, root=root, valid_split=valid_split)


def test_one_task_keeps_its_ids_and_is_validated_in_its_own_corpus(m2kr: Path) -> None:
    recipe = DataRecipe(task="m2kr/okvqa", root=m2kr, valid_split="valid")
    data = load_data(recipe, EvaluateRecipe(), seed=0, tick=silent)
    assert data.train.questions[0].id == "OKVQA_train_red_0" and len(data.train) == 20
    assert data.valid is not None and data.valid.questions[0].id == "OKVQA_valid_red_0"
    assert len(data.training_passages) == len(data.passages) == 20  # the same ids in both splits
    assert data.corpora.keys() == {""} and len(choose_candidates(data, 0, seed=0)) == 20
    assert len(data.train.pictures) == 5


def test_mixture_keeps_tasks_apart(m2kr: Path) -> None:
    shares = [TaskShare("m2kr/okvqa"), TaskShare("m2kr/msmarco", weight=2.0), TaskShare("m2kr/llava", weight=0.25)]
    data = load_data(mixture(m2kr, *shares, valid_split="valid"), EvaluateRecipe(by="task"), seed=0, tick=silent)
    assert len({passage.id for passage in data.passages}) == len(data.passages) == 60
    for question, positives in zip(data.train.questions, data.train.positives, strict=True):
        task = question.meta["task"]
        assert question.id.startswith(f"{task}/")
        assert {data.passages[row].meta["task"] for row in positives} == {task}
    assert data.corpora.keys() == {"m2kr/okvqa", "m2kr/msmarco"}  # llava has no valid split
    for task, rows in data.corpora.items():
        assert {data.passages[row].meta["task"] for row in rows} == {task} and len(rows) == 20
    assert len(choose_candidates(data, 0, seed=0)) == 40

    weights = mixture(m2kr, *shares).groups[1]
    sampler = QuestionSampler(data.train.groups, batch_size=5, seed=0, weights=weights)
    drawn = [{data.train.groups[row] for row in sampler.rows(step)} for step in range(sampler.batches_per_epoch)]
    assert all(len(groups) == 1 for groups in drawn)
    counts = [drawn.count({share.task}) for share in shares]
    assert counts == [4, 8, 1]

    negatives = NegativeSampler(data.training_passages, Negatives(3, same=("task",)))
    (positive,) = data.train.positives[0]
    rows = negatives.draw(positive, data.train.positives[0], np.random.default_rng(0))
    assert [data.passages[row].meta["task"] for row in rows] == ["m2kr/okvqa"] * 3


def test_sample_of_a_task_keeps_positives_and_mined_passages_and_counts_the_rest(m2kr: Path) -> None:
    asked = [f"OKVQA_train_{colour}_{n}" for colour in COLOURS for n in range(4)]
    write_run({question: [("P_blue_3", 2.0), ("P_red_1", 1.0)] for question in asked}, m2kr / "mined.trec")
    share = TaskShare("m2kr/okvqa", mined=m2kr / "mined.trec", max_questions=6, max_passages=9)
    data = load_data(mixture(m2kr, share), EvaluateRecipe(), seed=0, tick=silent)
    assert len(data.train) == 6 and len(data.passages) == 9
    assert "m2kr/okvqa/P_blue_3" in {passage.id for passage in data.passages}
    assert data.left_out.counts["questions of m2kr/okvqa beyond the sample"] == 14
    assert data.left_out.counts["passages of m2kr/okvqa beyond the sample"] == 11
    again = load_data(mixture(m2kr, share), EvaluateRecipe(), seed=0, tick=silent)
    assert [q.id for q in again.train.questions] == [q.id for q in data.train.questions]
    other = load_data(mixture(m2kr, share), EvaluateRecipe(), seed=1, tick=silent)
    assert [q.id for q in other.train.questions] != [q.id for q in data.train.questions]


def test_mined_ranks_of_a_task_go_by_its_own_ids(m2kr: Path) -> None:
    write_run({"OKVQA_train_red_1": [("P_blue_3", 2.0), ("P_red_1", 1.0)]}, m2kr / "mined.trec")
    share = TaskShare("m2kr/okvqa", mined=m2kr / "mined.trec")
    data = load_data(mixture(m2kr, share, TaskShare("m2kr/llava")), EvaluateRecipe(), seed=0, tick=silent)
    mined = {data.train.questions[i].id: rows for i, rows in enumerate(data.mined) if rows}
    assert {q: [data.passages[row].id for row in rows] for q, rows in mined.items()} == {
        "m2kr/okvqa/OKVQA_train_red_1": ["m2kr/okvqa/P_blue_3"]
    }


def test_mined_passages_that_hold_an_answer_are_dropped_or_become_positives(tmp_path: Path) -> None:
    write_okvqa(tmp_path)  # no judgments; the answers are copper and brass
    write_text(tmp_path / "okvqa_train_corpus.csv", "kid,text\n0,It is Copper\n1,tin\n2,brass and tin\n3,iron\n")
    run = tmp_path / "mined.trec"
    write_run({"425": [("1", 3.0), ("2", 2.0), ("0", 1.0)]}, run)
    recipe = DataRecipe(task="okvqa", root=tmp_path, use_images=False, mined=run, mined_answers="positive")
    data = load_data(recipe, EvaluateRecipe(), seed=0, tick=silent)
    assert [data.passages[row].id for row in sorted(data.train.positives[0])] == ["0", "2"]
    assert [data.passages[row].id for row in data.mined[0]] == ["1"]
    with pytest.raises(InvalidInput, match="1 questions without a known positive passage"):
        load_data(DataRecipe(task="okvqa", root=tmp_path, mined=run), EvaluateRecipe(), seed=0, tick=silent)

    asked = {"id": "q", "text": "?", "positive_ids": ["0"], "answers": ["copper", "brass"]}
    write_jsonl(tmp_path / "q.jsonl", [asked])
    write_jsonl(tmp_path / "p.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(["copper", "tin", "brass"])])
    write_run({"q": [("1", 3.0), ("2", 2.0), ("0", 1.0)]}, run)
    files = DataRecipe(tmp_path / "p.jsonl", tmp_path / "q.jsonl", mined=run, mined_answers="drop")
    data = load_data(files, EvaluateRecipe(), seed=0, tick=silent)
    assert data.train.positives == (frozenset({0}),) and data.mined == ((1,),)
    assert data.left_out.counts == {"mined passages that hold an answer": 1}


def test_corrupt_and_missing_pictures_of_a_task_are_counted(m2kr: Path) -> None:
    (m2kr / "images/OKVQA/train/red.png").write_bytes(b"no picture")
    (m2kr / "images/OKVQA/train/blue.png").unlink()
    recipe = DataRecipe(task="m2kr/okvqa", root=m2kr)
    data = load_data(recipe, EvaluateRecipe(), seed=0, tick=silent)
    assert len(data.train) == 12 and data.left_out.counts["questions whose picture cannot be read"] == 8
    with pytest.raises(UnreadableImage):
        load_data(DataRecipe(task="m2kr/okvqa", root=m2kr, strict=True), EvaluateRecipe(), seed=0, tick=silent)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"task": "m2kr/okvq", "root": "."}, "did you mean 'm2kr/okvqa'"),
        ({"task": "m2kr/okvqa"}, "root is missing: the folder that holds the data of 'm2kr/okvqa'"),
        ({"task": "m2kr/iglue", "root": "."}, "task 'm2kr/iglue' has no split 'train'"),
        ({"task": "m2kr/llava", "root": ".", "valid_split": "valid"}, "no task has the split 'valid'"),
        ({"task": "okvqa", "root": ".", "split": "dev"}, "must be one of train, valid, test, not 'dev'"),
        ({"task": "okvqa", "root": ".", "qrels": "q"}, "qrels does not go with a task"),
        ({"task": "okvqa", "root": ".", "passages": "p", "questions": "q"}, "one of the three"),
        ({"task": "okvqa", "root": ".", "mined_answers": "drop"}, "mined_answers needs mined"),
        ({"passages": "p"}, "needs passages and questions, or task, or mixture"),
        ({"root": ".", "mixture": [{"task": "wit"}], "group_by": "x"}, "group_by does not go with a mixture"),
        ({"root": ".", "mixture": [{"task": "wit"}, {"task": "wit"}]}, "names a task twice"),
        ({"root": ".", "mixture": [{"task": "wit", "weight": -1.0}]}, "weight must be at least 0"),
        ({"root": ".", "mixture": [{"task": "wi"}]}, r"mixture\[0\]: task 'wi' is not known; did you mean 'wit'"),
    ],
)
def test_wrong_recipe_of_tasks_is_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        from_table(table, DataRecipe)


def test_mixture_of_pictured_and_worded_tasks_trains(m2kr: Path, write_recipe: Write) -> None:
    recipe = write_recipe(
        (
            FILES,
            f'root = "{m2kr}"\nvalid_split = "valid"\n'
            '[[data.mixture]]\ntask = "m2kr/okvqa"\n[[data.mixture]]\ntask = "m2kr/msmarco"\nweight = 0.5\n'
            '[evaluate]\nby = "task"\nmeasure = "strict_recall@1"',
        ),
        ("batch_size = 8", 'batch_size = 5\nnegatives = [{ count = 1, same = ["task"] }]'),
        ("evaluate_every = 6", "evaluate_every = 40"),
        ("steps = 12", "steps = 40"),
    )
    result = train(recipe, out=m2kr / "run", progress=False)
    assert result.values.keys() >= {"m2kr/okvqa/strict_recall@1", "m2kr/msmarco/strict_recall@1"}
    assert result.best is not None and result.best > 0.05  # one of twenty by chance


def test_each_task_of_a_mixture_is_chosen_by_the_measure_it_is_published_with(m2kr: Path, write_recipe: Write) -> None:
    write_m2kr(m2kr, "wit")
    recipe = write_recipe(
        (
            FILES,
            f'root = "{m2kr}"\nvalid_split = "valid"\n[[data.mixture]]\ntask = "m2kr/okvqa"\n'
            '[[data.mixture]]\ntask = "m2kr/wit"\n[evaluate]\nby = "task"\nmeasure = "published"\nks = [1]',
        ),
        ("batch_size = 8", "batch_size = 5"),
        ("steps = 12", "steps = 2"),
    )
    result = train(recipe, out=m2kr / "run", progress=False)
    values, own = result.values, ("m2kr/okvqa/strict_recall@5", "m2kr/wit/strict_recall@10")
    assert result.measure == "published" and result.best == pytest.approx(np.mean([values[name] for name in own]))
    assert {"m2kr/okvqa/pseudo_recall@1", "m2kr/okvqa/pseudo_recall@5"} <= values.keys()  # strict and pseudo, both
    assert not any(name.startswith("m2kr/wit/pseudo") for name in values)  # it states no answers


def test_questions_with_answers_alone_are_validated_by_pseudo_recall(world: Path, write_recipe: Write) -> None:
    asked = read_jsonl(world / "questions.jsonl")[:6]
    for i, row in enumerate(asked):
        row["answers"] = [["for red things", "nobody says this", " "][i % 3]]
        del row["positive_ids"]
    write_jsonl(world / "valid.jsonl", asked)
    recipe = write_recipe(
        (FILES, FILES.replace('valid_questions = "questions', 'valid_questions = "valid')),
        ("steps = 12", "steps = 2"),
        extra='[evaluate]\nmeasure = "pseudo_recall@16"\nks = [16]',
    )
    result = train(recipe, out=world / "run", progress=False)
    assert result.left_out == {"questions without a known positive passage or an answer": 2}
    assert result.values == {"pseudo_recall@16": 0.5} and result.best == 0.5
    recipe.write_text(recipe.read_text().replace("pseudo_recall@16", "strict_recall@16"))
    with pytest.raises(InvalidInput, match="can be validated with: 6 questions without a known positive passage"):
        train(recipe, out=world / "strict", progress=False)


def test_only_a_task_has_a_published_measure(write_recipe: Write) -> None:
    with pytest.raises(InvalidRecipe, match=r"'published' is a task's: it needs \[data\] task"):
        train(write_recipe(extra='[evaluate]\nmeasure = "published"'), progress=False)
