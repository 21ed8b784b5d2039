"""Candidates and approximate scores: the native kernels against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import ISAS, LENGTHS, normal, ragged

from flmr.errors import InvalidInput
from flmr.ops.probe import approximate, approximate_reference, probe, probe_reference


def random_lists(rng: np.random.Generator, num_lists: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = rng.integers(0, 6, num_lists) if num_items else np.zeros(num_lists, int)
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    return offsets, rng.integers(0, max(num_items, 1), offsets[-1]).astype(np.uint32)


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
    offsets, items = random_lists(rng, 50, 1000)
    found = probe(normal(rng, 1, 50), offsets, items, nprobe=50, num_items=1000)
    np.testing.assert_array_equal(found, np.unique(items))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 3, 16, 17, 63, 64, 65, 130, 320])
def test_approximate_equals_the_reference(isa: str, rows: int) -> None:
    rng = np.random.default_rng(rows)
    items = ragged(rng, LENGTHS, 4)
    codes = rng.integers(0, 60, len(items.vectors)).astype(np.uint32)
    scores = normal(rng, rows, 60)
    wanted = np.array([6, 2, 2, 1, 0], np.uint32)
    for chosen in (wanted, None):
        found = approximate(scores, codes, items.offsets, chosen, threads=2, isa=isa)
        np.testing.assert_array_equal(found, approximate_reference(scores, codes, items.offsets, chosen))


def test_approximate_takes_transposed_and_strided_scores_and_any_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    items = ragged(rng, rng.integers(0, 9, 400).tolist(), 4)
    codes = rng.integers(0, 60, len(items.vectors)).astype(np.uint32)
    scores_KQ = normal(rng, 60, 40)
    expected = approximate(np.ascontiguousarray(scores_KQ.T), codes, items.offsets, None, threads=1)
    for threads in (1, 2, 5):
        found = approximate(scores_KQ.T, codes, items.offsets, None, threads=threads)
        np.testing.assert_array_equal(found, expected)
    wide = np.zeros((80, 120), np.float32)
    wide[::2, ::2] = scores_KQ.T
    np.testing.assert_array_equal(approximate(wide[::2, ::2], codes, items.offsets, None), expected)


def test_corrupt_lists_codes_and_offsets_are_refused_not_followed() -> None:
    scores, offsets = np.ones((2, 2), np.float32), np.array([0, 1, 2], np.int64)
    with pytest.raises(InvalidInput, match="item 9"):
        probe(scores, offsets, np.array([0, 9], np.uint32), nprobe=2, num_items=3)
    for bad in ([0, 1, 3], [0, -1, 2], [2, 1, 2]):
        with pytest.raises(InvalidInput, match="offsets"):
            probe(scores, np.array(bad, np.int64), np.array([0, 1], np.uint32), nprobe=2, num_items=3)
    codes = np.array([0, 7], np.uint32)
    with pytest.raises(InvalidInput, match="code 7"):
        approximate(scores, codes, offsets, None)
    with pytest.raises(InvalidInput, match="item 5"):
        approximate(scores, codes, offsets, np.array([5], np.uint32))
    with pytest.raises(InvalidInput, match="nprobe"):
        probe(scores, offsets, codes, nprobe=0, num_items=3)
    with pytest.raises(InvalidInput, match="K"):
        probe(scores, offsets[:2], codes, nprobe=1, num_items=3)
