"""The verb that measures: its tables, its documents, the sets of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Ask, flmr
from json_lines import read_jsonl


def test_evaluate_reports_both_recalls_chance_and_misses(kb: Path, ask: Ask, tmp_path: Path) -> None:
    questions, results, run = kb / "questions.jsonl", tmp_path / "results.json", tmp_path / "out.trec"
    options = ("--queries", questions, "-k", "1,4", "--by", "kind", "--against-exact", "--out", results, "--run", run)
    document = ask("evaluate", kb / "index", *options)
    one = document["sets"]["questions"]
    values = {row["measure"]: row for row in one["report"]["rows"]}
    assert values["strict_recall@4"]["value"] == pytest.approx(2 / 3)
    assert values["strict_recall@4"]["chance"] == 1.0 and values["pseudo_recall@4"]["value"] == 1.0
    assert list(one["unreadable_images"]) == ["q3"] and set(one["groups"]) == {"words", "picture"}
    assert set(one["against_exact"]) == {"recall@10", "recall@100"}
    assert json.loads(results.read_text()) == document and document["command"]
    assert len(run.read_text().splitlines()) == 8


def test_evaluate_prints_tables_and_appends_result_rows(
    kb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ((), ("--drop-image",)):
        out = ("-k", "1,2", "--out", tmp_path / "rows.jsonl")
        assert flmr("evaluate", kb / "index", "--queries", kb / "questions.jsonl", *out, *extra) == 0
    out, err = capsys.readouterr()
    assert (
        "strict recall" in out
        and "pseudo recall" in out
        and "chance" in out
        and err.count("query 'q3': ") == 1
        and "cut.png" in err
    )
    rows = read_jsonl(tmp_path / "rows.jsonl")
    assert [row["drop_image"] for row in rows] == [False, True] and rows[0]["num_queries"] == 3


def test_evaluate_measures_the_sets_of_a_recipe(kb: Path, ask: Ask, tmp_path: Path) -> None:
    recipe = tmp_path / "kb.toml"
    recipe.write_text(
        f'passages = "{kb}/passages.jsonl"\n[evaluate.all]\nquestions = "{kb}/questions.jsonl"\nks = [1]\n'
        f'[evaluate.judged]\nquestions = "{kb}/questions.jsonl"\nqrels = "judged.tsv"\nks = [1]\n'
    )
    (tmp_path / "judged.tsv").write_text("q1\trose\t1\n")
    sets = ask("evaluate", kb / "index", "--recipe", recipe)["sets"]
    assert {name: one["report"]["num_queries"] for name, one in sets.items()} == {
        "all": 3,
        "judged": 1,
    }
