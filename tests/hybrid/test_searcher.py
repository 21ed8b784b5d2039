"""Searching by rows and words together: filters, changes of the index and settings reach both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import COLOURS, TEXTS, HashEncoder
from PIL import Image

from flmr.errors import InvalidInput
from flmr.hybrid import Feedback, Hybrid, Lexical, Refinement, fuse
from flmr.index import Index
from flmr.records import Passage, Query, Question
from flmr.retriever import Retriever

pytest.importorskip("bm25s", reason="searching by words needs bm25s")

PASSAGES = [Passage(name, text, meta={"length": len(text)}) for name, text in TEXTS.items()]


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Retriever]:
    with Retriever.build(PASSAGES, tmp_path / "kb", HashEncoder(), nbits=4) as retriever:
        yield retriever


def ids(hits: list) -> list[str]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize("method", ["rrf", "weighted"])
def test_a_hybrid_search_is_the_fusion_of_both_rankings(built: Retriever, method: str) -> None:
    text = "what is red and cold"
    words = Lexical(list(TEXTS), list(TEXTS.values())).search(text, 100)
    expected = fuse([built.search(text, 100)[0], words], method=method, weights=[0.7, 1 - 0.7], k=3)
    (hits,) = built.search(text, 3, hybrid=method)
    assert [(hit.id, hit.score) for hit in hits] == expected
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].passage is not None and hits[0].passage.text == TEXTS[hits[0].id]


def test_weights_of_one_and_zero_are_one_ranking_alone(built: Retriever) -> None:
    text = "fresh green sky"
    assert ids(built.search(text, hybrid=Hybrid(weight=1))[0]) == ids(built.search(text)[0])
    by_words = Lexical(list(TEXTS), list(TEXTS.values())).search(text, 10)
    assert ids(built.search(text, hybrid=Hybrid(weight=0))[0]) == [passage for passage, _ in by_words]


def test_filters_reach_both_rankings(built: Retriever) -> None:
    text = "clear white flower"
    for only_words in (Hybrid(weight=0), Hybrid("rrf")):
        assert set(ids(built.search(text, only_ids=["sky", "snow"], hybrid=only_words)[0])) == {"sky", "snow"}
        assert "sky" not in ids(built.search(text, exclude_ids=["sky"], hybrid=only_words)[0])
        assert ids(built.search(text, where={"length": {"lt": 22}}, hybrid=only_words)[0]) == ["sky"]


def test_what_is_added_changed_and_deleted_is_found_by_its_new_words_only(built: Retriever) -> None:
    by_words = Hybrid(weight=0)
    assert ids(built.search("blue", hybrid=by_words)[0]) == ["sky"]
    built.add([Passage("sea", "the deep sea is blue")])
    assert set(ids(built.search("blue", hybrid=by_words)[0])) == {"sky", "sea"}
    built.add([Passage("sky", "clouds are grey")], update=True)
    assert ids(built.search("blue", hybrid=by_words)[0]) == ["sea"]
    built.delete(["sea"])
    assert built.search("blue", hybrid=by_words)[0] == []


def test_a_picture_without_words_is_answered_by_its_rows(built: Retriever, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), COLOURS["blue"]).save(tmp_path / "blue.png")
    query = Query(image=tmp_path / "blue.png")
    for method in ("rrf", "weighted"):
        assert ids(built.search(query, hybrid=method)[0]) == ids(built.search(query)[0])


@pytest.mark.parametrize(
    "changed",
    [{"feedback": Feedback(passages=1)}, {"refinement": Refinement(candidates=3)}],
    ids=["feedback", "refine"],
)
@pytest.mark.parametrize("both", [True, False])
def test_rows_are_changed_and_searched_with_again(built: Retriever, changed: dict, both: bool) -> None:
    hybrid = Hybrid(before=both, after=both, **changed)
    plain, hits = (built.search("cold flower", hybrid=asked)[0] for asked in (Hybrid(), hybrid))
    assert set(ids(hits)) == set(ids(plain)) and [h.score for h in hits] != [h.score for h in plain]
    assert built.search("cold flower", hybrid=hybrid)[0] == hits


def test_feedback_favours_what_is_like_the_passage_that_is_believed(tmp_path: Path) -> None:
    passages = [
        Passage("first", "ruby garnet beryl"),
        Passage("like it", "garnet beryl onyx"),
        Passage("another", "ruby moon star"),
        Passage("far", "moon star sun"),
    ]
    fed = Hybrid(weight=1, feedback=Feedback(passages=1, weight=4.0))
    with Retriever.build(passages, tmp_path / "kb", HashEncoder(dim=128), nbits=4) as retriever:
        query = "ruby ruby garnet"
        assert ids(retriever.search(query)[0])[:2] == ["first", "another"]
        assert ids(retriever.search(query, hybrid=fed)[0])[:2] == ["first", "like it"]


def test_many_questions_give_the_same_as_one(built: Retriever) -> None:
    asked = [Question(Query(text, id=f"q{n}")) for n, text in enumerate(TEXTS.values())]
    found = built.search_many(asked, 3, hybrid="rrf").run
    for question in asked:
        alone = built.search(question.query, 3, hybrid="rrf")[0]
        assert found[question.id] == [(hit.id, hit.score) for hit in alone]


def test_index_without_passages_and_unknown_methods_are_refused(built: Retriever, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="fused by 'rrf' or 'weighted', not by 'best'"):
        built.search("red", hybrid="best")
    with pytest.raises(InvalidInput, match="hybrid must be a method"):
        built.search("red", hybrid=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"weight of hybrid must be a number from 0 to 1, not 1\.5"):
        Hybrid(weight=1.5)
    encoder = HashEncoder()
    Index.create(tmp_path / "raw", encoder.encode_passages(PASSAGES), list(TEXTS)).close()
    no_words = pytest.raises(InvalidInput, match="the index stores no passages, so it has no words to search by")
    with Retriever.open(tmp_path / "raw", encoder) as raw, no_words:
        raw.search("red", hybrid="rrf")


def test_ids_that_filters_let_through_are_listed(built: Retriever) -> None:
    built.delete(["coal"])
    searcher = built.index.searcher()
    assert sorted(searcher.ids()) == ["leaf", "rose", "sky", "snow"]
    assert searcher.ids(where={"length": {"lt": 22}}) == ["sky"]
    assert sorted(searcher.ids(exclude_ids=["sky", "coal"])) == ["leaf", "rose", "snow"]
    assert np.array_equal(searcher.vectors("sky"), built.index.vectors("sky"))
