"""Residuals as a few bits a dimension and one byte for the scale.

Knows bits, levels and scales; knows nothing of centroids or rotations.

At 1 to 4 bits the bits of a vector are one stream, nbits a dimension, and the level of a dimension is chosen by the
last 6 bits up to its own: with the bits of the neighbours a dimension has 64 levels, of which it can reach 2**nbits.
The stream with the least squared error is found by Viterbi's algorithm.  That is trellis-coded quantisation (Marcellin
and Fischer, "Trellis coded quantization of memoryless and Gauss-Markov sources", 1990) on a shift register, so that a
level can be read anywhere without what came long before.  It errs 0.8 to 1.1 dB less than the best levels of a lone
dimension.  At 8 bits there is nothing to gain: a byte is a whole number.

Layout: dimension d holds bits d*nbits .. d*nbits+nbits-1 of the stream, bit b of which is bit b % 8 of byte b // 8;
bits before the first are 0, and so are the unused ones of the last byte.  The window of dimension d is the 6 stream
bits that end with its own, the newest highest.  At 8 bits byte d is the level of dimension d plus 128.
"""

# T vectors, D dim, P = ceil(D * nbits / 8) bytes.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, ready, same

NBITS = (1, 2, 3, 4, 8)
WINDOW = 6  # bits that choose a level
SCALES = 256
SCALES_PER_OCTAVE = 8
MAX_WHOLE = 127

# The standard deviation of what the levels were made for; a residual is first scaled to it.
_SPREAD = {1: 50, 2: 44, 3: 42, 4: 40}

# One level a window, for a Gaussian of that standard deviation: found by the search of benchmarks/train_trellis.py,
# which says what of it can be repeated.
# fmt: off
_LEVELS = {
    1: (
        -34, 39, 4, 88, -22, 26, 39, -20, -46, 17, 29, -67, -13, 60, 28, -38,
        -29, 53, 79, 1, -76, 9, 25, -39, -28, 45, -23, 77, 33, -23, -75, 15,
        42, -30, -81, -1, 35, -30, -18, 57, 23, -67, -37, 15, 80, -17, -29, 33,
        39, -21, -4, -77, 15, -75, -39, 29, 35, -24, 57, -13, -41, 53, 16, -63,
    ),
    2: (
        -63, 9, -22, 43, -30, 30, -111, 1, -14, -49, 14, 60, 28, 39, -53, -9,
        -15, -62, 31, 90, -93, 66, 12, -28, 11, 45, -15, -49, -80, -39, -10, 25,
        60, -28, -72, 7, 110, 1, -29, 37, -51, 14, 48, -15, -37, 1, 42, 74,
        17, 49, -1, -30, 23, -26, 71, -79, 49, -12, -48, 18, -7, 89, 16, -53,
    ),
    3: (
        -79, 9, 29, -40, 51, -11, -30, 69, -20, -41, 53, -62, 20, 82, 37, -1,
        -5, -114, -38, -20, 35, 115, -56, 16, 95, 63, 9, -96, -27, -55, -14, 36,
        11, -23, -68, 40, -8, 24, 63, -47, 27, 43, -20, 70, -63, 8, -1, -33,
        -42, -7, 86, 21, 7, 51, -86, -17, 49, 27, -8, 0, -46, -27, 14, -71,
    ),
    4: (
        -61, -89, -10, -24, 40, -18, -46, -75, 100, 52, 14, 69, -34, 22, -2, 6,
        -8, 30, -56, -101, 20, -121, 38, -43, 48, -30, -20, 120, 61, 4, 81, 14,
        -17, -5, 27, 48, 1, -65, -27, -36, 10, 65, -13, 35, -45, -52, 18, -7,
        -24, 40, -69, -55, -83, 14, -35, -13, 75, -42, 55, -1, 31, 90, 6, 24,
    ),
}
# fmt: on


def packed_size(nbits: int, dim: int) -> int:
    """P: bytes of one packed vector.  Raises InvalidInput for a number of bits that is not offered or D < 1."""
    if nbits not in NBITS:
        raise InvalidInput(f"nbits must be one of {NBITS}, not {nbits!r}")
    if dim < 1:
        raise InvalidInput(f"dim must be at least 1, not {dim}")
    return (dim * nbits + 7) // 8


def trellis_levels(nbits: int) -> NDArray[np.int8]:
    """The level of each window, (64,) int8; at 8 bits of each byte, (256,).  Raises InvalidInput."""
    packed_size(nbits, 1)
    if nbits == 8:
        return np.maximum(np.arange(256) - 128, -MAX_WHOLE).astype(np.int8)
    return np.array(_LEVELS[nbits], np.int8)


def scale_table(largest: float) -> NDArray[np.float32]:
    """The scales that a byte can name: 0, then 255 that rise by 2**(1/8) to `largest`: 32 octaves.

    Raises InvalidInput unless float32 holds them.
    """
    steps = np.arange(1 - SCALES + 1, 1) / SCALES_PER_OCTAVE
    table_S = np.concatenate(([0.0], largest * 2.0**steps)).astype(np.float32)
    if not np.isfinite(table_S).all() or (np.diff(table_S) <= 0).any():
        raise InvalidInput(f"the largest scale cannot be {largest:g}")
    return table_S


