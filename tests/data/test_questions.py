"""Questions come out of every layout that is promised, with their positives and answers as tuples of strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from json_lines import write_jsonl

from flmr.data import ReadReport, qrels_of, read_questions
from flmr.errors import InvalidRecord
from flmr.records import Query, Question, Region


def write(folder: Path, *rows: Any) -> Path:
    return write_jsonl(folder / "questions.jsonl", rows)


def test_all_columns_reach_the_record(tmp_path: Path) -> None:
    row = {
        "id": "q",
        "text": "what?",
        "image": "a.png",
        "instruction": "Find:",
        "positive_ids": ["p"],
        "answers": ["x"],
    }
    (question,) = read_questions(write(tmp_path, {**row, "split": "test"}))
    assert question == Question(Query("what?", tmp_path / "a.png", "Find:", "q"), ("p",), ("x",), {"split": "test"})


def test_regions_are_fractions_of_the_image(tmp_path: Path) -> None:
    row = {"id": "q", "image": "a.png", "image_regions": [[0, 0, 0.5, 1], [0.25, 0.25, 1, 0.5]]}
    (question,) = read_questions(write(tmp_path, row))
    assert question.query.regions == (Region(0, 0, 0.5, 1), Region(0.25, 0.25, 1, 0.5))
    for wrong in ([[0, 0, 300, 200]], [[0, 0, 1]], "all"):
        with pytest.raises(InvalidRecord, match="image_regions must hold"):
            list(read_questions(write(tmp_path, {**row, "image_regions": wrong}), strict=True))


@pytest.mark.parametrize("id_name", ["id", "_id", "question_id"])
@pytest.mark.parametrize("text_name", ["text", "question"])
@pytest.mark.parametrize("image_name", ["image", "img_path"])
@pytest.mark.parametrize("positives_name", ["positive_ids", "pos_item_ids"])
def test_every_alias_is_understood(
    tmp_path: Path, id_name: str, text_name: str, image_name: str, positives_name: str
) -> None:
    row = {id_name: "q", text_name: "what?", image_name: "a.png", positives_name: ["p"]}
    (question,) = read_questions(write(tmp_path, row))
    assert question == Question(Query("what?", tmp_path / "a.png", id="q"), ("p",))


@pytest.mark.parametrize(
    ("given", "positives"),
    [
        (["a", "b"], ("a", "b")),
        ("a", ("a",)),
        (7, ("7",)),
        ([7, "8"], ("7", "8")),
        (["a", "a"], ("a",)),
        (None, ()),
        ([], ()),
    ],
)
def test_positives_may_be_a_list_or_one(tmp_path: Path, given: Any, positives: tuple[str, ...]) -> None:
    (question,) = read_questions(write(tmp_path, {"id": "q", "text": "?", "positive_ids": given}))
    assert question.positive_ids == positives


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        (["a", "b"], ("a", "b")),
        ("two words", ("two words",)),
        (3, ("3",)),
        ([2.5, "x"], ("2.5", "x")),
        (None, ()),
        ([""], ("",)),
    ],
)
def test_answers_may_be_a_list_or_one(tmp_path: Path, given: Any, answers: tuple[str, ...]) -> None:
    (question,) = read_questions(write(tmp_path, {"id": "q", "text": "?", "answers": given}))
    assert question.answers == answers


def test_answers_inside_beir_metadata_are_found(tmp_path: Path) -> None:
    (question,) = read_questions(
        write(tmp_path, {"_id": "q", "text": "?", "metadata": {"source": "s", "answers": ["x"]}})
    )
    assert question == Question(Query("?", id="q"), (), ("x",), {"source": "s"})


def test_a_question_may_be_a_picture_alone_or_text_alone(tmp_path: Path) -> None:
    path = write(tmp_path, {"id": "a", "image": "a.png", "text": None}, {"id": "b", "question": "?"})
    assert [(q.query.text, q.query.image) for q in read_questions(path)] == [("", tmp_path / "a.png"), ("?", None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "?"}, "no id; give one of the keys id, _id or question_id"),
        ({"id": "q"}, "neither text nor image"),
        ({"id": "q", "text": " "}, "neither text nor image"),
        ({"id": "q", "text": ["?"]}, "text must be a string"),
        ({"id": "q", "text": "?", "instruction": 1}, "instruction must be a string"),
        ({"id": "q", "text": "?", "positive_ids": [None]}, "an id must be a string"),
        ({"id": "q", "text": "?", "positive_ids": {"a": 1}}, "an id must be a string"),
        ({"id": "q", "text": "?", "answers": [["x"]]}, "answers must hold strings"),
        ({"id": "q", "text": "?", "answers": True}, "answers must hold strings"),
        ({"id": "ok", "text": "?"}, "id 'ok' stands on line 1 already"),
    ],
)
def test_a_bad_question_is_skipped_with_its_reason(tmp_path: Path, row: Any, reason: str) -> None:
    path = write(tmp_path, {"id": "ok", "text": "?"}, row)
    report = ReadReport()
    assert [q.id for q in read_questions(path, report=report)] == ["ok"]
    assert report.skipped[0].line == 2 and reason in report.skipped[0].reason
    with pytest.raises(InvalidRecord, match="line 2: "):
        list(read_questions(path, strict=True))


def test_m2kr_parquet_is_read(tmp_path: Path) -> None:
    row = {"question_id": "EVQA_1", "question": "what?", "instruction": "Find:", "img_path": "inat/1.jpg"}
    row |= {"pos_item_ids": ["W_1"], "pos_item_contents": ["t"], "answers": ["x"], "gold_answer": "x"}
    path = tmp_path / "evqa.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    (question,) = read_questions(path, image_folder=tmp_path / "images")
    assert question.query == Query("what?", tmp_path / "images/inat/1.jpg", "Find:", "EVQA_1")
    assert (question.positive_ids, question.answers) == (("W_1",), ("x",))
    assert question.meta == {"pos_item_contents": ["t"], "gold_answer": "x"}


def test_questions_carry_their_own_judgments() -> None:
    questions = [Question(Query("?", id="q"), ("a", "b")), Question(Query("?", id="r"))]
    assert qrels_of(questions) == {"q": {"a": 1, "b": 1}, "r": {}}


def test_the_public_questions_are_read_whole(shared: Path) -> None:
    questions = list(read_questions(shared / "data/public_kb/queries.jsonl", strict=True))
    assert len(questions) == 6109 and all(q.positive_ids and q.answers for q in questions)
    assert isinstance(questions[0].query.image, Path) and questions[0].query.image.is_file()
    squad = [
        q for q in read_questions(shared / "data/text_ir/queries.jsonl", strict=True) if q.meta["source"] == "squad"
    ]
    assert len(squad) == 10_570 and all(q.answers for q in squad)
