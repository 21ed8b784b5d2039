"""TREC runs are read back as they were written: order, ties and every digit of the scores."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmr.errors import InvalidInput, InvalidRecord, StorageError
from flmr.evaluate import read_run, write_run
from flmr.evaluate.run import check_run

words = st.text(min_size=1, max_size=6).filter(lambda text: text.split() == [text])
scores = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 0.1 + 2**-55, 1e-300, -0.0])
rankings = st.lists(st.tuples(words, scores), max_size=5, unique_by=lambda hit: hit[0]).map(
    lambda hits: sorted(hits, key=lambda hit: -hit[1])
)


@given(st.dictionaries(words, rankings, max_size=4))
def test_a_run_is_read_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, list[tuple[str, float]]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "run.trec"
    write_run(run, path)
    assert read_run(path) == {question: hits for question, hits in run.items() if hits}
    assert [p.name for p in path.parent.iterdir()] == ["run.trec"]


def test_the_file_is_in_the_trec_format(tmp_path: Path) -> None:
    write_run({"q": [("b", 2.5), ("a", 2.5)]}, tmp_path / "r", tag="mine")
    assert (tmp_path / "r").read_text() == "q Q0 b 1 2.5 mine\nq Q0 a 2 2.5 mine\n"


def test_equal_scores_keep_their_order_by_rank_even_from_shuffled_lines(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("q Q0 a 2 1.0 t\nq Q0 z 3 9 t\n\nq\tQ0\tb\t1\t1.0\tt\r\n")
    assert read_run(tmp_path / "r") == {"q": [("z", 9.0), ("b", 1.0), ("a", 1.0)]}


@pytest.mark.parametrize("bad", ["two words", "", "a\tb", "a\u00a0b", "a\nb", "\x85"])
def test_ids_that_hold_blanks_are_refused(tmp_path: Path, bad: str) -> None:
    for run in ({bad: [("p", 1.0)]}, {"q": [(bad, 1.0)]}):
        with pytest.raises(InvalidInput, match="is empty or holds blanks"):
            write_run(run, tmp_path / "r")
    with pytest.raises(InvalidInput, match="the tag"):
        write_run({}, tmp_path / "r", tag=bad)
    assert not (tmp_path / "r").exists()


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        write_run({"\ud800": [("p", 1.0)]}, tmp_path / "r")


def test_a_score_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has score -inf"):
        write_run({"q": [("p", -math.inf)]}, tmp_path / "r")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: No such file"):
        write_run({"q": [("p", 1.0)]}, tmp_path / "none" / "r")


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        ([("a", 1.0), ("b", 2.0)], "is not best first at rank 2"),
        ([("a", 1.0), ("b", math.nan)], "is not best first at rank 2"),
        ([("a", math.nan)], "is not best first at rank 1"),
        ([("a", 1.0), ("a", 1.0)], "holds 'a' twice"),
    ],
)
def test_a_ranking_that_is_none_is_refused(hits: list[tuple[str, float]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_run({"q": hits})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"q Q0 a 1 1.0", "5 columns; a TREC run has 6"),
        (b"q Q0 a b 1 1.0 t", "7 columns"),
        (b"q Q0 a first 1.0 t", "rank 'first' or score '1.0' is not a number"),
        (b"q Q0 a 1 best t", "score 'best' is not a number"),
        (b"q Q0 a 1 nan t", "the score must be finite, not 'nan'"),
        (b"q Q0 \xff 1 1.0 t", "not UTF-8"),
        (b"q Q0 p 2 0.5 t", "passage 'p' of question 'q' stands on line 1 already"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "r").write_bytes(b"q Q0 p 1 1.0 t\n" + line + b"\n")
    with pytest.raises(InvalidRecord, match=f"line 2: .*{reason}"):
        read_run(tmp_path / "r")


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="cannot be read: No such file"):
        read_run(tmp_path / "none")
