"""Verbs that ask: one question, a file of questions, an explanation, the fusion of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import TEXTS, Ask, Mistake, flmr
from tiny_checkpoint import write_tiny_checkpoint


def test_search_prints_hits_and_json_the_same(kb: Path, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    document = ask("search", kb / "index", "--text", "which flower is red", "-k", 2)
    hits = document["hits"]
    assert len(hits) == 2 and [hit["rank"] for hit in hits] == [1, 2]
    assert set(hits[0]) == {"id", "score", "rank", "title", "text", "image", "meta"}
    assert flmr("search", kb / "index", "--text", "which flower is red", "-k", 2) == 0
    printed = capsys.readouterr().out
    assert all(hit["id"] in printed and f"{hit['score']:.3f}" in printed for hit in hits)


def test_search_takes_pictures_filters_and_exact(kb: Path, ask: Ask) -> None:
    document = ask("search", kb / "index", "--image", kb / "blue.png", "--where", '{"n": {"gt": 20}}', "--exact")
    assert {hit["id"] for hit in document["hits"]} == {"rose", "snow"}


@pytest.mark.parametrize("asked", [["--text", "red"], ["--queries", "questions.jsonl"]])
def test_a_filter_that_lets_nothing_through_is_said_to(
    kb: Path, asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kb)
    assert flmr("search", "index", *asked, "--where", '{"m": 3}') == 0
    assert "--where lets none of the 4 passages through" in capsys.readouterr().err
    assert flmr("search", "index", *asked, "--where", '{"n": {"gte": 0}}') == 0
    assert "--where" not in capsys.readouterr().err


def test_search_of_a_file_writes_a_run_and_counts_unreadable_pictures(kb: Path, ask: Ask, tmp_path: Path) -> None:
    run = tmp_path / "out.trec"
    document = ask("search", kb / "index", "--queries", kb / "questions.jsonl", "--run", run, "-k", 2)
    assert document["queries"] == 3 and list(document["unreadable"]) == ["q3"]
    assert [line.split()[0] for line in run.read_text().splitlines()] == ["q1", "q1", "q2", "q2"]


def test_hybrid_search_and_measuring_use_the_words_too(kb: Path, ask: Ask) -> None:
    pytest.importorskip("bm25s", reason="searching by words needs bm25s")
    asked = ("--hybrid", "weighted", "--weight", 0)
    hits = ask("search", kb / "index", "--text", "which flower is red", *asked)["hits"]
    assert [hit["id"] for hit in hits] == ["rose"]  # no other passage shares a word
    more = ask("search", kb / "index", "--text", "red", "--hybrid", "rrf", "--feedback", 1, "--refine")["hits"]
    assert {hit["id"] for hit in more} == set(TEXTS)
    document = ask("evaluate", kb / "index", "--queries", kb / "questions.jsonl", *asked)
    measured = document["sets"]["questions"]
    assert json.loads(measured["hybrid"])["weight"] == 0


def test_wrong_hybrid_settings_are_one_clear_line(kb: Path, mistake: Mistake) -> None:
    asked = ("search", kb / "index", "--text", "red")
    assert "fused by 'rrf' or 'weighted', not by 'both'" in mistake(*asked, "--hybrid", "both")
    assert "weight of hybrid must be a number from 0 to 1" in mistake(*asked, "--hybrid", "rrf", "--weight", 2)
    assert "give --hybrid rrf or weighted" in mistake(*asked, "--feedback", 3)


def test_another_encoder_is_refused(kb: Path, mistake: Mistake, tmp_path: Path) -> None:
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    assert "was brought" in mistake("search", kb / "index", "--text", "red", "--encoder", other)


def test_regions_of_the_picture_are_asked_about(kb: Path, ask: Ask, tmp_path: Path) -> None:
    asked = ("--text", "what is it", "--image", kb / "blue.png", "--region", "0,0,.5,1", "--region", ".25,.25,.75,1")
    document = ask("explain", kb / "index", *asked, "--out", tmp_path / "page.html")
    assert [row["label"] for row in document["rows"] if row["label"].startswith("region 2, image")] == [
        f"region 2, image {i}" for i in range(4)
    ]
    found = ask("search", kb / "index", *asked, "-k", "1")
    assert found["query"]["regions"] == [[0, 0, 0.5, 1], [0.25, 0.25, 0.75, 1]]
    for wrong in ("0,0,1", "0,0,40,40", "left"):
        assert flmr("search", kb / "index", "--image", kb / "blue.png", "--region", wrong) == 2
    assert flmr("search", kb / "index", "--text", "red", "--region", "0,0,1,1") == 2


def test_rows_of_pictures_are_pooled_as_the_index_was_built_or_as_asked(
    kb: Path, ask: Ask, mistake: Mistake, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pooled = tmp_path / "pooled"
    ask("index", kb / "passages.jsonl", "--out", pooled, "--encoder", tiny_checkpoint, "--pool-visual", 5)
    asked = ("--text", "what is it", "--image", kb / "blue.png", "-k", 4)
    plain, fewer = (ask("search", kb / "index", *asked, *more)["hits"] for more in ((), ("--pool-visual", 5)))
    assert fewer != plain and ask("search", pooled, *asked)["hits"] == fewer
    assert ask("search", pooled, *asked, "--pool-visual", 1)["hits"] == plain
    page = ("--text", "what is it", "--image", kb / "blue.png", "--out", tmp_path / "page.html")
    visual = [
        sum(row["kind"] != "text" for row in ask("explain", index, *page, *more)["rows"])
        for index, more in ((kb / "index", ()), (kb / "index", ("--pool-visual", 5)), (pooled, ()))
    ]
    assert visual == [20, 4, 4]
    for more, recorded in (((), 5), (("--pool-visual", 1), None), (("--pool-visual", 2), 2)):
        document = ask("evaluate", pooled, "--queries", kb / "questions.jsonl", *more)
        assert document["encoder"].get("pool_visual") == recorded
    assert "--pool-visual" in mistake("search", kb / "index", *asked, "--pool-visual", 0)
    assert "from 1 to 1,024" in mistake("search", kb / "index", *asked, "--pool-visual", 2000)


def test_explain_writes_a_page(kb: Path, ask: Ask, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    asked = ("--text", "what is it", "--image", kb / "blue.png", "--id", "leaf", "--out", page)
    document = ask("explain", kb / "index", *asked)
    assert document["id"] == "leaf" and page.read_text().count("data:image/png") == 1
    parts = document["parts"]
    assert [part["kind"] for part in parts] == ["text", "image", "region"]
    assert sum(part["score"] for part in parts) == pytest.approx(document["score"], abs=1e-3)
    best = ask("explain", kb / "index", "--text", "red", "--out", page)
    assert best["rank"] == 1


def test_full_disk_is_one_line_and_exit_2(kb: Path, mistake: Mistake, tiny_checkpoint: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    line = mistake("explain", kb / "index", "--text", "red", "--out", "/dev/full")
    assert "No space left" in line


def test_runs_are_fused_into_one(ask: Ask, mistake: Mistake, tmp_path: Path) -> None:
    rows, words, out = (tmp_path / name for name in ("rows.trec", "words.trec", "out.trec"))
    rows.write_text("q1 Q0 a 1 9.0 x\nq1 Q0 b 2 5.0 x\nq1 Q0 c 3 1.0 x\n")
    words.write_text("q1 Q0 c 1 4.0 y\nq1 Q0 b 2 3.0 y\n")
    assert ask("fuse", rows, words, "--out", out, "--method", "weighted", "--weights", ".2,.8", "-k", 2)["queries"] == 1
    assert [line.split()[2:4] for line in out.read_text().splitlines()] == [["c", "1"], ["a", "2"]]
    words.write_text("q2 Q0 c 1 4.0 y\n")
    assert "run 1 lacks 1 of 2 questions, 'q2' among them" in mistake("fuse", rows, words, "--out", out)
    assert ask("fuse", rows, words, "--out", out, "--missing-ok")["queries"] == 2
    assert "fused by 'rrf' or 'weighted', not by 'best'" in mistake("fuse", rows, "--out", out, "--method", "best")
    assert "--weights takes numbers" in mistake("fuse", rows, "--out", out, "--weights", "a,b")
