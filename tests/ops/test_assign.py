"""The nearest centroid: the native kernel against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import DIMS, ISAS, normal

from flmr.errors import InvalidInput
from flmr.ops.assign import (
    assign,
    assign_reference,
    assign_rounded,
    assign_rounded_reference,
    round_rows,
)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_codes_and_distances_equal_the_reference(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(dim)
    vectors, centroids = normal(rng, 200, dim).astype(dtype), normal(rng, 75, dim)
    codes, distances = assign(vectors, centroids, threads=2, isa=isa)
    expected_codes, expected = assign_reference(vectors, centroids)
    # Where the codes differ, both centroids must be equally near up to the rounding of |c|^2 / 2 - v.c in float32.
    size = (np.square(vectors.astype(np.float64)).sum(1) + np.square(centroids).sum(1).max()).astype(np.float32)
    assert (distances - expected <= 8 * np.finfo(np.float32).eps * size).all()
    assert (codes == expected_codes).mean() > 0.99
    np.testing.assert_allclose(distances[codes == expected_codes], expected[codes == expected_codes], rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_ties_go_to_the_lower_row(isa: str) -> None:
    rng = np.random.default_rng(0)
    centroids = np.concatenate([normal(rng, 50, 20)] * 3)
    codes, _ = assign(normal(rng, 300, 20), centroids, isa=isa)
    assert codes.max() < 50


@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_batch(isa: str) -> None:
    rng = np.random.default_rng(1)
    vectors, centroids = normal(rng, 1000, 48), normal(rng, 130, 48)
    codes, distances = assign(vectors, centroids, threads=1, isa=isa)
    for threads in (2, 5):
        again = assign(vectors, centroids, threads=threads, isa=isa)
        np.testing.assert_array_equal(again[0], codes)
        np.testing.assert_array_equal(again[1], distances)
    part = assign(vectors[333:334], centroids, isa=isa)
    assert part[0][0] == codes[333] and part[1][0] == distances[333]


def test_centroids_are_their_own_nearest_at_distance_zero() -> None:
    centroids = normal(np.random.default_rng(2), 64, 128)
    codes, distances = assign(centroids, centroids)
    assert codes.tolist() == list(range(64)) and (distances == 0).all()


def test_strided_and_readonly_inputs_are_accepted() -> None:
    rng = np.random.default_rng(3)
    vectors, centroids = normal(rng, 60, 40), normal(rng, 30, 20)
    centroids.setflags(write=False)
    strided = assign(vectors[::2, ::2], centroids)
    packed = assign(vectors[::2, ::2].copy(), centroids.copy())
    np.testing.assert_array_equal(strided[0], packed[0])


def test_no_vectors_give_no_codes_and_no_centroids_are_refused() -> None:
    codes, distances = assign(np.empty((0, 4), np.float32), np.ones((2, 4), np.float32))
    assert len(codes) == len(distances) == 0
    with pytest.raises(InvalidInput, match="centroid"):
        assign(np.ones((2, 4), np.float32), np.empty((0, 4), np.float32))
    with pytest.raises(InvalidInput, match="float64"):
        assign(np.ones((2, 4)), np.ones((2, 4), np.float32))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rounded_codes_are_the_references_bit_for_bit(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(dim)
    sizes = rng.uniform(1e-3, 1e3, (200, 1)).astype(np.float32)  # rows of all lengths, each with its own scale
    vectors = (normal(rng, 200, dim) * sizes).astype(dtype)
    centroids, scales = round_rows(normal(rng, 75, dim) * sizes[:75])
    codes, distances = assign_rounded(vectors, centroids, scales, threads=2, isa=isa)
    expected_codes, expected = assign_rounded_reference(vectors, centroids, scales)
    np.testing.assert_array_equal(codes, expected_codes)
    size = np.square(vectors.astype(np.float32)).sum(axis=1)
    assert (np.abs(distances - expected) <= 1e-5 * expected + 4 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("isa", ISAS)
def test_rounded_codes_do_not_depend_on_threads_or_on_the_rest_of_the_batch(isa: str) -> None:
    rng = np.random.default_rng(1)
    vectors, (centroids, scales) = normal(rng, 1000, 48), round_rows(normal(rng, 130, 48))
    codes, distances = assign_rounded(vectors, centroids, scales, threads=1, isa=isa)
    again = assign_rounded(vectors, centroids, scales, threads=5, isa=isa)
    np.testing.assert_array_equal(again[0], codes)
    np.testing.assert_array_equal(again[1], distances)
    part = assign_rounded(vectors[333:334], centroids, scales, isa=isa)
    assert part[0][0] == codes[333] and part[1][0] == distances[333]


def test_the_rounded_winner_is_hardly_farther_than_the_nearest() -> None:
    rng = np.random.default_rng(4)
    vectors, (centroids, scales) = normal(rng, 2000, 128), round_rows(normal(rng, 500, 128))
    nearest = assign(vectors, centroids * scales[:, None])[1]
    codes, distances = assign_rounded(vectors, centroids, scales)
    assert distances.mean() <= 1.001 * nearest.mean()
    assert (distances <= 1.02 * nearest).all()
    truth = np.square(vectors - (centroids * scales[:, None])[codes]).sum(axis=1)
    np.testing.assert_allclose(distances, truth, rtol=1e-5)


def test_rounded_ties_go_to_the_lower_row_and_zeros_to_the_shortest_centroid() -> None:
    rng = np.random.default_rng(5)
    centroids, scales = round_rows(np.concatenate([normal(rng, 50, 20)] * 3))
    vectors = np.concatenate([normal(rng, 300, 20), np.zeros((1, 20), np.float32)])
    codes, _ = assign_rounded(vectors, centroids, scales)
    assert codes.max() < 50
    assert codes[-1] == np.square(centroids * scales[:, None]).sum(axis=1).argmin()


@pytest.mark.parametrize("isa", ISAS)
def test_a_row_that_is_not_finite_gets_row_zero_and_disturbs_no_other(isa: str) -> None:
    rng = np.random.default_rng(6)
    vectors, (centroids, scales) = normal(rng, 40, 24), round_rows(normal(rng, 60, 24))
    whole = assign_rounded(vectors, centroids, scales, isa=isa)[0]
    vectors[3, 5], vectors[7, 0] = np.nan, np.inf
    codes, distances = assign_rounded(vectors, centroids, scales, isa=isa)
    assert codes[3] == codes[7] == 0 and not np.isfinite(distances[[3, 7]]).any()
    others = np.delete(np.arange(40), [3, 7])
    np.testing.assert_array_equal(codes[others], whole[others])


def test_rounding_keeps_the_largest_number_of_a_row_and_zeros() -> None:
    rows = np.array([[1, -4, 2], [0, 0, 0], [1e-30, 0, 0], [np.nan, 1, 2]], np.float32)
    values, scales = round_rows(rows)
    assert values.tolist() == [[32, -127, 64], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert scales[0] == np.float32(4) / np.float32(127) and scales[1] == scales[3] == 0


def test_too_many_rounded_centroids_and_wrong_scales_are_refused() -> None:
    many = np.zeros((65_537, 1), np.int8)
    with pytest.raises(InvalidInput, match="65,536"):
        assign_rounded(np.ones((2, 1), np.float32), many, np.ones(len(many), np.float32))
    with pytest.raises(InvalidInput, match="scales"):
        assign_rounded(np.ones((2, 4), np.float32), np.ones((2, 4), np.int8), np.ones(3, np.float32))
