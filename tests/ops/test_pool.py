"""Pooling: the native clustering against NumPy, and what it promises of counts, order and lengths."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import LENGTHS, normal, ragged

from flmr.errors import InvalidInput
from flmr.ops.pool import STRETCH, group, pool, pool_reference


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 50])
@pytest.mark.parametrize("dim", [1, 5, 16, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_clusters_are_those_of_the_reference(factor: int, dim: int, dtype: type) -> None:
    items = ragged(np.random.default_rng(dim), LENGTHS, dim, dtype)
    found, offsets = pool(items.vectors, items.offsets, factor, threads=2)
    wanted, wanted_offsets = pool_reference(items.vectors, items.offsets, factor)
    np.testing.assert_array_equal(offsets, wanted_offsets)
    np.testing.assert_array_equal(np.diff(offsets), -(-np.array(LENGTHS) // factor))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    if factor == 1:
        np.testing.assert_allclose(found, items.vectors, rtol=1e-6)


def test_rows_that_are_equal_become_one_of_the_same_length() -> None:
    rows = np.repeat(normal(np.random.default_rng(0), 6, 8), 3, axis=0)
    found, _ = pool(rows, np.array([0, 18]), 3)
    np.testing.assert_allclose(found, rows[::3], rtol=1e-6)


def test_a_mean_is_as_long_as_its_rows_are() -> None:
    rows = normal(np.random.default_rng(1), 64, 16)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found, _ = pool(rows, np.array([0, 64]), 4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    opposite, _ = pool(np.array([[1.0, 0], [-1.0, 0]], np.float32), np.array([0, 2]), 2)
    assert not opposite.any()  # their mean has no direction


def test_long_items_are_clustered_a_stretch_at_a_time() -> None:
    rows = normal(np.random.default_rng(2), STRETCH + 500, 4)
    found, offsets = pool(rows, np.array([0, len(rows)]), 4)
    assert offsets.tolist() == [0, (STRETCH + 500) // 4]
    first, _ = pool(rows[:STRETCH], np.array([0, STRETCH]), 4)
    np.testing.assert_array_equal(found[: STRETCH // 4], first)


def test_results_do_not_depend_on_threads() -> None:
    items = ragged(np.random.default_rng(3), [int(n) for n in np.random.default_rng(4).integers(0, 60, 100)], 24)
    one = pool(items.vectors, items.offsets, 2, threads=1)
    assert all(np.array_equal(a, b) for a, b in zip(one, pool(items.vectors, items.offsets, 2, threads=5), strict=True))


def test_wrong_inputs_are_named() -> None:
    rows, offsets = np.ones((4, 3), np.float32), np.array([0, 4])
    for factor in (0, -1, 2.0, True, STRETCH + 1):
        with pytest.raises(InvalidInput, match="factor"):
            pool(rows, offsets, factor)  # type: ignore[arg-type]
    for bad in ([0, 5], [1, 4], [0, 3, 2, 4], [0, 3]):
        with pytest.raises(InvalidInput, match="offsets"):
            pool(rows, np.array(bad), 2)
    assert pool(rows[:0], np.array([0, 0]), 2)[0].shape == (0, 3)


@pytest.mark.parametrize("factor", [1, 2, 7])
@pytest.mark.parametrize("rows", [1, 9, 40, STRETCH + 30])
def test_groups_are_the_clusters_that_are_averaged(rows: int, factor: int) -> None:
    vectors = normal(np.random.default_rng(rows), rows, 6)
    clusters = group(vectors, factor)
    found, _ = pool(vectors, np.array([0, rows]), factor)
    assert clusters.max() + 1 == len(found)
    for cluster, mean in enumerate(found):
        total = vectors[clusters == cluster].sum(axis=0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), total / np.linalg.norm(total), atol=1e-4)
