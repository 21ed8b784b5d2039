"""The residual codec that ColBERTv2 and PLAID brought: a centroid, and a bucket a dimension for what is left of a row.

Knows how coded rows become vectors and what a chunk of them must look like.  Knows no file names.
Source: Santhanam et al., "ColBERTv2" (2022), section 3.3; the order of the bits was found from indexes.

Bits: dimension d owns nbits bits of a row, dimension after dimension, a byte being read from its highest bit down;
the first bit of a dimension is the lowest of its bucket's number.

Shapes: T rows of a chunk, N its items, D dimension, K centroids, P packed bytes of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.format import packed_bytes
from flmr.index.manifest import RESTORE

NBITS = (1, 2, 4, 8)  # what divides a byte
VALUES_PER_BLOCK = 1 << 21  # decoded at once: 16,384 rows of 128, 8 MB a copy


@dataclass(frozen=True)
class PlaidCodec:
    """centroids_KD: float32.  weights: (2^nbits,) float32, what a bucket adds to its dimension."""

    centroids_KD: np.ndarray
    weights: np.ndarray
    nbits: int

    @property
    def dim(self) -> int:
        """D."""
        return int(self.centroids_KD.shape[1])


@dataclass(frozen=True)
class Chunk:
    """Some items in order.  lengths_N: int64.  codes_T: whole numbers.  residuals_TP: uint8.  path: named in errors."""

    path: Path
    lengths_N: np.ndarray
    codes_T: np.ndarray
    residuals_TP: np.ndarray


def checked_codec(centroids_KD: np.ndarray, weights: np.ndarray, nbits: int, folder: Path) -> PlaidCodec:
    """The codec of these parts; raises CorruptIndex where they do not fit each other."""
    dim = centroids_KD.shape[1]
    if nbits not in NBITS:
        raise CorruptIndex(f"{folder} has nbits={nbits}, which no such codec has (1, 2, 4 or 8): {RESTORE}")
    if len(weights) != 1 << nbits or not len(centroids_KD) or not dim or dim * nbits % 8:
        raise CorruptIndex(
            f"{folder} has {len(weights)} bucket weights and centroids {centroids_KD.shape}, which do not make a codec"
            f" of nbits={nbits}: {RESTORE}"
        )
    codec = PlaidCodec(np.array(centroids_KD, np.float32), np.array(weights, np.float32), nbits)
    if not (np.isfinite(codec.centroids_KD).all() and np.isfinite(codec.weights).all()):
        raise CorruptIndex(f"{folder} has NaN or infinity among its centroids or bucket weights: {RESTORE}")
    return codec


def checked_chunk(
    path: Path, lengths_N: np.ndarray, codes_T: np.ndarray, residuals_TP: np.ndarray, codec: PlaidCodec
) -> Chunk:
    """The chunk of these arrays; raises CorruptIndex where they do not fit each other or the codec."""
    rows, packed = int(lengths_N.sum()), packed_bytes(codec.dim, codec.nbits)
    if codes_T.dtype.kind not in "iu" or codes_T.shape != (rows,):
        raise CorruptIndex(f"{path} has codes {codes_T.dtype} {codes_T.shape} but items of {rows:,} rows: {RESTORE}")
    if residuals_TP.dtype != np.uint8 or residuals_TP.shape != (rows, packed):
        raise CorruptIndex(
            f"{path} has residuals {residuals_TP.dtype} {residuals_TP.shape} instead of uint8 {(rows, packed)}"
            f" (nbits={codec.nbits}, D={codec.dim}): {RESTORE}"
        )
    return Chunk(path, lengths_N, codes_T, residuals_TP)


def no_rows(codec: PlaidCodec) -> tuple[np.ndarray, np.ndarray]:
    """The codes and residuals of a chunk whose items have no rows."""
    return np.empty(0, np.int64), np.empty((0, packed_bytes(codec.dim, codec.nbits)), np.uint8)


def decoded_items(codec: PlaidCodec, chunks: Sequence[Chunk]) -> Iterator[np.ndarray]:
    """The items of all chunks, one after another: (n, D) float32 of unit rows, decoded a block at a time."""
    table = byte_table(codec)
    for chunk in chunks:
        offsets_N1 = np.concatenate(([0], np.cumsum(chunk.lengths_N)))
        first, items = 0, len(chunk.lengths_N)
        while first < items:
            limit = int(offsets_N1[first]) + max(1, VALUES_PER_BLOCK // codec.dim)
            end = max(first + 1, int(np.searchsorted(offsets_N1, limit, "right")) - 1)
            rows = slice(int(offsets_N1[first]), int(offsets_N1[end]))
            codes_R = chunk.codes_T[rows]
            if len(codes_R) and not 0 <= int(codes_R.min()) <= int(codes_R.max()) < len(codec.centroids_KD):
                raise CorruptIndex(
                    f"{chunk.path} has codes beyond its {len(codec.centroids_KD):,} centroids: {RESTORE}"
                )
            vectors_RD = decode(codec, codes_R, chunk.residuals_TP[rows], table)
            yield from np.split(vectors_RD, offsets_N1[first + 1 : end] - offsets_N1[first])
            first = end


def byte_table(codec: PlaidCodec) -> np.ndarray:
    """What each byte of a residual adds to its dimensions: (256, 8 / nbits) float32."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, -1, codec.nbits)
    table: np.ndarray = codec.weights[(bits << np.arange(codec.nbits)).sum(axis=2)]
    return table


def decode(codec: PlaidCodec, codes_T: np.ndarray, residuals_TP: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Rows as their engine scores them, of unit length: (T, D) float32.  table: of `byte_table`."""
    vectors_TD: np.ndarray = table[residuals_TP].reshape(len(codes_T), codec.dim)
    vectors_TD += codec.centroids_KD[codes_T]
    vectors_TD /= np.maximum(np.linalg.norm(vectors_TD, axis=1, keepdims=True), 1e-12)
    return vectors_TD


def decode_reference(codec: PlaidCodec, codes_T: np.ndarray, residuals_TP: np.ndarray) -> np.ndarray:
    """The same a bit at a time."""
    vectors_TD: np.ndarray = codec.centroids_KD[codes_T].astype(np.float64)
    for row, packed in enumerate(residuals_TP):
        bits = [packed[place // 8] >> (7 - place % 8) & 1 for place in range(codec.dim * codec.nbits)]
        for d in range(codec.dim):
            own = bits[d * codec.nbits : (d + 1) * codec.nbits]
            vectors_TD[row, d] += codec.weights[sum(int(bit) << place for place, bit in enumerate(own))]
    vectors_TD /= np.maximum(np.linalg.norm(vectors_TD, axis=1, keepdims=True), 1e-12)
    return vectors_TD.astype(np.float32)
