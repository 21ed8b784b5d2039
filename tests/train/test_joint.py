"""Retriever and reader together: what is read, where gradients go, how runs resume and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from json_lines import read_jsonl, write_jsonl
from tiny_reader import write_tiny_reader
from training_runs import train_until

from flmr import Retriever
from flmr.cli import main
from flmr.data import read_passages, read_questions
from flmr.errors import FlmrError, InvalidInput, InvalidRecipe, InvalidRecord
from flmr.model import load_encoder
from flmr.model.reader import load_reader
from flmr.records import Query, Question
from flmr.train import RetrieverHooks, read_static_results, train
from flmr.train.joint import choose_targets, holds_answer

pytestmark = pytest.mark.usefixtures("one_thread")
Write = Callable[..., Path]
JOINT = """
[reader]
start = "reader"
[joint]
passages = 3
{joint}
[evaluate]
measure = "{measure}"
ks = [1, 5]
"""
FROZEN = [
    (f"learning_rate_{group} = 1e-3", f"learning_rate_{group} = 0.0") for group in ("vision", "mapping", "linear")
]
REFRESHED = "move_passages = true\nrefresh_every = 4"


@pytest.fixture
def write_joint(world: Path, write_recipe: Write) -> Write:
    """A joint recipe in the world of coloured squares, whose questions now have answers, and a reader beside it."""
    rows = read_jsonl(world / "questions.jsonl")
    for row in rows:
        row["answers"] = [f"{row['entity']} {'things' if row['kind'] == 'use' else 'land'}"]
        del row["positive_ids"]
    write_jsonl(world / "questions.jsonl", rows)
    texts = [passage.full_text for passage in read_passages(world / "passages.jsonl")]
    write_tiny_reader(world / "reader", [*texts, *(row["text"] for row in rows)])

    def write(
        *changes: tuple[str, str],
        joint: str = "",
        measure: str = "pseudo_recall@5",
        train: str = "",
        name: str = "j.toml",
    ) -> Path:
        more = ("warmup = 2", f"warmup = 2\nlearning_rate_reader = 1e-3\nsave_every = 4\n{train}")
        own = ("dim = 16", "dim = 16\nseparate_query_and_context_text_encoder = true")
        return write_recipe(more, own, *changes, extra=JOINT.format(joint=joint, measure=measure), name=name)

    return write


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(folder / "metrics.jsonl")]


def test_targets_are_what_the_passage_holds() -> None:
    question = Question(Query("q"), answers=("red", "dark red", "dark red", "rose"))
    texts = ["It is Dark Red.", "a red rose", "a rose", "nothing"]
    assert choose_targets(question, texts, "per_passage") == ["dark red", "red", "rose", "dark red"]
    assert choose_targets(question, texts, "gold") == ["dark red"] * 4
    assert holds_answer(question, texts) == [True, True, True, False]
    assert holds_answer(Question(Query("q"), answers=("", " ")), texts) == [False] * 4


@pytest.fixture
def hooks(world: Path, write_recipe: Write) -> Any:
    train(write_recipe(("steps = 12", "steps = 1")), out=world / "start", progress=False)
    encoder = load_encoder(world / "start", device="cpu")
    with RetrieverHooks.build(read_passages(world / "passages.jsonl"), world / "index", encoder) as made:
        yield made


def test_hooks_score_as_the_index_does_and_pass_gradients_to_the_questions(world: Path, hooks: RetrieverHooks) -> None:
    questions = [q.query for q in read_questions(world / "questions.jsonl")][:3]
    questions.append(Query("Where does it come from?", instruction="Find the answer:"))  # no picture
    rows, mask = hooks.query(questions)
    encoded = hooks.encoder.encode_queries(questions)
    for made, counts, expected in zip(rows, mask, encoded, strict=True):
        assert np.allclose(made[counts].detach().numpy(), expected, atol=1e-5)
    found = hooks.search(rows, mask, 4)
    ids = [[hit.id for hit in hits] for hits in found]
    scores = hooks.score(rows, mask, *hooks.passage_rows(ids))
    assert np.allclose(scores.detach().numpy(), [[hit.score for hit in hits] for hits in found], atol=1e-2)
    assert hooks.texts(ids)[0][0] == next(
        p.full_text for p in read_passages(world / "passages.jsonl") if p.id == ids[0][0]
    )
    (scores[:, 0] - scores[:, 1]).sum().backward()
    moved = {name for name, weight in hooks.model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert any(name.startswith("query_text_encoder.") for name in moved)
    assert any(name.startswith("transformer_mapping") for name in moved)
    live = hooks.encode_passages(ids)
    stored = hooks.passage_rows(ids)
    assert torch.equal(live[1], stored[1])
    assert torch.allclose(live[0][live[1]], stored[0][stored[1]], atol=1e-3)  # the index keeps float16
    hooks.model.zero_grad()
    hooks.score(rows.detach(), mask, *live)[:, 0].sum().backward()
    weight = hooks.model.context_text_encoder_linear.weight
    assert weight.grad is not None and weight.grad.any()
    with pytest.raises(InvalidInput, match="holds 16"):
        hooks.search(rows, mask, 17)


def test_refreshed_index_is_that_of_the_model_as_it_is_now(hooks: RetrieverHooks) -> None:
    hooks.model.train()
    before = hooks.index.vectors("red-use")
    with torch.no_grad():
        hooks.model.context_text_encoder_linear.weight.add_(0.3 * torch.eye(16, 32))
    hooks.refresh()
    after = hooks.index.vectors("red-use")
    assert all(module.training for module in hooks.model.modules())
    hooks.model.eval()
    expected = hooks.encoder.encode_passages([hooks.index.passage("red-use")])[0]  # type: ignore[list-item]
    assert np.allclose(after, expected, atol=1e-3) and not np.allclose(after, before, atol=1e-2)
    hooks.refresh()
    assert len(hooks.index) == 16 and hooks.encoder.fingerprint == hooks.index.encoder["fingerprint"]  # type: ignore[index]


def test_static_results_are_read_from_json_and_from_runs(tmp_path: Path) -> None:
    table = {"q": [{"passage_id": "b", "content": "x", "score": 1}, {"passage_id": "a", "content": "y", "score": 2.5}]}
    (tmp_path / "static.json").write_text(json.dumps(table))
    (tmp_path / "run.trec").write_text("q Q0 a 1 2.5 x\nq Q0 b 2 1.0 x\n")
    expected = {"q": [("a", 2.5), ("b", 1.0)]}
    assert read_static_results(tmp_path / "static.json") == expected
    assert {q: list(hits) for q, hits in read_static_results(tmp_path / "run.trec").items()} == expected
    (tmp_path / "bad.json").write_text('{"q": [{"id": "a"}]}')
    with pytest.raises(InvalidRecord, match="passage_id"):
        read_static_results(tmp_path / "bad.json")
    with pytest.raises(InvalidRecord, match="cannot be read"):
        read_static_results(tmp_path / "absent.json")


def test_a_joint_run_leaves_a_retriever_and_a_reader_that_work_together(world: Path, write_joint: Write) -> None:
    start = train(write_joint(("steps = 12", "steps = 1"), ("= 1e-3", "= 1e-12")), out=world / "a", progress=False)
    result = train(write_joint(train='choose = "last"'), out=world / "run", progress=False)
    rows = rows_of(result.folder)
    assert {"pseudo_recall@1", "pseudo_recall@5", "exact_match", "vqa_score"} == set(rows[0]["values"])
    assert all(0 <= row["found"] <= 1 and 0 <= row["right"] <= 1 for row in rows if "loss" in row)
    before, after = (load_encoder(folder, device="cpu").model.state_dict() for folder in (start.folder, result.folder))
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-9)}
    assert any(name.startswith("query_text_encoder") for name in moved)
    assert not [name for name in moved if name.startswith("context_text_encoder")]
    readers = [
        load_reader(folder / "reader", device="cpu").model.state_dict() for folder in (start.folder, result.folder)
    ]
    assert not all(torch.allclose(readers[0][name], readers[1][name], atol=1e-9) for name in readers[0])
    assert not (result.folder / "index").exists()
    questions = list(read_questions(world / "questions.jsonl"))
    with Retriever.build(world / "passages.jsonl", world / "i", result.folder, nbits=0, progress=False) as retriever:
        hits = retriever.search([question.query for question in questions], k=5)
    held = [
        any(holds_answer(q, [hit.passage.full_text for hit in own])) for q, own in zip(questions, hits, strict=True)
    ]
    assert np.mean(held) == pytest.approx(rows[-1]["values"]["pseudo_recall@5"])
    answers = load_reader(result.folder / "reader", device="cpu").answers([q.query for q in questions], hits)
    assert all(answer.hits and answer.log_probability < 0 for answer in answers)


def test_resumed_joint_run_equals_uninterrupted_run_bit_for_bit(world: Path, write_joint: Write) -> None:
    recipe = write_joint(joint=f"of_first = 6\n{REFRESHED}")
    train(recipe, out=world / "whole", progress=False)
    train_until(recipe, world / "parts", 7)
    train(recipe, out=world / "parts", progress=False, resume=True)
    assert rows_of(world / "parts") == rows_of(world / "whole")
    for name in ("model.safetensors", "reader/model.safetensors"):
        assert (world / "parts" / name).read_bytes() == (world / "whole" / name).read_bytes()


def test_static_results_are_read_in_place_of_a_search_and_must_hold_every_question(
    world: Path, write_joint: Write
) -> None:
    passages = [passage.id for passage in read_passages(world / "passages.jsonl")]
    questions = [question.id for question in read_questions(world / "questions.jsonl")]
    table = {q: [{"passage_id": p, "score": -float(i)} for i, p in enumerate(passages[:4])] for q in questions}
    static = 'retrieval = "static"\nstatic = ["static.json"]'
    (world / "static.json").write_text(json.dumps(table))
    result = train(write_joint(joint=static), out=world / "run", progress=False)
    # red and green squares are read whatever is asked: 4 of 16 questions find their answer
    assert result.values["pseudo_recall@5"] == 0.25
    for change, message in (
        ({q: hits for q, hits in table.items() if q != "q-red-use"}, r"for 2 of 32 questions \(first 'q-red-use'\)"),
        ({**table, "q-red-use": [{"passage_id": p, "score": 1} for p in ("x", "y", "z")]}, "passage 'x' is not among"),
    ):
        (world / "static.json").write_text(json.dumps(change))
        with pytest.raises(InvalidInput, match=message):
            train(write_joint(joint=static), out=world / "other", progress=False, resume=True)


def test_closed_book_reads_nothing_and_moves_the_reader_alone(world: Path, write_joint: Write) -> None:
    frozen = [*FROZEN, ("learning_rate_text = 1e-3", "learning_rate_text = 0.0")]
    closed = 'retrieval = "none"\nloss = { marginal = 1.0, relevance = 0.0 }'
    result = train(write_joint(*frozen, joint=closed, measure="exact_match"), out=world / "run", progress=False)
    assert set(result.values) == {"exact_match", "vqa_score"} and result.steps == 12


@pytest.mark.parametrize(
    ("changes", "joint", "message"),
    [
        ([], "passages_ = 1", "did you mean 'passages'"),
        ([("passages = 3", "passages = 17")], "", "only 16"),
        ([], "of_first = 2", "is below passages"),
        ([], "move_passages = true", "refresh_every"),
        ([("separate_query_and_context_text_encoder = true", "")], "", "refresh_every"),
        ([("dim = 16", "dim = 16\ncontext_concat_output_from_vision_encoder = true")], "", "refresh_every"),
        ([], 'retrieval = "static"', "need each other"),
        ([], "loss = { marginal = 0.0, relevance = 0.0 }", "nothing would be learned"),
        ([('measure = "pseudo_recall@5"', 'measure = "strict_recall@5"')], "", "measure must here be"),
        ([("warmup = 2", "warmup = 2\nchunk = 2")], "", "chunk does not go with"),
        ([("warmup = 2", "warmup = 2\npool_passages = 2")], "", "pool_passages does not go with"),
        ([('[reader]\nstart = "reader"', "")], "", "need each other"),
        ([('start = "reader"', 'start = "nowhere"')], "", "no folder"),
        ([('start = "reader"', 'start = "reader"\nbeam = 3')], "", "did you mean 'beams'"),
    ],
)  # fmt: skip
def test_wrong_recipes_end_in_one_clear_line(
    world: Path, write_joint: Write, changes: list[tuple[str, str]], joint: str, message: str
) -> None:
    recipe = write_joint(joint=joint)
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    with pytest.raises(FlmrError, match=message):
        train(recipe, out=world / "run", progress=False)


def test_command_line_trains_jointly(world: Path, write_joint: Write, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_joint(("steps = 12", "steps = 2"))
    assert main(["train", str(recipe), "--out", str(world / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measure"] == "pseudo_recall@5"
    recipe.write_text(recipe.read_text().replace("passages = 3", "passages = 17"))
    assert main(["train", str(recipe), "--out", str(world / "other")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: [joint] wants 17 passages a question")


def test_questions_without_an_answer_are_counted(world: Path, write_joint: Write) -> None:
    recipe = write_joint(("steps = 12", "steps = 1"))
    rows = read_jsonl(world / "questions.jsonl")
    rows[0]["answers"] = [" "]
    write_jsonl(world / "questions.jsonl", rows)
    assert train(recipe, out=world / "run", progress=False).left_out["questions without an answer"] == 2
    rows = [{**row, "answers": []} for row in rows]
    write_jsonl(world / "questions.jsonl", rows)
    with pytest.raises(InvalidInput, match="without an answer"):
        train(recipe, out=world / "none", progress=False)


def test_a_recipe_of_a_retriever_alone_takes_no_reader_rate(write_recipe: Write) -> None:
    with pytest.raises(InvalidRecipe, match="learning_rate_reader"):
        train(write_recipe(("warmup = 2", "warmup = 2\nlearning_rate_reader = 1e-3")), progress=False)
