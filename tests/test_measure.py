"""Measuring a retriever: controls, groups, chosen questions and agreement with the exact search."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hash_encoder import COLOURS, HashEncoder
from json_lines import read_jsonl, write_jsonl
from PIL import Image

from flmr.build import QuestionSet
from flmr.errors import InvalidInput, InvalidRecipe, InvalidRecord, StorageError
from flmr.index import SearchParams
from flmr.measure import Options, agreement, measure, question_sets, results_document, write_results
from flmr.records import MultiVectors, Passage, Query
from flmr.retriever import Retriever


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    passages = [Passage(f"{colour}-{n}", f"{colour} thing {n}") for colour in COLOURS for n in range(4)]
    with Retriever.build(passages, tmp_path / "kb", HashEncoder(), nbits=8) as built:
        yield built


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Which thing of the pictured colour has this number: needs the picture and the words."""
    lines = []
    for colour, rgb in COLOURS.items():
        Image.new("RGB", (8, 8), rgb).save(tmp_path / f"{colour}.png")
        for n in range(4):
            line = {"id": f"{colour}{n}", "image": f"{colour}.png", "text": f"which is {n}", "split": str(n % 2)}
            lines.append({**line, "positive_ids": [f"{colour}-{n}"], "answers": [colour]})
    return write_jsonl(tmp_path / "questions.jsonl", lines)


def test_controls_fall_to_chance_where_the_whole_question_does_not(retriever: Retriever, questions: Path) -> None:
    asked = QuestionSet(questions, ks=(1,))
    whole = measure(retriever, "q", asked, Options()).report
    no_image = measure(retriever, "q", asked, Options(drop_image=True)).report
    no_text = measure(retriever, "q", asked, Options(drop_text=True)).report
    assert whole.value("strict_recall@1") == 1 and whole.num_queries == 20
    assert no_image.value("strict_recall@1") <= 0.2 + 1e-9 and no_text.value("strict_recall@1") <= 0.25 + 1e-9
    assert no_text.value("pseudo_recall@1") == 1  # the colour alone answers


def test_instructions_are_left_out_where_asked(
    retriever: Retriever, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(questions, [{**line, "instruction": "Find it:"} for line in read_jsonl(questions)])
    asked_with: list[str] = []
    encode = retriever.encoder.encode_queries

    def noted(queries: Sequence[Query]) -> MultiVectors:
        asked_with.extend(query.instruction for query in queries)
        return encode(queries)

    monkeypatch.setattr(retriever.encoder, "encode_queries", noted)
    for drop in (False, True):
        measure(retriever, "q", QuestionSet(questions, ks=(1,)), Options(drop_instruction=drop))
    assert asked_with == ["Find it:"] * 20 + [""] * 20


def test_where_and_by_choose_and_group_questions(retriever: Retriever, questions: Path) -> None:
    chosen = measure(retriever, "q", QuestionSet(questions, where={"split": "1"}, ks=(1,)), Options())
    assert chosen.report.num_queries == 10
    both = measure(retriever, "q", QuestionSet(questions, where={"split": ["0", "1"]}, ks=(1,), by="split"), Options())
    assert both.report.num_queries == 20 and {k: r.num_queries for k, r in both.groups.items()} == {"0": 10, "1": 10}
    with pytest.raises(InvalidInput, match="none of the 0 questions chosen"):
        measure(retriever, "q", QuestionSet(questions, where={"split": "9"}), Options())
    with pytest.raises(InvalidInput, match="has no metadata 'colour' to report by; it has split"):
        measure(retriever, "q", QuestionSet(questions, by="colour"), Options())


def test_judgments_of_a_file_choose_the_questions(retriever: Retriever, questions: Path, tmp_path: Path) -> None:
    (tmp_path / "judged.tsv").write_text("red1\tred-1\t1\nblue0\tred-1\t0\n")
    measured = measure(retriever, "q", QuestionSet(questions, qrels=tmp_path / "judged.tsv", ks=(1,)), Options())
    assert measured.report.num_queries == 1 and list(measured.run) == ["red1"]
    with pytest.raises(InvalidRecord, match="does not exist"):
        measure(retriever, "q", QuestionSet(questions, qrels=tmp_path / "none.tsv"), Options())


def test_agreement_with_the_exact_search_is_one_for_itself(retriever: Retriever, questions: Path) -> None:
    options = Options(SearchParams(exact=True), against_exact=True)
    assert measure(retriever, "q", QuestionSet(questions, ks=(1,)), options).against_exact == {
        "recall@10": 1.0,
        "recall@100": 1.0,
    }
    exact = {"a": [("1", 3.0), ("2", 2.0), ("3", 1.0)], "b": [("1", 1.0)], "none": []}
    found = {"a": [("3", 1.0), ("2", 1.0)], "b": [("1", 1.0)], "none": []}
    assert (agreement(found, exact, 1), agreement(found, exact, 2)) == (0.5, 0.75)


def test_control_that_leaves_nothing_names_the_question(retriever: Retriever, tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    path.write_text('{"id": "w", "text": "which is 1", "positive_ids": ["red-1"]}\n')
    with pytest.raises(InvalidInput, match="query 'w' has neither text nor image"):
        measure(retriever, "q", QuestionSet(path), Options(drop_text=True))


def test_sets_come_from_files_or_from_a_recipe(tmp_path: Path) -> None:
    sets = question_sets(tmp_path / "test.jsonl", None, None, ks=(3,))
    assert sets == {"test": QuestionSet(tmp_path / "test.jsonl", ks=(3,))}
    recipe = tmp_path / "r.toml"
    recipe.write_text('passages = "p.jsonl"\n')
    with pytest.raises(InvalidInput, match=r"has no \[evaluate.NAME\] table"):
        question_sets(None, None, recipe)
    with pytest.raises(InvalidInput, match="not both"):
        question_sets(tmp_path / "q.jsonl", None, recipe)
    recipe.write_text('passages = "p.jsonl"\n[evaluate.x]\nquestions = "q"\nk = [1]\n')
    with pytest.raises(InvalidRecipe, match="unknown key 'k'; did you mean 'ks'"):
        question_sets(None, None, recipe)


def test_results_are_written_whole_or_refused(retriever: Retriever, questions: Path, tmp_path: Path) -> None:
    measured = [measure(retriever, "q", QuestionSet(questions, ks=(1,), by="split"), Options())]
    document = results_document(measured, retriever, tmp_path / "kb")
    assert document["items"] == 20 and document["encoder"]["name"] == "hash" and document["commit"]
    write_results(measured, document, run=tmp_path / "r.trec", out=tmp_path / "new" / "r.csv")
    with (tmp_path / "new" / "r.csv").open(encoding="utf-8") as file:
        assert {row["group"] for row in csv.DictReader(file)} == {"all", "0", "1"}
    assert len((tmp_path / "r.trec").read_text().splitlines()) == 20
    with pytest.raises(StorageError, match="cannot write"):
        write_results(measured, document, run=None, out=tmp_path / "r.trec" / "x.json")
