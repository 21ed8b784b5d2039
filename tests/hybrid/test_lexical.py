"""The lexical partner: BM25 as its formula says, and words that nobody wrote."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from flmr.errors import InvalidInput, MissingExtra
from flmr.hybrid import Lexical

pytest.importorskip("bm25s", reason="searching by words needs bm25s")

TEXTS = {"rose": "a rose is a red flower", "poppy": "Red, red poppy!", "sky": "the sky is blue", "empty": ""}


@pytest.fixture(scope="module")
def lexical() -> Lexical:
    return Lexical(list(TEXTS), list(TEXTS.values()))


def test_scores_are_lucenes_bm25(lexical: Lexical) -> None:
    lengths = {"rose": 3, "poppy": 3, "sky": 2, "empty": 0}  # without stop words
    mean = sum(lengths.values()) / 4
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))

    def bm25(count: int, length: int) -> float:
        return idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * length / mean))

    expected = [bm25(1, lengths["rose"]), bm25(2, lengths["poppy"]), 0, 0]
    np.testing.assert_allclose(lexical.scores("RED"), expected, rtol=1e-6)


def test_best_come_first_and_what_shares_no_word_is_left_out(lexical: Lexical) -> None:
    assert [passage for passage, _ in lexical.search("which flower is red", 10)] == ["rose", "poppy"]
    assert [passage for passage, _ in lexical.search("red", 1)] == ["poppy"]


def test_words_that_nobody_wrote_find_nothing(lexical: Lexical) -> None:
    assert lexical.search("zebra", 10) == [] and lexical.search("", 10) == [] and lexical.search("the is", 10) == []


def test_only_allowed_passages_are_found(lexical: Lexical) -> None:
    allowed = np.array([True, False, True, True])
    assert [passage for passage, _ in lexical.search("red", 10, allowed=allowed)] == ["rose"]


def test_equal_scores_keep_the_order_of_the_passages() -> None:
    same = Lexical(["b", "a", "c"], ["one two", "one two", "three"])
    assert [passage for passage, _ in same.search("one", 10)] == ["b", "a"]
    assert same.rows_of(["c", "b"]).tolist() == [2, 0]


def test_passages_without_words_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no passage has a word to search by"):
        Lexical(["a", "b"], ["", "the"])
    with pytest.raises(InvalidInput, match="stop words must be one of"):
        Lexical(["a"], ["red"], stop_words="german")


def test_missing_bm25s_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"pip install 'flmr\[lexical\]'"):
        Lexical(["a"], ["red"])
