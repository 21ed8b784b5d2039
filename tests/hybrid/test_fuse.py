"""Fusion: what the formulas say on small rankings, in any order of passages, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flmr.errors import InvalidInput
from flmr.evaluate import read_run, write_run
from flmr.hybrid import fuse, fuse_runs
from flmr.records import Hit

ROWS = [("a", 9.0), ("b", 5.0), ("c", 1.0)]
WORDS = [("c", 4.0), ("d", 3.0), ("a", 2.0)]


def test_reciprocal_ranks_add_up() -> None:
    fused = dict(fuse([ROWS, WORDS], method="rrf", constant=60, weights=[1, 1]))
    assert fused == pytest.approx({"a": 1 / 61 + 1 / 63, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 62})


def test_equal_scores_go_by_id() -> None:
    assert [passage for passage, _ in fuse([ROWS, WORDS], method="rrf")] == ["a", "c", "b", "d"]
    assert [passage for passage, _ in fuse([WORDS, ROWS], method="rrf")] == ["a", "c", "b", "d"]


def test_weighted_scores_lie_between_the_worst_and_the_best_of_each_ranking() -> None:
    fused = dict(fuse([ROWS, WORDS], method="weighted", weights=[0.6, 0.4]))
    assert fused == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.4, "d": 0.2})


def test_standardised_scores_do_not_depend_on_units() -> None:
    in_other_units = [(passage, 7 * score - 100) for passage, score in WORDS]
    for scale in ("minmax", "z"):
        fused = fuse([ROWS, WORDS], method="weighted", scale=scale, weights=[0.6, 0.4])
        again = fuse([ROWS, in_other_units], method="weighted", scale=scale, weights=[0.6, 0.4])
        assert [passage for passage, _ in again] == [passage for passage, _ in fused]
        assert [score for _, score in again] == pytest.approx([score for _, score in fused])


def test_a_passage_that_a_ranking_lacks_counts_as_its_last() -> None:
    with_it = [*WORDS, ("b", 2.0)]
    lacking, counted = (dict(fuse([ROWS, words], method="weighted", scale="minmax")) for words in (WORDS, with_it))
    assert lacking == pytest.approx(counted)


def test_one_hit_alone_still_counts() -> None:
    assert fuse([ROWS, [("b", 0.1)]], method="weighted", weights=[0.4, 0.6])[0] == ("b", pytest.approx(0.8))


def test_one_ranking_keeps_its_order_and_weight_zero_leaves_one_out() -> None:
    for method in ("rrf", "weighted"):
        assert [passage for passage, _ in fuse([ROWS], method=method)] == ["a", "b", "c"]
        assert fuse([ROWS, WORDS], method=method, weights=[1, 0]) == fuse([ROWS], method=method)
    assert fuse([[], []]) == []


def test_hits_are_rankings_too() -> None:
    hits = [Hit(passage, score, rank) for rank, (passage, score) in enumerate(ROWS, 1)]
    assert fuse([hits, WORDS], method="weighted", k=2) == fuse([ROWS, WORDS], method="weighted")[:2]


def test_runs_read_from_files_are_fused_question_by_question(tmp_path: Path) -> None:
    write_run({"q1": ROWS, "q2": WORDS}, tmp_path / "rows.trec")
    write_run({"q1": WORDS}, tmp_path / "words.trec")
    runs = [read_run(tmp_path / name) for name in ("rows.trec", "words.trec")]
    fused = fuse_runs(runs, method="weighted", k=3, missing_ok=True)
    assert fused["q1"] == fuse([ROWS, WORDS], method="weighted", k=3)
    assert [passage for passage, _ in fused["q2"]] == ["c", "d", "a"]


def test_runs_of_different_questions_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="run 2 lacks 1 of 2 questions, 'q2' among them"):
        fuse_runs([{"q1": ROWS, "q2": ROWS}, {"q1": WORDS}])
    with pytest.raises(InvalidInput, match="no run to fuse"):
        fuse_runs([])


@pytest.mark.parametrize(
    ("rankings", "settings", "message"),
    [
        ([ROWS], {"method": "borda"}, "fused by 'rrf' or 'weighted', not by 'borda'"),
        ([ROWS], {"method": "weighted", "scale": "log"}, "scaled by 'minmax' or 'z', not by 'log'"),
        ([ROWS, WORDS], {"weights": [1.0]}, "2 rankings need as many weights from 0"),
        ([ROWS, WORDS], {"weights": [1.0, -1.0]}, "2 rankings need as many weights from 0"),
        ([], {}, "no ranking to fuse"),
        ([ROWS[::-1]], {}, "not best first at rank 2"),
        ([[*ROWS, ("a", 0.0)]], {}, "holds 'a' twice"),
    ],
)
def test_wrong_input_is_one_clear_line(rankings: list, settings: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fuse(rankings, **settings)
