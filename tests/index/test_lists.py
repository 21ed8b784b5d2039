"""Inverted lists: what is written is what was there, in any memory, and what is damaged is never followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.clustered import clustered_items, queries_near
from index.listed import lists_from

from flmr import Index, SearchParams
from flmr.errors import CorruptIndex
from flmr.index.format import LISTS, LISTS_OFFSETS
from flmr.index.lists import list_parts, list_sizes, read_lists


def write(codes: np.ndarray, offsets: np.ndarray, num_centroids: int, memory: int) -> tuple[np.ndarray, np.ndarray]:
    sizes = list_sizes(codes, offsets, num_centroids, memory)
    blob = np.concatenate([*list_parts(codes, offsets, sizes, memory), np.empty(0, np.uint8)])
    return blob, np.concatenate(([0], np.cumsum(sizes)))


@given(
    lengths=st.lists(st.integers(0, 9), max_size=400),
    num_centroids=st.integers(1, 9),
    memory=st.sampled_from([1, 200, 5000, 1 << 20]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_lists_read_as_written_whatever_the_memory(
    lengths: list[int], num_centroids: int, memory: int, seed: int
) -> None:
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    codes = np.random.default_rng(seed).integers(0, num_centroids, offsets[-1]).astype(np.uint16)
    blob, list_offsets = write(codes, offsets, num_centroids, memory)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    wanted = [np.unique(owners[codes == centroid]).tolist() for centroid in range(num_centroids)]
    items, counts = read_lists(blob, list_offsets, 0, num_centroids)
    assert [part.tolist() for part in np.split(items, np.cumsum(counts)[:-1])] == wanted
    one, _ = read_lists(blob, list_offsets, num_centroids - 1, num_centroids)
    assert one.tolist() == wanted[-1]


def test_gaps_of_every_length_are_read_and_written() -> None:
    places = np.array([0, 127, 128, 128 + 127, 128 + 128 + 127, 17_000, 3_000_000])
    lengths = np.zeros(3_000_001, np.int64)
    lengths[places] = 1
    blob, offsets = write(np.zeros(len(places), np.uint16), np.concatenate(([0], np.cumsum(lengths))), 1, 1 << 30)
    assert read_lists(blob, offsets, 0, 1)[0].tolist() == places.tolist()
    assert blob[:3].tolist() == [0, 127, 1] and len(blob) == 1 + 1 + 1 + 1 + 2 + 3 + 4


@given(blob=st.binary(max_size=30), cut=st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_lists_are_refused_and_others_rise(blob: bytes, cut: int) -> None:
    offsets = np.array([0, min(cut, len(blob)), len(blob)], np.int64)
    try:
        items, counts = read_lists(np.frombuffer(blob, np.uint8), offsets, 0, 2)
    except CorruptIndex:
        return
    assert counts.sum() == len(items)
    for part in np.split(items, np.cumsum(counts)[:-1]):
        assert (np.diff(part) > 0).all() and (part >= 0).all()


@pytest.mark.parametrize(
    ("blob", "words"),
    [([3, 130, 1], "goes on into the next list"), ([3, 1, 130], "not end"), ([255] * 6 + [1], "not end")],
)
def test_numbers_that_do_not_end_with_their_list_are_refused(blob: list[int], words: str) -> None:
    with pytest.raises(CorruptIndex, match=f"lists 0 to 2: .*{words}"):
        read_lists(np.array(blob, np.uint8), np.array([0, 2, len(blob)], np.int64), 0, 2)


def test_wrong_offsets_are_refused() -> None:
    for bad in ([0, 5, 3], [-1, 2, 3], [0, 1, 4]):
        with pytest.raises(CorruptIndex, match="rise"):
            read_lists(np.zeros(3, np.uint8), np.array(bad, np.int64), 0, 2)


def test_a_search_through_all_lists_finds_what_a_search_through_codes_finds(tmp_path: Path) -> None:
    items = clustered_items(500, 16)
    with Index.create(tmp_path / "scanned", items) as scanned:
        assert not (tmp_path / "scanned" / "0001" / LISTS).exists()
        with lists_from(1), Index.create(tmp_path / "listed", items) as listed:
            assert (tmp_path / "listed" / "0001" / LISTS_OFFSETS).exists()
            params = SearchParams(nprobe=1000, candidates=50)
            for query in queries_near(items, 10):
                assert listed.search(query, 5, params=params) == scanned.search(query, 5, params=params)


def test_few_lists_find_some_of_the_best_with_their_scores(tmp_path: Path) -> None:
    items = clustered_items(500, 16)
    with lists_from(1), Index.create(tmp_path / "listed", items) as listed:
        kept = 0
        for query in queries_near(items, 10):
            exact = {hit.id: hit.score for hit in listed.search(query, 500, params=SearchParams(exact=True))[0]}
            best = set(list(exact)[:5])
            found = listed.search(query, 5, params=SearchParams(nprobe=1, candidates=50))[0]
            assert all(hit.score == exact[hit.id] for hit in found)
            kept += len(best & {hit.id for hit in found})
        assert kept >= 10  # of 50: one list a row is little


def test_items_without_rows_are_no_reason_to_be_content_with_a_few_lists(tmp_path: Path) -> None:
    items = clustered_items(40, 16)
    with lists_from(1), Index.create(tmp_path / "listed", items) as listed:
        few = min(len(listed.search(query, 40, params=SearchParams(nprobe=1))[0]) for query in queries_near(items, 5))
        assert few == 40
    with Index.open(tmp_path / "listed") as both:
        both.add([np.empty((0, 16), np.float32)] * 39 + [items[0]])  # a second segment, which has no lists
        both.commit()
        for query in queries_near(items, 10):
            assert len(both.search(query, 41, params=SearchParams(nprobe=1))[0]) == 41
