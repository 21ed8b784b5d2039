"""MaxSim from codes: the native kernels against NumPy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import DIMS, ISAS, LENGTHS, NBITS, assert_no_worse_than_twice, coded, normal, plain_maxsim

from flmr.errors import InvalidInput
from flmr.ops.coded import (
    Codebook,
    Coded,
    Table,
    estimate,
    estimate_reference,
    merge_rows,
    merge_rows_reference,
    query_table,
    query_table_reference,
    rough,
    rough_reference,
    score_codes,
    score_codes_reference,
)
from flmr.ops.trellis import dequantize

ROWS = (1, 16, 17, 32, 33, 64, 100)


def decoded(book: Codebook, stored: Coded) -> np.ndarray:
    """All vectors as the codes describe them: (T, D) float64."""
    residuals = dequantize(stored.packed_TP, stored.scales_T, book.scale_table, nbits=book.nbits, dim=book.dim)
    centroids = book.centroids_KD.astype(np.float64) * book.centroid_scales_K[:, None]
    return centroids[stored.codes_T] + residuals


def redundant(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Rows of which most are near to one of a few directions, as the patches of a picture are."""
    directions = normal(rng, 1 + rows // 6, dim)
    return directions[rng.integers(0, len(directions), rows)] + 0.2 * normal(rng, rows, dim)


def assert_same_table(found: Table, expected: Table) -> None:
    for name in ("rows_MD", "scores", "bytes", "lows", "bonus", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.unit, found.factor, found.base) == (expected.unit, expected.factor, expected.base)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_all_scores_equal_the_reference_to_the_bit(isa: str, nbits: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    book, stored = coded(rng, LENGTHS, dim, nbits)
    query = redundant(rng, 75, dim)
    table = query_table(query, book, isa=isa, threads=2)
    assert_same_table(table, query_table_reference(query, book))
    np.testing.assert_array_equal(rough(table, stored, None, isa=isa), rough_reference(table, stored, None))
    found = estimate(table, book, stored, None, isa=isa, threads=2)
    np.testing.assert_array_equal(found, estimate_reference(table, book, stored, None))
    expected = score_codes_reference(query, book, stored, None)
    np.testing.assert_array_equal(score_codes(query, book, stored, None, isa=isa, threads=2), expected)
    few = np.array([3, 4], np.uint32)  # fewer vectors than centroids: no table is made
    np.testing.assert_array_equal(score_codes(query, book, stored, few, isa=isa), expected[few])


@given(
    rows=st.integers(0, 70),
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=10),
    wanted=st.lists(st.integers(0, 100), max_size=12),
    dim=st.integers(1, 140),
    nbits=st.sampled_from(NBITS),
    threads=st.integers(1, 3),
    isa=st.sampled_from(ISAS),
    seed=st.integers(0, 999),
)
@settings(max_examples=120, deadline=None)
def test_any_ragged_shape_and_any_choice_of_items_equal_the_reference(
    rows: int, lengths: list[int], wanted: list[int], dim: int, nbits: int, threads: int, isa: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    book, stored = coded(rng, lengths, dim, nbits, num_centroids=5)
    query = redundant(rng, rows, dim)
    chosen = (np.array(wanted, np.uint32) % len(lengths)).astype(np.uint32)
    table = query_table(query, book, isa=isa)
    assert_same_table(table, query_table_reference(query, book))
    run = {"threads": threads, "isa": isa}
    np.testing.assert_array_equal(rough(table, stored, chosen, **run), rough_reference(table, stored, chosen))
    np.testing.assert_array_equal(
        estimate(table, book, stored, chosen, **run), estimate_reference(table, book, stored, chosen)
    )
    np.testing.assert_array_equal(
        score_codes(query, book, stored, chosen, **run), score_codes_reference(query, book, stored, chosen)
    )


def test_rows_that_point_the_same_way_become_their_sum() -> None:
    rng = np.random.default_rng(0)
    for times in ([9, 1, 1, 2, 2, 5, 1, 1], [9, 1, 1, 2, 2, 5, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1]):
        directions = normal(rng, len(times), 64)
        merged = merge_rows(np.repeat(directions, times, axis=0), most_lost=0.01)
        assert len(merged) == len(times)
        counts = np.linalg.norm(merged, axis=1) / np.linalg.norm(directions, axis=1)
        np.testing.assert_allclose(np.sort(counts), sorted(times), rtol=1e-5)


def test_rows_that_differ_and_short_queries_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    for rows in (0, 1, 8, 16, 32):
        query = normal(rng, rows, 128)
        np.testing.assert_array_equal(merge_rows(query, most_lost=0.1), query)
    np.testing.assert_array_equal(merge_rows(np.repeat(query[:1], 8, axis=0)), np.repeat(query[:1], 8, axis=0))


@pytest.mark.parametrize("most_lost", [0.0, 0.05, 0.14, 0.5, 1.0])
@pytest.mark.parametrize("isa", ISAS)
def test_merging_equals_the_reference_and_loses_no_more_than_it_may(most_lost: float, isa: str) -> None:
    rng = np.random.default_rng(2)
    for rows in (17, 64, 130):
        query = redundant(rng, rows, 32)
        merged = merge_rows(query, most_lost=most_lost, isa=isa)
        np.testing.assert_array_equal(merged, merge_rows_reference(query, most_lost=most_lost))
        assert len(merged) in (rows, 8) or len(merged) % 16 == 0
        np.testing.assert_allclose(merged.sum(axis=0), query.sum(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("rows", ROWS)
def test_the_exact_score_is_maxsim_of_the_decoded_vectors(nbits: int, rows: int) -> None:
    rng = np.random.default_rng(rows)
    book, stored = coded(rng, LENGTHS, 128, nbits)
    query, vectors = normal(rng, rows, 128), decoded(book, stored)
    items = [vectors[a:b] for a, b in zip(stored.offsets_N1[:-1], stored.offsets_N1[1:], strict=True)]
    truth = np.array([plain_maxsim(query, item, np.float64) for item in items])
    found = score_codes(query, book, stored, None)
    np.testing.assert_allclose(found, truth, rtol=2e-5, atol=2e-5 * np.abs(truth[np.isfinite(truth)]).max())


def test_its_error_is_far_below_that_of_bfloat16() -> None:
    import torch

    rng = np.random.default_rng(0)
    book, stored = coded(rng, [60] * 30, 128, 4)
    query, vectors = normal(rng, 32, 128), decoded(book, stored)
    items = [vectors[i * 60 : (i + 1) * 60] for i in range(30)]
    truth = np.array([plain_maxsim(query, item, np.float64) for item in items])

    def halved(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32)).bfloat16()

    plain = np.array([(halved(query) @ halved(item).T).float().amax(1).sum().item() for item in items])
    found = score_codes(query, book, stored, None)
    assert_no_worse_than_twice(found, truth + (plain - truth) / 40, truth)


def test_an_estimate_is_close_to_the_score() -> None:
    rng = np.random.default_rng(1)
    book, stored = coded(rng, [50] * 40, 64, 2)
    query = normal(rng, 16, 64)  # so few rows that none are merged
    found = estimate(query_table(query, book), book, stored, None)
    np.testing.assert_allclose(found, score_codes(query, book, stored, None), rtol=0.01)


def test_a_rough_score_ranks_an_item_of_the_querys_own_centroids_first() -> None:
    rng = np.random.default_rng(2)
    book, stored = coded(rng, [20] * 50, 128, 2, num_centroids=500)
    rows = stored.codes_T[7 * 20 : 8 * 20]
    query = book.centroids_KD[rows].astype(np.float32) * book.centroid_scales_K[rows, None]
    assert int(np.argmax(rough(query_table(query, book), stored, None))) == 7


def test_the_same_bits_come_from_any_number_of_threads_and_any_neighbours() -> None:
    rng = np.random.default_rng(3)
    book, stored = coded(rng, rng.integers(0, 90, 300).tolist(), 96, 4)
    query = redundant(rng, 90, 96)
    tables = [query_table(query, book, threads=threads) for threads in (1, 2, 5)]
    expected = score_codes(query, book, stored, None, threads=1)
    near = estimate(tables[0], book, stored, None, threads=1)
    for threads, table in zip((1, 2, 5), tables, strict=True):
        assert_same_table(table, tables[0])
        np.testing.assert_array_equal(score_codes(query, book, stored, None, threads=threads), expected)
        np.testing.assert_array_equal(estimate(table, book, stored, None, threads=threads), near)
    some = np.array([299, 3, 3, 0, 150], np.uint32)
    np.testing.assert_array_equal(score_codes(query, book, stored, some), expected[some])
    np.testing.assert_array_equal(estimate(tables[0], book, stored, some), near[some])


def test_a_long_query_and_a_long_item_equal_the_reference() -> None:
    rng = np.random.default_rng(4)
    book, stored = coded(rng, [5000, 3], 128, 1, num_centroids=9)
    query = normal(rng, 100, 128)
    np.testing.assert_array_equal(
        score_codes(query, book, stored, None), score_codes_reference(query, book, stored, None)
    )


def test_corrupt_codes_items_and_offsets_are_refused_not_followed() -> None:
    rng = np.random.default_rng(5)
    book, stored = coded(rng, [2, 3], 16, 4, num_centroids=3)
    query = normal(rng, 4, 16)
    table = query_table(query, book)
    bad_code = Coded(stored.offsets_N1, np.array([0, 1, 2, 3, 0], np.uint16), stored.packed_TP, stored.scales_T)
    for scored in (
        lambda c, i=None: rough(table, c, i),
        lambda c, i=None: estimate(table, book, c, i),
        lambda c, i=None: score_codes(query, book, c, i),
    ):
        with pytest.raises(InvalidInput, match="code 3"):
            scored(bad_code)
        with pytest.raises(InvalidInput, match="item 2"):
            scored(stored, np.array([2], np.uint32))
        for offsets in ([0, 2, 6], [0, -1, 5], [3, 2, 5]):
            broken = Coded(np.array(offsets, np.int64), stored.codes_T, stored.packed_TP, stored.scales_T)
            with pytest.raises(InvalidInput, match="offsets"):
                scored(broken)


def test_wrong_types_and_shapes_are_named() -> None:
    rng = np.random.default_rng(6)
    book, stored = coded(rng, [2, 3], 16, 4)
    with pytest.raises(InvalidInput, match="query"):
        query_table(normal(rng, 4, 16).astype(np.float64), book)
    with pytest.raises(InvalidInput, match="D"):
        score_codes(normal(rng, 4, 15), book, stored, None)
    with pytest.raises(InvalidInput, match="T"):
        Coded(stored.offsets_N1, stored.codes_T[:-1], stored.packed_TP, stored.scales_T)
    with pytest.raises(InvalidInput, match="codes"):
        Coded(stored.offsets_N1, stored.codes_T.astype(np.uint32), stored.packed_TP, stored.scales_T)
    with pytest.raises(InvalidInput, match="levels"):
        Codebook(book.centroids_KD, book.centroid_scales_K, book.scale_table, book.levels[:5], 4)
    with pytest.raises(InvalidInput, match="bytes a vector"):
        thin = Coded(stored.offsets_N1, stored.codes_T, stored.packed_TP[:, :3], stored.scales_T)
        score_codes(normal(rng, 4, 16), book, thin, None)
