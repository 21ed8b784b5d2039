"""The CUDA kernels' own source, run by the emulator: gradients from winners against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_cuda import Side, backward, forward, library
from numpy.typing import NDArray


def gradients(
    queries: Side, documents: Side, winners: NDArray[np.int64], grad: NDArray[np.float64], per_query: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each query row and its winner in each column meet once."""
    of_queries, of_documents = np.zeros(queries.rows_MD.shape), np.zeros(documents.rows_MD.shape)
    for i, (q, q_rows) in enumerate(zip(queries.begins or [], queries.lengths, strict=True)):
        for row in range(q, q + q_rows):
            for column, winner in enumerate(winners[row]):
                if winner < 0:
                    continue
                m = (documents.begins or [])[i * per_query + column] + winner
                weight = grad[i, column]
                weight *= 1 if queries.scales_M is None else queries.scales_M[row]
                weight *= 1 if documents.scales_M is None else documents.scales_M[m]
                of_queries[row] += weight * documents.values[m]
                of_documents[m] += weight * queries.values[row]
    return of_queries, of_documents


def assert_right(queries: Side, documents: Side, *, per_query: int = 0, winner_bytes: int = 4) -> None:
    rng = np.random.default_rng(99)
    scores, winners = forward(queries, documents, per_query=per_query, winner_bytes=winner_bytes)
    assert winners is not None
    grad = rng.integers(-3, 4, scores.shape).astype(float)
    expected = gradients(queries, documents, winners.astype(np.int64), grad, per_query)
    grad[np.isneginf(scores)] = np.nan  # what arrives for a document without rows is not looked at
    for deterministic in (False, True):
        found = backward(queries, documents, winners, grad, per_query=per_query, deterministic=deterministic)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        for wanted in ((True, False), (False, True), (False, False)):
            part = backward(
                queries, documents, winners, grad, per_query=per_query, deterministic=deterministic, wanted=wanted
            )
            for one, other, want in zip(part, expected, wanted, strict=True):
                assert one is None if not want else np.array_equal(one, other)
    assert library().emulator_allocations() == 0


def side(
    rng: np.random.Generator, lengths: list[int], dim: int, kind: str, *, masked: float = 0.0, **more: object
) -> Side:
    rows = rng.integers(-3, 4, (sum(lengths), dim))
    return Side(rows, lengths, kind, mask_M=rng.random(len(rows)) >= masked if masked else None, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("winner_bytes", [2, 4])
def test_gradients_of_ragged_items_equal_numpy(kind: str, winner_bytes: int) -> None:
    rng = np.random.default_rng(1)
    queries, documents = side(rng, [5, 0, 130, 33], 20, kind), side(rng, [1, 140, 0, 64, 65], 20, kind)
    assert_right(queries, documents, winner_bytes=winner_bytes)


@pytest.mark.parametrize("dim", [1, 31, 128, 129, 300])
def test_gradients_of_any_dimension_equal_numpy(dim: int) -> None:
    rng = np.random.default_rng(dim)
    assert_right(side(rng, [7, 20], dim, "bfloat16", stride=dim + 3), side(rng, [30, 9], dim, "bfloat16"))


def test_masked_rows_have_no_gradient() -> None:
    rng = np.random.default_rng(2)
    documents = side(rng, [30, 12, 70], 16, "float16", masked=0.5, padded=False)
    assert documents.mask_M is not None
    documents.mask_M[30:42] = False
    assert_right(side(rng, [20, 40], 16, "float16", masked=0.5), documents)


def test_padded_pairs_equal_numpy() -> None:
    rng = np.random.default_rng(3)
    queries, documents = (
        side(rng, [33] * 3, 24, "float16", padded=True),
        side(rng, [70] * 6, 24, "float16", padded=True),
    )
    assert_right(queries, documents, per_query=2)


def test_scales_count_for_gradients_too() -> None:
    rng = np.random.default_rng(4)
    queries, documents = side(rng, [20, 4], 16, "float32"), side(rng, [30, 12], 16, "float32")
    queries.scales_M, documents.scales_M = 2.0 ** rng.integers(-2, 3, 24), 2.0 ** rng.integers(-2, 3, 42)
    assert_right(queries, documents)


def test_deterministic_sums_have_the_order_of_the_queries() -> None:
    rng = np.random.default_rng(5)
    queries, documents = Side(rng.normal(size=(260, 8)), [60, 200]), Side(rng.normal(size=(2, 8)), [2])
    _, winners = forward(queries, documents, winner_bytes=4)
    assert winners is not None
    expected = np.zeros((2, 8), np.float32)
    for row, (winner,) in enumerate(winners):
        expected[winner] += np.float32(0.5) * queries.stored[row]  # the product is exact, the sum is rounded
    _, found = backward(queries, documents, winners, np.full((2, 1), 0.5), deterministic=True)
    assert found is not None and found.tobytes() == expected.tobytes()


def test_rows_of_bytes_have_no_gradient() -> None:
    rng = np.random.default_rng(6)
    rows = side(rng, [3], 8, "int8")
    with pytest.raises(AssertionError, match="no gradient"):
        backward(rows, rows, np.zeros((3, 1), np.int32), np.ones((1, 1)))
