"""The codec: a vector as the number of its nearest centroid and a few bits a dimension of what is left.

Knows how to fit itself to a sample, how to encode vectors, decode them and bring queries into its space.  Knows
nothing of items, segments or searches.

A vector x is rotated, y = R x; its code is the row of the centroid c nearest to y; the residual y - c is stored as a
path through a trellis and one of 256 scales.  After a random rotation the dimensions of a residual are near to
independent Gaussians of one width, for which the levels of the trellis are made.  Everything that a search multiplies
is whole numbers: centroids are int8 with a scale each (a residual is taken from the rounded centroid, so that rounding
costs nothing), and so are levels.

Shapes: S sampled vectors, T vectors, D dimension, K centroids, P packed bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.format import (
    CENTROID_SCALES,
    CENTROIDS,
    LEVELS,
    PERMUTATION,
    ROTATION,
    SCALE_TABLE,
    Array,
    array,
    codec_name,
)
from flmr.index.kmeans import kmeans
from flmr.index.lazy import lazy
from flmr.index.manifest import RESTORE, CodecRecord, FileRecord
from flmr.index.store import Storage, file_size, map_array
from flmr.ops.arrays import Device, in_memory, is_tensor, placed
from flmr.ops.assign import assign_rounded, round_rows
from flmr.ops.coded import Codebook
from flmr.ops.multiply import multiply
from flmr.ops.trellis import SCALES, dequantize, quantize, scale_table, trellis_levels, widest

MAX_BLOCK = 256  # a full rotation of D = 8192 would take 256 MB and 67 M multiplications a vector
SAMPLE_PER_CENTROID = 64
# K is 4 to 8 times sqrt(T), 8 where that costs no more than a byte a vector: 2,048 for 300,000 vectors, 8,192 for a
# million.  Twice as many take a seventh of the squared residuals and a little time (docs/log.md).
CENTROIDS_PER_ROOT = (4, 8)
VECTORS_PER_CENTROID = 128
MAX_CENTROIDS = 65_536
HEADROOM = 512  # the largest scale over that of the longest row: later rows, and residuals, may be longer
WIDTH_BYTES = 1 << 20

Rows = Any  # an array, or a tensor in a CUDA device's memory


@dataclass(frozen=True)
class Codec:
    """A fitted codec.

    centroids_KD: int8, in rotated space in units of centroid_scales_K, float32.  levels: int8, one a window of the
    trellis.  scale_table: the 256 scales of residuals, float32, rising from 0.  permutation_D: int32, dims are first
    reordered by it, then each block of consecutive dims is multiplied by its own orthogonal matrix; rotation holds
    these one after another.  residual: mean squared residual of the vectors that it was fitted to, where that is known.
    """

    nbits: int
    centroids_KD: np.ndarray
    centroid_scales_K: np.ndarray
    levels: np.ndarray
    scale_table: np.ndarray
    permutation_D: np.ndarray
    rotation: np.ndarray
    blocks: tuple[int, ...]
    fitted_on: int
    residual: float | None = None

    @property
    def dim(self) -> int:
        """D."""
        return int(self.centroids_KD.shape[1])

    @lazy
    def book(self) -> Codebook:
        """What its codes mean, as the ops read it."""
        return Codebook(self.centroids_KD, self.centroid_scales_K, self.scale_table, self.levels, self.nbits)

    def beside(self, rows: Rows) -> Codec:
        """Itself for an array; for a tensor itself with what encoding reads as tensors on the same device."""
        if not is_tensor(rows):
            return self
        if rows.device not in self._copies:
            names = ("centroids_KD", "centroid_scales_K", "permutation_D", "rotation")
            self._copies[rows.device] = replace(
                self, **{name: placed(getattr(self, name), rows.device) for name in names}
            )
        return self._copies[rows.device]

    @lazy
    def _copies(self) -> dict[Any, Codec]:
        return {}

    def rotate(self, vectors_TD: Rows, *, threads: int | None = None) -> Rows:
        """Vectors, or a query's rows, in the space of the codes: (T, D) float32, where they lie."""
        own = self.beside(vectors_TD)
        permuted_TD = vectors_TD if self._in_order else vectors_TD[:, own.permutation_D]
        if len(self.blocks) == 1:
            return multiply(permuted_TD, own._transposed[0][1], threads=threads)
        shape = len(vectors_TD), self.dim
        rotated_TD = np.empty(shape, np.float32) if own is self else own.rotation.new_empty(shape)  # type: ignore[attr-defined]
        for dims, matrix in own._transposed:
            rotated_TD[:, dims] = multiply(permuted_TD[:, dims], matrix, threads=threads)
        return rotated_TD

    def unrotate(self, rotated_TD: np.ndarray) -> np.ndarray:
        """The inverse of `rotate`."""
        vectors_TD = np.empty((len(rotated_TD), self.dim), np.float32)
        for dims, matrix in self._matrices():
            vectors_TD[:, self.permutation_D[dims]] = multiply(rotated_TD[:, dims], matrix)
        return vectors_TD

    def holds(self, width: float) -> bool:
        """Whether it can encode every row of this root mean square, which also a residual may have twice."""
        most = 2 * width * (math.sqrt(self.dim) if self.nbits == 8 else 1)
        return most <= float(self.scale_table[-1]) * widest(self.nbits)

    def encode(
        self, vectors_TD: Rows, *, threads: int | None = None, device: Device = "cpu"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes (T,) uint16, packed residuals (T, P) uint8, numbers of scales (T,) uint8.

        device: where residuals are made, of arrays; those of a tensor are made where it lies.
        Raises InvalidInput for a row that is far longer than those that the codec was fitted to.
        """
        rotated_TD = self.rotate(placed(vectors_TD, device), threads=threads)
        codes_T = self._assigned(rotated_TD, threads)[0]
        rotated_TD -= self.nearest(codes_T)
        residuals_TD, codes_T = in_memory(rotated_TD), in_memory(codes_T).astype(np.uint16, copy=False)
        try:
            packed_TP, scales_T = quantize(
                residuals_TD, self.scale_table, nbits=self.nbits, levels=self.levels, threads=threads
            )
        except InvalidInput as error:
            raise InvalidInput(
                f"there is a row far longer than those that the index was built from ({widest_row(vectors_TD):g} a"
                " dimension): normalise the vectors, or build the index anew"
            ) from error
        return codes_T, packed_TP, scales_T

    def distances(self, vectors_TD: Rows, *, threads: int | None = None) -> np.ndarray:
        """Squared residual of each vector: (T,) float32."""
        distances_T: np.ndarray = in_memory(self._assigned(self.rotate(vectors_TD, threads=threads), threads)[1])
        return distances_T

    def decode(self, codes_T: np.ndarray, packed_TP: np.ndarray, scales_T: np.ndarray) -> np.ndarray:
        """The vectors that the codes stand for, in the caller's space: (T, D) float32."""
        return self.unrotate(self.decode_rotated(codes_T, packed_TP, scales_T))

    def decode_rotated(
        self, codes_T: np.ndarray, packed_TP: np.ndarray, scales_T: np.ndarray, *, threads: int | None = None
    ) -> np.ndarray:
        """The same in the space of the codes."""
        residuals_TD = dequantize(
            packed_TP, scales_T, self.scale_table, nbits=self.nbits, dim=self.dim, levels=self.levels, threads=threads
        )
        residuals_TD += self.nearest(codes_T)
        return residuals_TD

    def nearest(self, codes_T: Rows) -> Rows:
        """The centroids of codes, in the space of the codes: (T, D) float32, where the codes lie."""
        own = self.beside(codes_T)
        return own.centroids_KD[codes_T] * own.centroid_scales_K[codes_T][:, None]

    def _assigned(self, rotated_TD: Rows, threads: int | None) -> tuple[Rows, Rows]:
        own = self.beside(rotated_TD)
        return assign_rounded(rotated_TD, own.centroids_KD, own.centroid_scales_K, threads=threads)

    def _matrices(self) -> list[tuple[slice, np.ndarray]]:
        matrices, dim, place = [], 0, 0
        for width in self.blocks:
            matrices.append(
                (slice(dim, dim + width), self.rotation[place : place + width * width].reshape(width, width))
            )
            dim, place = dim + width, place + width * width
        return matrices

    @lazy
    def _in_order(self) -> bool:
        return bool((self.permutation_D == np.arange(self.dim)).all())

    @lazy
    def _transposed(self) -> list[tuple[slice, np.ndarray]]:
        matrices = self._matrices()
        return [(dims, matrix.T if is_tensor(matrix) else np.ascontiguousarray(matrix.T)) for dims, matrix in matrices]


def num_centroids(num_vectors: int, num_sampled: int) -> int:
    """K for a corpus: a power of two, with at least 8 sampled vectors each where there are."""
    fewest, most = (times * math.sqrt(max(num_vectors, 1)) for times in CENTROIDS_PER_ROOT)
    wanted = min(max(fewest, num_vectors / VECTORS_PER_CENTROID), most)
    return min(1 << round(math.log2(wanted)), MAX_CENTROIDS, max(num_sampled // 8, min(num_sampled, 8), 1))


def sample_size(num_vectors: int, dim: int, memory_bytes: int) -> int:
    """S: vectors to fit on, 64 a centroid where memory allows; the fit holds a few copies of them."""
    wanted = SAMPLE_PER_CENTROID * num_centroids(num_vectors, num_vectors)
    return max(1, min(num_vectors, wanted, memory_bytes // (8 * 4 * dim)))


def fit(
    sample_SD: Rows,
    *,
    nbits: int,
    num_vectors: int,
    seed: int,
    threads: int | None = None,
    device: Device = "cpu",
    largest: float | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Codec:
    """A codec for a corpus of `num_vectors` vectors from a sample of them: float32 or float16, at least one row.

    device: where vectors are clustered, of arrays; those of a tensor are clustered where it lies.

    largest: greatest root mean square of a row of the corpus; None: of the sample.  Rows that come later may have up to
    256 times that.
    """
    dim = sample_SD.shape[1]
    blocks = block_widths(dim)
    rng = np.random.default_rng(seed)
    permutation_D = rng.permutation(dim).astype(np.int32) if len(blocks) > 1 else np.arange(dim, dtype=np.int32)
    rotation = np.concatenate([orthogonal(width, rng).reshape(-1) for width in blocks])
    most = max(widest_row(sample_SD), largest or 0.0) or 1.0  # only zeros: any vectors may follow
    blank = Codec(
        nbits,
        np.zeros((1, dim), np.int8),
        np.zeros(1, np.float32),
        trellis_levels(nbits),
        scale_table(HEADROOM * most / widest(nbits)),
        permutation_D,
        rotation,
        blocks,
        num_vectors,
    )
    wanted = num_centroids(num_vectors, len(sample_SD))
    sample_SD = placed(sample_SD, device)
    rotated_SD = blank.rotate(sample_SD, threads=threads)
    centroids_KD = in_memory(kmeans(rotated_SD, wanted, seed=seed, threads=threads, report=report))
    rounded_KD, scales_K = round_rows(centroids_KD)
    codec = replace(blank, centroids_KD=rounded_KD, centroid_scales_K=scales_K)
    distances_S = codec.distances(sample_SD, threads=threads)
    return replace(codec, residual=float(distances_S.mean(dtype=np.float64)))


def widest_row(vectors_TD: Rows) -> float:
    """The greatest root mean square of a row."""
    vectors_TD = in_memory(vectors_TD)
    most, step = 0.0, max(1, WIDTH_BYTES // (4 * vectors_TD.shape[1]))
    for first in range(0, len(vectors_TD), step):
        rows = vectors_TD[first : first + step].astype(np.float32, copy=False)
        most = max(most, float(np.einsum("td,td->t", rows, rows).max()) / rows.shape[1])
    return math.sqrt(most)


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


def codec_arrays(nbits: int, dim: int, num_centroids: int, blocks: tuple[int, ...]) -> dict[str, Array]:
    """The type and shape of each part of a codec."""
    return {
        CENTROIDS: array("|i1", num_centroids, dim),
        CENTROID_SCALES: array("<f4", num_centroids),
        LEVELS: array("|i1", len(trellis_levels(nbits))),
        SCALE_TABLE: array("<f4", SCALES),
        PERMUTATION: array("<i4", dim),
        ROTATION: array("<f4", sum(width * width for width in blocks)),
    }


def write_codec(storage: Storage, folder: Path, number: int, codec: Codec) -> CodecRecord:
    """Write the codec's files; they belong to the index once a manifest names them."""
    values = {
        CENTROIDS: codec.centroids_KD,
        CENTROID_SCALES: codec.centroid_scales_K,
        LEVELS: codec.levels,
        SCALE_TABLE: codec.scale_table,
        PERMUTATION: codec.permutation_D,
        ROTATION: codec.rotation,
    }
    files = {}
    for part, kind in codec_arrays(codec.nbits, codec.dim, len(codec.centroids_KD), codec.blocks).items():
        path = folder / codec_name(number, part)
        storage.write_array(path, values[part], kind)
        files[part] = FileRecord.of(path)
    return CodecRecord(len(codec.centroids_KD), codec.blocks, codec.fitted_on, files, codec.residual)


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
    # Checked once, so never mapped, as what is mapped may rot.
    small = {part: parts[part].copy() for part in (PERMUTATION, LEVELS, SCALE_TABLE, CENTROID_SCALES)}
    permutation_D, table, scales_K = small[PERMUTATION], small[SCALE_TABLE], small[CENTROID_SCALES]
    if not np.array_equal(np.sort(permutation_D), np.arange(dim)):
        raise CorruptIndex(f"{folder / codec_name(number, PERMUTATION)} is not a permutation: {RESTORE}")
    if table[0] != 0 or not np.isfinite(table).all() or (table[1:] <= table[:-1]).any():
        raise CorruptIndex(f"{folder / codec_name(number, SCALE_TABLE)} does not rise from 0: {RESTORE}")
    if not np.isfinite(scales_K).all() or (scales_K < 0).any():
        raise CorruptIndex(f"{folder / codec_name(number, CENTROID_SCALES)} holds what is no scale: {RESTORE}")
    return Codec(
        nbits,
        parts[CENTROIDS],
        scales_K,
        small[LEVELS],
        table,
        permutation_D,
        parts[ROTATION],
        record.blocks,
        record.fitted_on,
        record.residual,
    )
