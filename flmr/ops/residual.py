"""Residuals as a few bits a dimension and one scale a vector.

Knows bits, levels and scales; knows nothing of centroids, rotations or how the levels were chosen.

A row of D levels is a string of D * nbits bits: dimension d holds bits d*nbits .. d*nbits+nbits-1, lowest first, bit
b of the string is bit b % 8 of byte b // 8, and the unused bits of the last byte are zero.
"""

# T vectors, D dim, L = 2**nbits levels, P = ceil(D * nbits / 8) bytes.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same

NBITS = (1, 2, 3, 4, 8)
MAX_SCALE = 65504.0  # the largest float16


def packed_size(nbits: int, dim: int) -> int:
    """P: bytes of one packed vector.  Raises InvalidInput for a number of bits that is not offered or D < 1."""
    if nbits not in NBITS:
        raise InvalidInput(f"nbits must be one of {NBITS}, not {nbits!r}")
    if dim < 1:
        raise InvalidInput(f"dim must be at least 1, not {dim}")
    return (dim * nbits + 7) // 8


def pack(levels_TD: Array, nbits: int) -> NDArray[np.uint8]:
    """Level numbers to bits.  levels_TD: uint8, each below 2**nbits.  Returns (T, P) uint8.  Raises InvalidInput."""
    levels = ready("levels", levels_TD, np.uint8, ndim=2)
    packed = np.empty((len(levels), packed_size(nbits, levels.shape[1])), np.uint8)
    native.call("pack", levels, nbits, packed)
    return packed


def pack_reference(levels_TD: Array, nbits: int) -> NDArray[np.uint8]:
    """The same in NumPy."""
    levels = ready("levels", levels_TD, np.uint8, ndim=2)
    packed_size(nbits, levels.shape[1])
    if levels.size and int(levels.max()) >> nbits:
        raise InvalidInput(f"pack: a level number is not below 2**{nbits}")
    bits_TDB = (levels[:, :, None] >> np.arange(nbits, dtype=np.uint8)) & 1
    packed: NDArray[np.uint8] = np.packbits(
        bits_TDB.reshape(len(levels), levels.shape[1] * nbits), axis=1, bitorder="little"
    )
    return packed


def unpack(packed_TP: Array, nbits: int, dim: int) -> NDArray[np.uint8]:
    """Bits to level numbers.  packed_TP: uint8.  Returns (T, D) uint8.  Raises InvalidInput."""
    packed = _checked_packed(packed_TP, nbits, dim)
    levels = np.empty((len(packed), dim), np.uint8)
    native.call("unpack", packed, nbits, levels)
    return levels


def unpack_reference(packed_TP: Array, nbits: int, dim: int) -> NDArray[np.uint8]:
    """The same in NumPy."""
    packed = _checked_packed(packed_TP, nbits, dim)
    bits_TDB = np.unpackbits(packed, axis=1, count=dim * nbits, bitorder="little").reshape(len(packed), dim, nbits)
    weights_B = (1 << np.arange(nbits)).astype(np.uint8)
    levels: NDArray[np.uint8] = (bits_TDB * weights_B).sum(axis=2, dtype=np.uint8)
    return levels


def quantize(
    residuals_TD: Array, levels_L: Array, *, nbits: int, threads: int | None = None, isa: str | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Each residual as the nearest level of r / rms(r) a dimension (ties to the lower level) and one scale.

    The scale is the least-squares one for the levels chosen, <r, l> / <l, l>; a residual of zeros has scale 0.
    residuals_TD: float32.  levels_L: float32, rising.  Returns (T, P) uint8, (T,) float16.  Raises InvalidInput,
    also for a residual that is not finite or whose scale float16 cannot hold.
    """
    residuals, levels = _checked_residuals(residuals_TD, levels_L, nbits)
    packed = np.empty((len(residuals), packed_size(nbits, residuals.shape[1])), np.uint8)
    scales = np.empty(len(residuals), np.float16)
    native.call("quantize", residuals, levels, nbits, packed, scales, native.thread_count(threads), native.isa(isa))
    return packed, scales


def quantize_reference(
    residuals_TD: Array, levels_L: Array, *, nbits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """The same in NumPy, in float64."""
    residuals, levels = _checked_residuals(residuals_TD, levels_L, nbits)
    r_TD = residuals.astype(np.float64)
    levels_wide = levels.astype(np.float64)
    rms_T = np.sqrt(np.square(r_TD).mean(axis=1))
    with np.errstate(invalid="ignore"):  # not finite: refused below
        unit_TD = r_TD / np.where(rms_T > 0, rms_T, 1)[:, None]
    numbers_TD = np.searchsorted((levels_wide[1:] + levels_wide[:-1]) / 2, unit_TD, side="left").astype(np.uint8)
    chosen_TD = levels_wide[numbers_TD]
    square_T = np.square(chosen_TD).sum(axis=1)
    scales_T = (r_TD * chosen_TD).sum(axis=1) / np.where(square_T > 0, square_T, 1)
    if not (np.abs(scales_T) <= MAX_SCALE).all():
        raise InvalidInput("quantize: a residual is not finite or its scale is beyond float16")
    return pack_reference(numbers_TD, nbits), scales_T.astype(np.float16)


def dequantize(
    packed_TP: Array,
    scales_T: Array,
    levels_L: Array,
    *,
    nbits: int,
    dim: int,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """What bits and scales stand for, scale * level: (T, D) float32.  Raises InvalidInput."""
    packed, scales, levels = _checked_quantized(packed_TP, scales_T, levels_L, nbits, dim)
    residuals = np.empty((len(packed), dim), np.float32)
    native.call("dequantize", packed, scales, levels, nbits, residuals, native.thread_count(threads), native.isa(isa))
    return residuals


def dequantize_reference(
    packed_TP: Array, scales_T: Array, levels_L: Array, *, nbits: int, dim: int
) -> NDArray[np.float32]:
    """The same in NumPy."""
    packed, scales, levels = _checked_quantized(packed_TP, scales_T, levels_L, nbits, dim)
    return scales.astype(np.float32)[:, None] * levels[unpack_reference(packed, nbits, dim)]


def checked_levels(levels_L: Array, nbits: int) -> Array:
    """The levels, ready for a kernel; raises InvalidInput unless there are 2**nbits of them."""
    levels = ready("levels", levels_L, np.float32, ndim=1)
    if nbits not in NBITS:
        raise InvalidInput(f"nbits must be one of {NBITS}, not {nbits!r}")
    same(f"number of levels at {nbits} bits", levels=len(levels), needed=1 << nbits)
    return levels


def _checked_packed(packed_TP: Array, nbits: int, dim: int) -> Array:
    packed = ready("packed", packed_TP, np.uint8, ndim=2)
    same("bytes a vector", packed=packed.shape[1], needed=packed_size(nbits, dim))
    return packed


def _checked_residuals(residuals_TD: Array, levels_L: Array, nbits: int) -> tuple[Array, Array]:
    residuals = ready("residuals", residuals_TD, np.float32, ndim=2)
    levels = checked_levels(levels_L, nbits)
    packed_size(nbits, residuals.shape[1])
    if not (np.diff(levels) >= 0).all():
        raise InvalidInput("levels must rise")
    return residuals, levels


def _checked_quantized(
    packed_TP: Array, scales_T: Array, levels_L: Array, nbits: int, dim: int
) -> tuple[Array, Array, Array]:
    packed = _checked_packed(packed_TP, nbits, dim)
    scales = ready("scales", scales_T, np.float16, ndim=1)
    same("T", packed=len(packed), scales=len(scales))
    return packed, scales, checked_levels(levels_L, nbits)
