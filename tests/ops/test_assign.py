"""The nearest centroid: the native kernel against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import DIMS, ISAS, normal

from flmr.errors import InvalidInput
from flmr.ops.assign import assign, assign_reference


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
