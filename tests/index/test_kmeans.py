"""k-means: seeded, the same at any thread count, sound on degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from index.clustered import clustered_items

from flmr.errors import InvalidInput
from flmr.index.kmeans import kmeans
from flmr.ops.assign import assign
from flmr.ops.means import means_reference

VECTORS = np.concatenate(clustered_items(400, 8))


def distortion(vectors: np.ndarray, centroids: np.ndarray) -> float:
    return float(assign(vectors, centroids)[1].mean())


def test_the_same_seed_gives_the_same_centroids_at_any_thread_count() -> None:
    one = kmeans(VECTORS, 50, seed=3, threads=1)
    assert np.array_equal(one, kmeans(VECTORS, 50, seed=3, threads=7))
    assert not np.array_equal(one, kmeans(VECTORS, 50, seed=4))


def test_more_iterations_and_more_centroids_are_closer() -> None:
    assert distortion(VECTORS, kmeans(VECTORS, 50, iterations=8)) < distortion(
        VECTORS, kmeans(VECTORS, 50, iterations=1)
    )
    assert distortion(VECTORS, kmeans(VECTORS, 200)) < distortion(VECTORS, kmeans(VECTORS, 50))


def test_separated_clusters_are_found_although_the_start_is_random() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [100, 0], [0, 100], [100, 100]], np.float32)
    vectors = np.concatenate([centre + rng.standard_normal((50, 2)).astype(np.float32) for centre in centres])
    best = min(distortion(vectors, kmeans(vectors, 4, seed=seed, iterations=20)) for seed in range(5))
    assert best < 5


def test_fewer_points_than_centroids_give_a_centroid_each() -> None:
    points = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert sorted(kmeans(points, 10).tolist()) == points.tolist()


def test_identical_points_give_one_centroid() -> None:
    assert np.allclose(kmeans(np.full((20, 3), 7, np.float32), 5), [[7, 7, 7]])
    two = np.repeat(np.array([[0.0], [1.0]], np.float32), 10, axis=0)
    assert sorted(set(kmeans(two, 8)[:, 0].tolist())) == [0, 1]


def test_one_dimension_and_one_point_work() -> None:
    assert kmeans(np.array([[5.0]], np.float32), 1).tolist() == [[5.0]]
    line = np.sort(kmeans(np.linspace(0, 1, 100, dtype=np.float32)[:, None], 4)[:, 0])
    assert len(line) == 4 and (np.diff(line) > 0.1).all()


def test_empty_clusters_are_moved_to_the_farthest_points() -> None:
    vectors = np.concatenate([np.zeros((100, 2)), [[50, 50], [90, 0]]]).astype(np.float32)
    centroids = kmeans(vectors, 3, seed=0)
    assert distortion(vectors, centroids) == 0


def test_products_of_bytes_cost_less_than_a_hundredth_of_the_distortion_of_float32() -> None:
    exact = VECTORS[np.sort(np.random.default_rng(0).permutation(len(VECTORS))[:64])].astype(np.float32)
    for _ in range(8):
        codes = assign(VECTORS, exact)[0].astype(np.uint16)
        moved, counts = means_reference(VECTORS, codes, len(exact))
        exact = np.where(counts[:, None] > 0, moved, exact)
    assert distortion(VECTORS, kmeans(VECTORS, 64)) < 1.01 * distortion(VECTORS, exact)


def test_nothing_to_cluster_is_refused() -> None:
    with pytest.raises(InvalidInput):
        kmeans(np.empty((0, 3), np.float32), 2)
    with pytest.raises(InvalidInput):
        kmeans(VECTORS, 0)


@pytest.mark.parametrize("where", ["processor", "card"])
def test_tensors_are_clustered_where_they_lie_as_arrays_are(request: pytest.FixtureRequest, where: str) -> None:
    torch = pytest.importorskip("torch")
    if where == "card":
        request.getfixturevalue("emulated_card")
    vectors = np.concatenate([VECTORS[:600], np.repeat(VECTORS[:1], 90, axis=0)])  # centroids run empty
    for given in (vectors, vectors.astype(np.float16)):
        expected = kmeans(given, 60, seed=2)
        found = kmeans(torch.from_numpy(given), 60, seed=2)
        assert found.dtype == torch.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
