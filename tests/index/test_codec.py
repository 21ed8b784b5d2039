"""The codec: levels, rotation, scales, and how near the decoded vectors are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index.clustered import clustered_items

from flmr.errors import CorruptIndex
from flmr.index.codec import (
    block_widths,
    fit,
    gaussian_levels,
    num_centroids,
    open_codec,
    orthogonal,
    sample_size,
    write_codec,
)
from flmr.index.store import Storage

VECTORS = np.concatenate(clustered_items(300, 24))


@pytest.mark.parametrize(("nbits", "distortion"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497), (8, 0.00004)])
def test_levels_have_the_distortion_of_lloyd_and_max(nbits: int, distortion: float) -> None:
    levels = gaussian_levels(nbits).astype(np.float64)
    assert len(levels) == 2**nbits and (np.diff(levels) > 0).all() and np.allclose(levels, -levels[::-1])
    x = np.linspace(-9, 9, 400_001)
    weights = np.exp(-np.square(x) / 2)
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]
    # Max's table to its four figures; his paper has no row for 8 bits.
    assert (weights * np.square(x - nearest)).sum() / weights.sum() == pytest.approx(
        distortion, rel=6e-2 if nbits == 8 else 1e-3
    )


@pytest.mark.parametrize("dim", [1, 2, 3, 255, 256, 257, 300, 768, 8192])
def test_blocks_cover_the_dimension_evenly(dim: int) -> None:
    widths = block_widths(dim)
    assert sum(widths) == dim and max(widths) <= 256 and max(widths) - min(widths) <= 1


@pytest.mark.parametrize("width", [1, 2, 17, 200])
def test_a_rotation_is_orthogonal(width: int) -> None:
    matrix = orthogonal(width, np.random.default_rng(0)).astype(np.float64)
    assert np.allclose(matrix @ matrix.T, np.eye(width), atol=1e-6)


@pytest.mark.parametrize("dim", [1, 24, 300])
def test_rotating_and_back_is_the_vector_and_keeps_products(dim: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((50, dim)).astype(np.float32)
    codec = fit(vectors, nbits=2, num_vectors=50, seed=1)
    rotated = codec.rotate(vectors)
    assert np.allclose(codec.unrotate(rotated), vectors, atol=1e-5)
    assert np.allclose(rotated @ rotated.T, vectors @ vectors.T, atol=1e-4 * dim)


def test_no_scale_fits_better_than_the_one_stored() -> None:
    codec = fit(VECTORS, nbits=2, num_vectors=len(VECTORS), seed=0)
    codes, packed, scales = codec.encode(VECTORS)

    def error(factor: float) -> float:
        changed = (scales.astype(np.float32) * factor).astype(np.float16)
        return float(np.square(codec.decode(codes, packed, changed) - VECTORS).sum())

    assert error(1) < min(error(0.98), error(1.02))


def test_fitting_is_deterministic_at_any_thread_count() -> None:
    one = fit(VECTORS, nbits=4, num_vectors=len(VECTORS), seed=7, threads=1)
    many = fit(VECTORS, nbits=4, num_vectors=len(VECTORS), seed=7, threads=5)
    other = fit(VECTORS, nbits=4, num_vectors=len(VECTORS), seed=8, threads=5)
    assert np.array_equal(one.centroids_KD, many.centroids_KD) and np.array_equal(one.rotation, many.rotation)
    assert not np.array_equal(one.centroids_KD[:1], other.centroids_KD[:1])
    assert all(
        np.array_equal(a, b)
        for a, b in zip(one.encode(VECTORS, threads=1), many.encode(VECTORS, threads=5), strict=True)
    )


def test_the_number_of_centroids_grows_with_the_root_of_the_corpus() -> None:
    assert [num_centroids(t, t) for t in (1, 5, 100, 10_000, 300_000, 10**7, 10**12)] == [
        1,
        5,
        12,
        512,
        2048,
        16_384,
        65_536,
    ]
    assert sample_size(10**9, 128, 64 << 20) * 128 * 4 <= 8 << 20
    assert sample_size(7, 128, 1 << 30) == 7


def test_a_codec_comes_back_from_its_files(tmp_path: Path) -> None:
    codec = fit(VECTORS, nbits=3, num_vectors=len(VECTORS), seed=0)
    record = write_codec(Storage(), tmp_path, 1, codec)
    opened = open_codec(tmp_path, 1, record, nbits=3, dim=24)
    assert all(np.array_equal(a, b) for a, b in zip(codec.encode(VECTORS), opened.encode(VECTORS), strict=True))
    with pytest.raises(CorruptIndex):
        open_codec(tmp_path, 1, record, nbits=3, dim=25)
