"""Records are checked on birth."""

from __future__ import annotations

import numpy as np
import pytest

from flmr.errors import InvalidInput
from flmr.records import Hit, MultiVectors, Passage, Query, Region


def test_from_list_packs_items_without_padding() -> None:
    items = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), np.ones((1, 2))]
    packed = MultiVectors.from_list(items)
    assert len(packed) == 3
    assert packed.lengths.tolist() == [3, 0, 1]
    assert packed.vectors.dtype == np.float32
    for i, item in enumerate(items):
        assert np.array_equal(packed[i], item)
    assert np.array_equal(packed[-1], items[-1])


def test_from_list_keeps_float16_only_where_all_items_are() -> None:
    half, full = np.ones((1, 2), np.float16), np.ones((1, 2), np.float32)
    assert MultiVectors.from_list([half, half]).vectors.dtype == np.float16
    assert MultiVectors.from_list([half, full]).vectors.dtype == np.float32


def test_multi_vectors_compare_by_content_and_slices_are_multi_vectors() -> None:
    items = [np.full((n, 2), n, np.float32) for n in (3, 0, 1, 2)]
    packed = MultiVectors.from_list(items)
    assert packed == MultiVectors.from_list(items)
    assert packed != MultiVectors.from_list(items[:3]) and packed != items
    assert packed[1:3] == MultiVectors.from_list(items[1:3])
    assert packed[::-2] == MultiVectors.from_list([items[3], items[1]])
    assert len(packed[9:]) == 0 and packed[9:].dim == 2
    assert np.array_equal(packed[np.int64(2)], items[2])
    assert repr(packed) == "<MultiVectors: 4 items, 6 rows of D=2, float32>"
    with pytest.raises(TypeError, match="integer"):
        packed["a"]  # type: ignore[call-overload]


def test_passages_and_hits_may_be_put_into_sets() -> None:
    one, other = Passage("a", "x", meta={"year": 2020}), Passage("a", "x", meta={"year": 2021})
    assert len({one, Passage("a", "x", meta={"year": 2020}), other}) == 2
    assert len({Hit("a", 1.0, 1, one), Hit("a", 1.0, 1, one)}) == 1


def test_concat_keeps_order_and_lengths() -> None:
    a = MultiVectors.from_list([np.ones((2, 3)), np.zeros((1, 3))])
    b = MultiVectors.from_list([np.full((4, 3), 2.0)])
    assert MultiVectors.concat([a, b]).lengths.tolist() == [2, 1, 4]


@pytest.mark.parametrize(
    ("vectors", "offsets", "message"),
    [
        (np.zeros(3, np.float32), np.array([0, 3]), "shape"),
        (np.zeros((3, 2), np.float64), np.array([0, 3]), "float16 or float32"),
        (np.zeros((3, 0), np.float32), np.array([0, 3]), "D=0"),
        (np.zeros((1, 8193), np.float32), np.array([0, 1]), "D=8193"),
        (np.zeros((3, 2), np.float32), np.array([0, 2]), "rise from 0 to T=3"),
        (np.zeros((3, 2), np.float32), np.array([0, 2, 1, 3]), "rise"),
        (np.zeros((3, 2), np.float32), np.array([0, 3], np.int32), "int64"),
        (np.zeros((3, 2), np.float32), np.zeros(0, np.int64), "N\\+1"),
    ],
)
def test_malformed_multi_vectors_are_refused(vectors: np.ndarray, offsets: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        MultiVectors(vectors, offsets)


def test_items_that_disagree_in_dimension_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"disagree in D: \[2, 3\]"):
        MultiVectors.from_list([np.ones((1, 2)), np.ones((1, 3))])
    with pytest.raises(InvalidInput, match="needs dim"):
        MultiVectors.from_list([])


def test_passage_without_id_is_refused() -> None:
    with pytest.raises(InvalidInput, match="non-empty string"):
        Passage(id="")
    with pytest.raises(InvalidInput, match="non-empty string"):
        Passage(id=3)  # type: ignore[arg-type]


def test_full_text_joins_title_and_text() -> None:
    assert Passage("a", "runs", title="Fox").full_text == "Fox runs"
    assert Passage("a", "runs").full_text == "runs"


def test_query_needs_text_or_image() -> None:
    with pytest.raises(InvalidInput, match="neither text nor image"):
        Query(text="  ")
    assert Query(image=b"png").text == ""


def test_region_must_lie_within_the_image() -> None:
    with pytest.raises(InvalidInput, match="must be numbers"):
        Region("0", 0, 1, 1)  # type: ignore[arg-type]
    assert Region(np.float32(0), 0, np.int64(1), 1).inside(Region(0, 0, 0.5, 0.5)) == Region(0, 0, 0.5, 0.5)
    with pytest.raises(InvalidInput, match="region"):
        Region(0.5, 0.0, 0.4, 1.0)
