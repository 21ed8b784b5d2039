"""The codec: levels, rotation, scales, and how near the decoded vectors are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index.clustered import clustered_items

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.codec import (
    block_widths,
    fit,
    num_centroids,
    open_codec,
    orthogonal,
    sample_size,
    write_codec,
)
from flmr.index.store import Storage

VECTORS = np.concatenate(clustered_items(300, 24))


# Of a Gaussian, trellis and scale together err by these shares of its power.
@pytest.mark.parametrize(("nbits", "share"), [(1, 0.3), (2, 0.084), (3, 0.024), (4, 0.0068), (8, 0.0002)])
def test_vectors_without_clusters_lose_what_their_bits_cannot_hold(nbits: int, share: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    codec = fit(vectors, nbits=nbits, num_vectors=1, seed=0)  # one centroid: everything is residual
    assert np.square(codec.decode(*codec.encode(vectors)) - vectors).sum() < share * np.square(vectors).sum()


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


def test_rounding_centroids_to_bytes_costs_nothing() -> None:
    codec = fit(VECTORS, nbits=4, num_vectors=len(VECTORS), seed=0)
    assert codec.centroids_KD.dtype == np.int8 and (np.abs(codec.centroids_KD).max(axis=1) == 127).all()
    error = np.square(codec.decode(*codec.encode(VECTORS)) - VECTORS).sum()
    residuals = np.square(codec.rotate(VECTORS) - codec.nearest(codec.encode(VECTORS)[0])).sum()
    assert error < 0.02 * residuals  # what is left of a residual at 4 bits, in few dimensions: none of it is rounding


def test_a_codec_holds_rows_up_to_256_times_as_long_as_the_longest() -> None:
    for nbits in (1, 2, 3, 4, 8):
        codec = fit(VECTORS, nbits=nbits, num_vectors=len(VECTORS), seed=0)
        width = float(np.sqrt(np.square(VECTORS).mean(axis=1).max()))
        longest = 200 if nbits < 8 else 200 / np.sqrt(24)
        assert codec.holds(longest * width) and not codec.holds(300 * width)
        for sign in (1, -1):
            found = codec.decode(*codec.encode(VECTORS * np.float32(sign * longest)))
            assert np.isfinite(found).all()
        with pytest.raises(InvalidInput, match="far longer"):
            codec.encode(VECTORS * np.float32(30_000))
    zeros = fit(np.zeros((5, 24), np.float32), nbits=2, num_vectors=5, seed=0)
    assert not zeros.decode(*zeros.encode(np.zeros((3, 24), np.float32))).any() and zeros.holds(100.0)


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


def test_the_number_of_centroids_grows_with_the_root_of_the_corpus_twice_as_fast_where_they_are_cheap() -> None:
    sizes = (1, 5, 100, 10_000, 300_000, 10**6, 10**7, 10**12)
    assert [num_centroids(t, t) for t in sizes] == [1, 5, 12, 512, 2048, 8192, 32_768, 65_536]
    assert sample_size(10**9, 128, 64 << 20) * 128 * 4 <= 8 << 20
    assert sample_size(7, 128, 1 << 30) == 7


def test_a_codec_comes_back_from_its_files(tmp_path: Path) -> None:
    codec = fit(VECTORS, nbits=3, num_vectors=len(VECTORS), seed=0)
    record = write_codec(Storage(), tmp_path, 1, codec)
    opened = open_codec(tmp_path, 1, record, nbits=3, dim=24)
    assert all(np.array_equal(a, b) for a, b in zip(codec.encode(VECTORS), opened.encode(VECTORS), strict=True))
    with pytest.raises(CorruptIndex):
        open_codec(tmp_path, 1, record, nbits=3, dim=25)


@pytest.mark.parametrize("dim", [24, 300])  # 300: two blocks, permuted
def test_a_card_fits_and_encodes_as_the_processor_does(emulated_card: None, dim: int) -> None:
    torch = pytest.importorskip("torch")
    vectors = np.concatenate(clustered_items(40, dim)).astype(np.float16)
    codec = fit(vectors, nbits=2, num_vectors=200, seed=0)
    expected = codec.encode(vectors)
    rows = torch.from_numpy(vectors)
    for found in (codec.encode(rows), codec.encode(vectors, device="cuda")):
        assert [of.dtype for of in found] == [np.uint16, np.uint8, np.uint8]
        same_codes = found[0] == expected[0]
        assert same_codes.mean() > 0.99
        # A path through the trellis may change with the last bit of a residual, but not what it is worth.
        decoded = [codec.decode_rotated(*of)[same_codes] for of in (found, expected)]
        errors = [np.square(of - codec.rotate(vectors)[same_codes]).sum() for of in decoded]
        assert errors[0] == pytest.approx(errors[1], rel=1e-3)
        assert (decoded[0] == decoded[1]).all(axis=1).mean() > 0.99
    np.testing.assert_allclose(codec.distances(rows), codec.distances(vectors), rtol=1e-4, atol=1e-6)
    there = fit(rows.float(), nbits=2, num_vectors=200, seed=0)
    assert isinstance(there.centroids_KD, np.ndarray)
    assert (there.centroids_KD == codec.centroids_KD).mean() > 0.99
    with pytest.raises(InvalidInput, match="far longer than those"):
        codec.encode(rows[:3].float() * 1e5)
