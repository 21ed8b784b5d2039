"""BM25, the lexical baseline of the benchmarks: texts in, a run out.

Knows no embeddings, files or measures; the words and the formula are those of `flmr.hybrid.lexical`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flmr.hybrid.lexical import STOP_WORDS, Lexical

__all__ = ["STOP_WORDS", "bm25_run"]


def bm25_run(
    passages: Mapping[str, str], queries: Mapping[str, str], k: int = 100, *, stop_words: str = "questions"
) -> dict[str, list[tuple[str, float]]]:
    """The k best passages of each query with Lucene's BM25; ties by the order of the passages, scores of 0 left out."""
    lexical = Lexical(list(passages), list(passages.values()), stop_words=stop_words)
    return {query: lexical.search(text, k) for query, text in queries.items()}
