"""Items like nothing that the codec was fitted to, and what their rough scores are raised by so that they are found.

Knows how long residuals are, by their scales.  Knows nothing of queries or files.

A rough score knows a row's centroid and the length of its residual, and adds a small share of that length.  Where all
rows of an item lie far from every centroid, most of its score is in its residuals: by that share alone it is ranked
below all others even by its own rows.  At most the length itself may be added to a score (Cauchy and Schwarz), so what
an item's rows are longer than usual, on average, is added whole.

Shapes: N items, T their rows.
"""

from __future__ import annotations

import math

import numpy as np

from flmr.index.codec import Codec
from flmr.ops.coded import USUAL_WHOLE

Far = tuple[np.ndarray, np.ndarray]

LONGEST = 1e7  # 8,192 dims of 65,504 are shorter; more only where the scales are damaged
ROWS_AT_ONCE = 1 << 22
# Usual lengths end three standard deviations above the middle; for a Gaussian the upper quartile is 0.674 of one above.
SPREADS = 3 / 0.674
# And so few items are far that they take little from thousands that are estimated (settings.py).
MOST_PER_ROOT = 2


def mean_lengths(codec: Codec, scales_T: np.ndarray, offsets_N1: np.ndarray) -> np.ndarray:
    """How long the residuals of each item are on average: (N,) float32, 0 for one without rows.

    Offsets that cannot be give numbers that mean nothing.
    """
    level = USUAL_WHOLE if codec.nbits == 8 else math.sqrt(np.square(codec.levels, dtype=np.float64).mean())
    lengths = np.minimum(level * math.sqrt(codec.dim) * codec.scale_table.astype(np.float64), LONGEST).astype(
        np.float32
    )
    places_N1 = np.clip(np.maximum.accumulate(offsets_N1), 0, len(scales_T))
    means_N = np.zeros(len(offsets_N1) - 1, np.float32)
    step = max(1, ROWS_AT_ONCE * len(means_N) // max(1, len(scales_T)))  # items
    for first in range(0, len(means_N), step):
        places = places_N1[first : first + step + 1]
        counts = np.diff(places)
        full = np.flatnonzero(counts)
        if len(full):
            sums = np.add.reduceat(lengths[scales_T[places[0] : places[-1]]], places[full] - places[0])
            means_N[first + full] = sums / counts[full]
    return means_N


def far_items(lengths_N: np.ndarray, usual: float) -> Far:
    """Rows of the items whose mean length is beyond the usual, ascending, uint32, and by how much, float32."""
    rows = np.flatnonzero(lengths_N > usual).astype(np.uint32)
    return rows, lengths_N[rows] - np.float32(usual)


def usual_length(lengths_N: np.ndarray) -> float:
    """Up to which mean length an item of the index is like the others."""
    lengths = lengths_N[lengths_N > 0]
    if not len(lengths):
        return math.inf
    last = len(lengths) - 1
    middle, upper, far = last // 2, last * 3 // 4, max(0, last - round(MOST_PER_ROOT * math.sqrt(len(lengths))))
    ranked = np.partition(lengths, sorted({middle, upper, far}))
    return max(float(ranked[middle] + SPREADS * (ranked[upper] - ranked[middle])), float(ranked[far]))
