"""Candidates from inverted lists: the native kernel against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import ISAS, normal

from flmr.errors import InvalidInput
from flmr.ops.probe import decode_list, probe, probe_reference


def varint(number: int) -> bytes:
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def stored_lists(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ascending items as an index holds them: offsets and bytes."""
    blobs = [b"".join(varint(gap) for gap in np.diff([0, *items]).tolist()) for items in lists]
    offsets = np.concatenate([[0], np.cumsum([len(blob) for blob in blobs])]).astype(np.int64)
    return offsets, np.frombuffer(b"".join(blobs), np.uint8)


def random_lists(rng: np.random.Generator, num_lists: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    return stored_lists(
        [
            np.unique(rng.integers(0, num_items, rng.integers(0, 6))).tolist() if num_items else []
            for _ in range(num_lists)
        ]
    )


@given(
    rows=st.integers(0, 40),
    num_centroids=st.integers(0, 90),
    num_items=st.integers(0, 200),
    nprobe=st.integers(1, 100),
    threads=st.integers(1, 3),
    isa=st.sampled_from(ISAS),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_probe_equals_the_reference(
    rows: int, num_centroids: int, num_items: int, nprobe: int, threads: int, isa: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-5, 5, (rows, num_centroids)).astype(np.float32)  # many ties
    scores[scores == -5] = -np.inf
    lists = random_lists(rng, num_centroids, num_items)
    found = probe(scores, *lists, nprobe=nprobe, num_items=num_items, threads=threads, isa=isa)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, probe_reference(scores, *lists, nprobe=nprobe, num_items=num_items))


def test_probing_all_centroids_finds_every_listed_item() -> None:
    rng = np.random.default_rng(0)
    offsets, lists = random_lists(rng, 50, 1000)
    found = probe(normal(rng, 1, 50), offsets, lists, nprobe=50, num_items=1000)
    listed = [decode_list(lists[offsets[c] : offsets[c + 1]]) for c in range(50)]
    np.testing.assert_array_equal(found, np.unique(np.concatenate(listed)))


def test_lists_hold_items_of_any_size() -> None:
    lists = [[0, 1, 127, 128, 129], [], [16_383, 16_384, 4_000_000_000], [5]]
    offsets, stored = stored_lists(lists)
    for number, items in enumerate(lists):
        assert decode_list(stored[offsets[number] : offsets[number + 1]]).tolist() == items
    found = probe(np.ones((1, 3), np.float32), *stored_lists([[3], [300], [70_000]]), nprobe=3, num_items=70_001)
    assert found.tolist() == [3, 300, 70_000]


def test_corrupt_lists_and_offsets_are_refused_not_followed() -> None:
    scores, (offsets, lists) = np.ones((2, 2), np.float32), stored_lists([[0], [2]])
    with pytest.raises(InvalidInput, match="item 9"):
        probe(scores, offsets, np.array([0, 9], np.uint8), nprobe=2, num_items=3)
    with pytest.raises(InvalidInput, match="does not end"):
        probe(scores, offsets, np.array([0, 130], np.uint8), nprobe=2, num_items=3)
    with pytest.raises(InvalidInput, match="too large"):
        probe(scores, np.array([0, 0, 6], np.int64), np.array([255] * 5 + [1], np.uint8), nprobe=2, num_items=3)
    for bad in ([0, 1, 3], [0, -1, 2], [2, 1, 2]):
        with pytest.raises(InvalidInput, match="offsets"):
            probe(scores, np.array(bad, np.int64), lists, nprobe=2, num_items=3)
    with pytest.raises(InvalidInput, match="nprobe"):
        probe(scores, offsets, lists, nprobe=0, num_items=3)
    with pytest.raises(InvalidInput, match="K"):
        probe(scores, offsets[:2], lists, nprobe=1, num_items=3)
