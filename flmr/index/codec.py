"""The codec: a vector as the number of its nearest centroid and a few bits a dimension of what is left.

Knows how to fit itself to a sample, how to encode vectors, decode them and bring queries into its space.  Knows
nothing of items, segments or searches.

A vector x is rotated, y = R x; its code is the row of the centroid c nearest to y; the residual y - c is stored as one
of 2**nbits levels a dimension times one float16 scale a vector.  After a random rotation the dimensions of a residual
are near to independent Gaussians of one width, so the best levels are those of Lloyd and Max (1982) for a Gaussian, and
the scale that fits them best by least squares is better than the residual's own length.

Shapes: S sampled vectors, T vectors, D dimension, K centroids, L levels, P packed bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.format import CENTROIDS, LEVELS, PERMUTATION, ROTATION, Array, array, codec_name
from flmr.index.kmeans import kmeans
from flmr.index.manifest import RESTORE, CodecRecord, FileRecord
from flmr.index.store import Storage, file_size, map_array
from flmr.ops.assign import assign
from flmr.ops.residual import dequantize, quantize

MAX_BLOCK = 256  # a full rotation of D = 8192 would take 256 MB and 67 M multiplications a vector
SAMPLE_PER_CENTROID = 32
CENTROIDS_PER_ROOT = 4  # K = 4 sqrt(T): 2,048 for 300,000 vectors, as in the measurements that chose this codec
MAX_CENTROIDS = 65_536
LEVEL_ROUNDS = 2000


@dataclass(frozen=True)
class Codec:
    """A fitted codec.

    centroids_KD (rotated space) and levels_L: float32.  permutation_D: int32, dims are first reordered by it, then each
    block of consecutive dims is multiplied by its own orthogonal matrix; rotation holds these one after another.
    """

    nbits: int
    centroids_KD: np.ndarray
    levels_L: np.ndarray
    permutation_D: np.ndarray
    rotation: np.ndarray
    blocks: tuple[int, ...]
    fitted_on: int

    @property
    def dim(self) -> int:
        """D."""
        return int(self.centroids_KD.shape[1])

    def rotate(self, vectors_TD: np.ndarray) -> np.ndarray:
        """Vectors, or a query's rows, in the space of the codes: (T, D) float32."""
        permuted_TD = vectors_TD[:, self.permutation_D].astype(np.float32, copy=False)
        rotated_TD = np.empty((len(vectors_TD), self.dim), np.float32)
        for dims, matrix in self._matrices():
            rotated_TD[:, dims] = permuted_TD[:, dims] @ matrix
        return rotated_TD

    def unrotate(self, rotated_TD: np.ndarray) -> np.ndarray:
        """The inverse of `rotate`."""
        vectors_TD = np.empty((len(rotated_TD), self.dim), np.float32)
        for dims, matrix in self._matrices():
            vectors_TD[:, self.permutation_D[dims]] = rotated_TD[:, dims] @ matrix.T
        return vectors_TD

    def encode(
        self, vectors_TD: np.ndarray, *, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes (T,) uint32, packed residuals (T, P) uint8, scales (T,) float16.  Raises InvalidInput on overflow."""
        rotated_TD = self.rotate(vectors_TD)
        codes_T, _ = assign(rotated_TD, self.centroids_KD, threads=threads)
        rotated_TD -= self.centroids_KD[codes_T]
        packed_TP, scales_T = quantize(rotated_TD, self.levels_L, nbits=self.nbits, threads=threads)
        return codes_T, packed_TP, scales_T

    def decode(self, codes_T: np.ndarray, packed_TP: np.ndarray, scales_T: np.ndarray) -> np.ndarray:
        """The vectors that the codes stand for, in the caller's space: (T, D) float32."""
        residuals_TD = dequantize(packed_TP, scales_T, self.levels_L, nbits=self.nbits, dim=self.dim)
        return self.unrotate(self.centroids_KD[codes_T] + residuals_TD)

    def _matrices(self) -> list[tuple[slice, np.ndarray]]:
        matrices, dim, place = [], 0, 0
        for width in self.blocks:
            matrices.append(
                (slice(dim, dim + width), self.rotation[place : place + width * width].reshape(width, width))
            )
            dim, place = dim + width, place + width * width
        return matrices


def num_centroids(num_vectors: int, num_sampled: int) -> int:
    """K for a corpus: the power of two nearest to 4 sqrt(T), with at least 8 sampled vectors each where there are."""
    wanted = CENTROIDS_PER_ROOT * math.sqrt(max(num_vectors, 1))
    return min(1 << round(math.log2(wanted)), MAX_CENTROIDS, max(num_sampled // 8, min(num_sampled, 8), 1))


def sample_size(num_vectors: int, dim: int, memory_bytes: int) -> int:
    """S: vectors to fit on, 32 a centroid where memory allows; the fit holds a few copies of them."""
    wanted = SAMPLE_PER_CENTROID * num_centroids(num_vectors, num_vectors)
    return max(1, min(num_vectors, wanted, memory_bytes // (8 * 4 * dim)))


def fit(
    sample_SD: np.ndarray,
    *,
    nbits: int,
    num_vectors: int,
    seed: int,
    threads: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec for a corpus of `num_vectors` vectors from a sample of them: float32, at least one row."""
    dim = sample_SD.shape[1]
    blocks = block_widths(dim)
    rng = np.random.default_rng(seed)
    permutation_D = rng.permutation(dim).astype(np.int32) if len(blocks) > 1 else np.arange(dim, dtype=np.int32)
    rotation = np.concatenate([orthogonal(width, rng).reshape(-1) for width in blocks])
    levels_L = gaussian_levels(nbits)
    blank = Codec(nbits, np.zeros((1, dim), np.float32), levels_L, permutation_D, rotation, blocks, num_vectors)
    centroids_KD = kmeans(
        blank.rotate(sample_SD), num_centroids(num_vectors, len(sample_SD)), seed=seed, threads=threads, report=report
    )
    return Codec(nbits, centroids_KD, levels_L, permutation_D, rotation, blocks, num_vectors)


def block_widths(dim: int) -> tuple[int, ...]:
    """The widths of the rotation's blocks: as few and as even as blocks of at most 256 allow."""
    count = -(-dim // MAX_BLOCK)
    return tuple(dim // count + (i < dim % count) for i in range(count))


def orthogonal(width: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix, (width, width) float32, by Gram-Schmidt on Gaussian rows.

    Written out without a matrix library: those may round differently with another number of threads.
    """
    rows = rng.standard_normal((width, width))
    for i in range(width):
        for _ in range(2):  # twice is enough to be orthogonal to rounding (Kahan; Parlett 1980)
            rows[i] -= (rows[:i] * (rows[:i] * rows[i]).sum(axis=1)[:, None]).sum(axis=0)
        rows[i] /= math.sqrt(np.square(rows[i]).sum())
    return rows.astype(np.float32)


def gaussian_levels(nbits: int) -> np.ndarray:
    """The 2**nbits values that represent a standard Gaussian with the least squared error, rising: float32.

    Lloyd, "Least squares quantization in PCM", and Max, "Quantizing for minimum distortion": each level is the mean
    of the Gaussian between the midpoints to its neighbours.
    """
    count = 2**nbits
    # Start where levels are dense as the cube root of the density (Panter and Dite): a Gaussian of variance 3.
    levels = np.array([_normal_quantile((i + 0.5) / count) * math.sqrt(3) for i in range(count)])
    for _ in range(LEVEL_ROUNDS):
        edges = (levels[1:] + levels[:-1]) / 2
        density = np.concatenate(([0.0], np.exp(-np.square(edges) / 2) / math.sqrt(2 * math.pi), [0.0]))
        below = np.array([0.0, *((1 + math.erf(edge / math.sqrt(2))) / 2 for edge in edges), 1.0])
        means = (density[:-1] - density[1:]) / np.diff(below)
        means = (means - means[::-1]) / 2
        moved = float(np.abs(means - levels).max())
        levels = means
        if moved < 1e-9:
            break
    return levels.astype(np.float32)


def _normal_quantile(share: float) -> float:
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + math.erf(middle / math.sqrt(2))) / 2 < share else (low, middle)
    return (low + high) / 2


def codec_arrays(nbits: int, dim: int, num_centroids: int, blocks: tuple[int, ...]) -> dict[str, Array]:
    """The type and shape of each part of a codec."""
    return {
        CENTROIDS: array("<f4", num_centroids, dim),
        LEVELS: array("<f4", 2**nbits),
        PERMUTATION: array("<i4", dim),
        ROTATION: array("<f4", sum(width * width for width in blocks)),
    }


def write_codec(storage: Storage, folder: Path, number: int, codec: Codec) -> CodecRecord:
    """Write the codec's files; they belong to the index once a manifest names them."""
    values = {
        CENTROIDS: codec.centroids_KD,
        LEVELS: codec.levels_L,
        PERMUTATION: codec.permutation_D,
        ROTATION: codec.rotation,
    }
    files = {}
    for part, kind in codec_arrays(codec.nbits, codec.dim, len(codec.centroids_KD), codec.blocks).items():
        path = folder / codec_name(number, part)
        storage.write_array(path, values[part], kind)
        files[part] = FileRecord.of(path)
    return CodecRecord(len(codec.centroids_KD), codec.blocks, codec.fitted_on, files)


def open_codec(folder: Path, number: int, record: CodecRecord, *, nbits: int, dim: int) -> Codec:
    """Map a codec's files; raises CorruptIndex where one is not what the manifest says."""
    if record.blocks != block_widths(dim) or record.centroids < 1:
        raise CorruptIndex(f"{folder}: codec {number} is not one of D={dim}: {RESTORE}")
    parts = {}
    for part, kind in codec_arrays(nbits, dim, record.centroids, record.blocks).items():
        path = folder / codec_name(number, part)
        if part not in record.files or file_size(path) != record.files[part].bytes:
            raise CorruptIndex(f"{path} has not the size that the manifest says: {RESTORE}")
        parts[part] = map_array(path, kind)
    permutation_D, levels_L = parts[PERMUTATION].copy(), parts[LEVELS].copy()  # checked once: so never map what may rot
    if not np.array_equal(np.sort(permutation_D), np.arange(dim)):
        raise CorruptIndex(f"{folder / codec_name(number, PERMUTATION)} is not a permutation: {RESTORE}")
    if not np.isfinite(levels_L).all() or (levels_L[1:] <= levels_L[:-1]).any():
        raise CorruptIndex(f"{folder / codec_name(number, LEVELS)} does not rise: {RESTORE}")
    return Codec(nbits, parts[CENTROIDS], levels_L, permutation_D, parts[ROTATION], record.blocks, record.fitted_on)