def widest(nbits: int) -> int:
    """Root mean square, in levels, of a residual as wide as its scale: what `scale_table` must be made for."""
    return MAX_WHOLE if nbits == 8 else _SPREAD[nbits]


def quantize(
    residuals_TD: Array,
    scales_S: Array,
    *,
    nbits: int,
    levels: Array | None = None,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The stream of each residual and the number of its scale, the one nearest to the least-squares one.

    residuals_TD: float32.  scales_S: float32 (256,), rising from 0.  levels: those of a stored codec, None for
    `trellis_levels`.  Returns (T, P) uint8, (T,) uint8; a residual below half the least scale has scale 0.
    Raises InvalidInput, also for a residual that is not finite or needs more than the largest scale.
    """
    residuals, table, known = _checked_residuals(residuals_TD, scales_S, levels, nbits)
    packed = np.empty((len(residuals), packed_size(nbits, residuals.shape[1])), np.uint8)
    scales = np.empty(len(residuals), np.uint8)
    native.call(
        "trellis_quantize",
        residuals,
        known,
        widest(nbits),
        nbits,
        table,
        packed,
        scales,
        native.thread_count(threads),
        native.isa(isa),
    )
    return packed, scales


def quantize_reference(
    residuals_TD: Array, scales_S: Array, *, nbits: int, levels: Array | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The same in NumPy, to the bit."""
    r_TD, table, known = _checked_residuals(residuals_TD, scales_S, levels, nbits)
    with np.errstate(over="ignore", invalid="ignore"):  # not finite: refused below
        if nbits == 8:
            wanted_T = np.abs(r_TD).max(axis=1) / np.float32(MAX_WHOLE)
        else:
            squares_T4 = np.zeros((len(r_TD), 4))
            for d in range(r_TD.shape[1]):  # in the order of the kernel
                squares_T4[:, d % 4] += np.square(r_TD[:, d].astype(np.float64))
            total_T = (squares_T4[:, 0] + squares_T4[:, 1]) + (squares_T4[:, 2] + squares_T4[:, 3])
            wanted_T = (np.sqrt(total_T / r_TD.shape[1]) / widest(nbits)).astype(np.float32)
    refused = np.flatnonzero(~(wanted_T <= table[-1]))
    if len(refused):
        raise InvalidInput(f"quantize: residual {refused[0]} is not finite or beyond the largest scale")
    middles = ((table[:-1].astype(np.float64) + table[1:]) / 2).astype(np.float32)
    codes_T = np.searchsorted(table if nbits == 8 else middles, wanted_T)
    factors_T = np.zeros(len(r_TD), np.float32)
    np.divide(np.float32(1), table[codes_T], out=factors_T, where=codes_T > 0)
    bound = MAX_WHOLE if nbits == 8 else 255 - int(np.abs(known.astype(np.int64)).max())
    half = 128 if nbits == 8 else 256
    bounded_TD = np.clip(r_TD * factors_T[:, None], -bound, bound).astype(np.float32)
    whole_TD = (bounded_TD + np.float32(half + 0.5)).astype(np.int64) - half
    if nbits == 8:
        return (whole_TD + 128).astype(np.uint8), codes_T.astype(np.uint8)
    windows_TD = _viterbi(whole_TD, known.astype(np.int64), nbits)
    along_T, length_T = np.zeros(len(r_TD), np.float32), np.zeros(len(r_TD), np.float32)
    for d in range(r_TD.shape[1]):
        level_T = known[windows_TD[:, d]].astype(np.float32)
        along_T += r_TD[:, d] * level_T
        length_T += level_T * level_T
    fitted_T = np.divide(along_T, length_T, out=np.zeros_like(along_T), where=length_T > 0)
    codes_T = np.searchsorted(middles, fitted_T)
    bits_TDB = ((windows_TD >> (WINDOW - nbits))[:, :, None] >> np.arange(nbits)) & 1
    packed_TP = np.packbits(
        bits_TDB.reshape(len(r_TD), r_TD.shape[1] * nbits).astype(np.uint8), axis=1, bitorder="little"
    )
    return np.where(codes_T[:, None] > 0, packed_TP, 0).astype(np.uint8), codes_T.astype(np.uint8)


def unpack(packed_TP: Array, *, nbits: int, dim: int, levels: Array | None = None) -> NDArray[np.int8]:
    """The level of each dimension: (T, D) int8.  packed_TP: uint8.  Raises InvalidInput."""
    packed, known = _checked_packed(packed_TP, levels, nbits, dim)
    out = np.empty((len(packed), dim), np.int8)
    native.call("trellis_unpack", packed, nbits, known, out)
    return out


def unpack_reference(packed_TP: Array, *, nbits: int, dim: int, levels: Array | None = None) -> NDArray[np.int8]:
    """The same in NumPy."""
    packed, known = _checked_packed(packed_TP, levels, nbits, dim)
    if nbits == 8:
        return known[packed]
    stream = np.unpackbits(packed, axis=1, count=dim * nbits, bitorder="little")
    stream = np.pad(stream, ((0, 0), (WINDOW - nbits, 0)))
    windows_TD = np.zeros((len(packed), dim), np.uint8)
    for bit in range(WINDOW):
        windows_TD |= stream[:, bit : bit + (dim - 1) * nbits + 1 : nbits] << bit
    return known[windows_TD]


def dequantize(
    packed_TP: Array,
    scales_T: Array,
    scales_S: Array,
    *,
    nbits: int,
    dim: int,
    levels: Array | None = None,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """What streams and scales stand for, scale * level: (T, D) float32.  Raises InvalidInput."""
    packed, known = _checked_packed(packed_TP, levels, nbits, dim)
    scales, table = _checked_scales(scales_T, scales_S, len(packed))
    residuals = np.empty((len(packed), dim), np.float32)
    threads = native.thread_count(threads)
    native.call("trellis_dequantize", packed, scales, nbits, known, table, residuals, threads, native.isa(isa))
    return residuals


def dequantize_reference(
    packed_TP: Array, scales_T: Array, scales_S: Array, *, nbits: int, dim: int, levels: Array | None = None
) -> NDArray[np.float32]:
    """The same in NumPy, to the bit."""
    packed, _ = _checked_packed(packed_TP, levels, nbits, dim)
    scales, table = _checked_scales(scales_T, scales_S, len(packed))
    unpacked = unpack_reference(packed, nbits=nbits, dim=dim, levels=levels).astype(np.float32)
    residuals: NDArray[np.float32] = table[scales][:, None] * unpacked
    return residuals


def checked_levels(levels: Array | None, nbits: int) -> Array:
    """The levels, ready for a kernel; raises InvalidInput unless there is one for each window (at 8 bits, byte)."""
    packed_size(nbits, 1)
    known = trellis_levels(nbits) if levels is None else ready("levels", levels, np.int8, ndim=1)
    same(f"number of levels at {nbits} bits", levels=len(known), needed=256 if nbits == 8 else 1 << WINDOW)
    return known


def _viterbi(values_TD: Array, levels: Array, nbits: int) -> NDArray[np.int64]:
    """The windows of the best paths: costs of at most 65,535, ties to the lower window; see csrc/cpu/simd/trellis.h."""
    count, dim = values_TD.shape
    branches, states = 1 << nbits, 1 << (WINDOW - nbits)
    most = 65_535
    cost_TS = np.full((count, states), most)
    cost_TS[:, 0] = 0
    choices_DTS = np.empty((dim, count, states), np.int64)
    before = np.arange(1 << WINDOW) % states
    for d in range(dim):
        cost_TW = np.minimum(cost_TS[:, before] + np.square(values_TD[:, d, None] - levels), most)
        cost_TSB = cost_TW.reshape(count, states, branches)
        choices_DTS[d] = cost_TSB.argmin(axis=2)
        cost_TS = cost_TSB.min(axis=2)
        if d % 2 == 1 and d > 6:
            cost_TS = cost_TS - cost_TS.min(axis=1, keepdims=True)
    rows = np.arange(count)
    state_T = cost_TS.argmin(axis=1)
    windows_TD = np.empty((count, dim), np.int64)
    for d in range(dim - 1, -1, -1):
        windows_TD[:, d] = state_T * branches + choices_DTS[d, rows, state_T]
        state_T = windows_TD[:, d] % states
    return windows_TD


def _checked_packed(packed_TP: Array, levels: Array | None, nbits: int, dim: int) -> tuple[Array, Array]:
    packed = ready("packed", packed_TP, np.uint8, ndim=2)
    same("bytes a vector", packed=packed.shape[1], needed=packed_size(nbits, dim))
    return packed, checked_levels(levels, nbits)


def _checked_scales(scales_T: Array, scales_S: Array, count: int) -> tuple[Array, Array]:
    scales = ready("scales", scales_T, np.uint8, ndim=1)
    table = ready("scale table", scales_S, np.float32, ndim=1)
    same("T", packed=count, scales=len(scales))
    same("number of scales", table=len(table), needed=SCALES)
    return scales, table


def _checked_residuals(
    residuals_TD: Array, scales_S: Array, levels: Array | None, nbits: int
) -> tuple[Array, Array, Array]:
    residuals = ready("residuals", residuals_TD, np.float32, ndim=2)
    packed_size(nbits, residuals.shape[1])
    _, table = _checked_scales(np.empty(0, np.uint8), scales_S, 0)
    if table[0] != 0 or not (np.diff(table) > 0).all():
        raise InvalidInput("the scales must rise from 0")
    return residuals, table, checked_levels(levels, nbits)
