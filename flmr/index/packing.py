"""Fitting codecs and packing vectors, each piece of work once: a build that was interrupted finds again what it had.

Knows codecs and a checkpoint.  Knows nothing of segments.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flmr.index import codec as codecs
from flmr.index.checkpoint import Checkpoint, digest
from flmr.index.codec import Codec, Rows
from flmr.ops.arrays import Device, in_memory

Encoded = tuple[np.ndarray, np.ndarray, np.ndarray]  # codes, packed residuals, numbers of scales


class Packing:
    """Without a checkpoint it keeps nothing and finds nothing."""

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        self._checkpoint = checkpoint
        self._keys: dict[int, tuple[Codec, str]] = {}  # id of a codec -> the codec, so that it lives, and its digest

    def fit(
        self,
        sample_SD: Rows,
        *,
        nbits: int,
        num_vectors: int,
        seed: int,
        threads: int | None,
        device: Device,
        largest: float,
        report: Callable[[int, int], None],
    ) -> Codec:
        """See `flmr.index.codec.fit`."""

        def fit() -> Codec:
            return codecs.fit(
                sample_SD,
                nbits=nbits,
                num_vectors=num_vectors,
                seed=seed,
                threads=threads,
                device=device,
                largest=largest,
                report=report,
            )

        if self._checkpoint is None:
            return fit()
        key = digest("codec", nbits, num_vectors, seed, largest, in_memory(sample_SD))
        found = self._checkpoint.recall(key)
        if found is None:
            codec = fit()
            self._checkpoint.keep(key, [*_arrays(codec), np.array([codec.residual], np.float64)])
            return codec
        *arrays, residual = found
        blocks = codecs.block_widths(sample_SD.shape[1])
        return Codec(nbits, *arrays, blocks, num_vectors, float(residual[0]))  # type: ignore[call-arg, arg-type]

    def encode(self, codec: Codec, vectors_TD: Rows, threads: int | None, device: Device) -> Encoded:
        """See `Codec.encode`."""
        if self._checkpoint is None:
            return codec.encode(vectors_TD, threads=threads, device=device)
        key = digest("rows", self._key(codec), in_memory(vectors_TD))
        found = self._checkpoint.recall(key)
        if found is None:
            encoded = codec.encode(vectors_TD, threads=threads, device=device)
            self._checkpoint.keep(key, encoded)
            return encoded
        codes_T, packed_TP, scales_T = found
        return codes_T, packed_TP, scales_T

    def _key(self, codec: Codec) -> str:
        if id(codec) not in self._keys:
            self._keys[id(codec)] = codec, digest(codec.nbits, *_arrays(codec))
        return self._keys[id(codec)][1]


def _arrays(codec: Codec) -> list[np.ndarray]:
    """Its arrays in the order of its fields."""
    return [
        codec.centroids_KD,
        codec.centroid_scales_K,
        codec.levels,
        codec.scale_table,
        codec.permutation_D,
        codec.rotation,
    ]
