"""MaxSim of one query against items that are stored as codes: rough scores of all, estimates of many, scores of few.

Knows codes, packed levels, scales and what they mean (a Codebook); knows nothing of files, rotations (the query comes
rotated as the codes are) or which items are worth scoring.

A query's rows are rounded to two int8 numbers a dimension, centroids and levels are int8: sums are of integers, and so
a score has the same bits on every instruction set, with any number of threads and whatever else is scored.

Rough scores and estimates are of a shorter query: rows that point the same way (the [MASK] rows of ColBERT, the patches
of a picture) are replaced by their sum.

Shapes: Q query rows, D dim, K centroids, T vectors of N items, P bytes a packed vector, M merged rows in B blocks of W:
of 8 where there are no more, else of 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flmr.errors import InvalidInput
from flmr.ops import native
from flmr.ops.arrays import Array, count_items, in_place, ready, same, token_rows
from flmr.ops.trellis import packed_size, unpack_reference

BLOCK = 32  # query rows that are laid out together for scores
FEWEST = 8  # merged rows: fewer would not be faster
MOST_LOST = 0.2  # share of the rows' squared lengths that merging may lose: 32 rows become 8, 320 become 32
MOST_WEIGHT = 4095  # the weight of the longest row in a rough score: 832 rows of it times 255 fit an int32
LOW_SHARE = np.float32(1) / np.float32(254)  # a row is step * (high + low / 254)
TOP = 208  # the byte of the best centroid score; what is left up to 255 is for what residuals may add

# What a residual may add to a score of its centroid, in lengths of query row times residual: items are ranked by what
# they might reach.  0 ranks the best 10 of 5,000 within 2,474 at the 99th percentile, 0.2 within 1,500 (token states of
# a MiniLM, 2,048 centroids).
BONUS = 0.2
USUAL_WHOLE = 45.0  # root mean square of an 8-bit residual in levels: 127 is its largest of some hundred dimensions


@dataclass(frozen=True)
class Codebook:
    """What codes mean: vector = centroid_scales[code] * centroids[code] + scale_table[scale] * level.

    centroids_KD: int8.  centroid_scales_K: float32.  scale_table: (256,) float32.  levels: int8, (64,) by the window of
    the bit stream, at 8 bits (256,) by the byte (see flmr.ops.trellis).
    """

    centroids_KD: Array
    centroid_scales_K: Array
    scale_table: Array
    levels: Array
    nbits: int

    def __post_init__(self) -> None:
        ready("centroids", self.centroids_KD, np.int8, ndim=2)
        ready("centroid scales", self.centroid_scales_K, np.float32, ndim=1)
        same("K", centroids=len(self.centroids_KD), centroid_scales=len(self.centroid_scales_K))
        for name, array, kind, size in (
            ("the scale table", self.scale_table, np.float32, 256),
            ("levels", self.levels, np.int8, 256 if self.nbits == 8 else 64),
        ):
            if ready(name, array, kind, ndim=1).shape != (size,):
                raise InvalidInput(f"{name} must hold {size} numbers, not {len(array)}")
        if len(self.centroids_KD) == 0 or self.dim == 0:
            raise InvalidInput("a codebook needs at least one centroid of at least one dimension")

    @property
    def dim(self) -> int:
        """D."""
        return int(self.centroids_KD.shape[1])


@dataclass(frozen=True)
class Coded:
    """Items as codes: uint16 codes_T, uint8 packed_TP, uint8 scales_T, int64 offsets_N1; maps are read in place."""

    offsets_N1: Array
    codes_T: Array
    packed_TP: Array
    scales_T: Array

    def __post_init__(self) -> None:
        ready("offsets", self.offsets_N1, np.int64, ndim=1)
        ready("codes", self.codes_T, np.uint16, ndim=1)
        ready("packed", self.packed_TP, np.uint8, ndim=2)
        ready("scales", self.scales_T, np.uint8, ndim=1)
        same("T", codes=len(self.codes_T), packed=len(self.packed_TP), scales=len(self.scales_T))
        count_items(self.offsets_N1)

    def __len__(self) -> int:
        return len(self.offsets_N1) - 1


@dataclass(frozen=True)
class Table:
    """A query for rough scores and estimates: merged rows (M, D) and their scores with all centroids of a codebook.

    scores: (B, K, W) float32.  bytes: (B, K, W) uint8, the scores in steps of `unit` times the row's norm, from lows
    (B, W).  bonus: (256,) uint8, what a vector's scale may add.  weights: (B, W) int16, the rows' norms.
    """

    rows_MD: Array
    scores: Array
    bytes: Array
    lows: Array
    bonus: Array
    weights: Array
    unit: float
    factor: float

    @property
    def base(self) -> float:
        """What a rough score adds to its bytes."""
        return float(self.lows.reshape(-1)[: len(self.rows_MD)].sum(dtype=np.float64))


def block_width(rows: int) -> int:
    """W: so many merged rows stand together."""
    return FEWEST if rows <= FEWEST else 2 * FEWEST


def merge_rows(query_QD: Array, *, most_lost: float = MOST_LOST, isa: str | None = None) -> NDArray[np.float32]:
    """Sums of rows that point the same way (Ward 1963): (M, D) float32, M <= Q.

    Where rows were merged M is 8 or a multiple of 16: fewer would not be faster.  No more than `most_lost` of the rows'
    squared lengths is lost to their distances from their groups' means.
    Raises InvalidInput on a wrong type or shape.
    """
    query = ready("query", query_QD, np.float32, ndim=2)
    if not np.isfinite(query).all():
        raise InvalidInput("the query holds NaN or infinity")
    merged = np.empty_like(query)
    return merged[: native.call("merge_rows", query, float(most_lost), merged, native.isa(isa))]


def merge_rows_reference(query_QD: Array, *, most_lost: float = MOST_LOST) -> NDArray[np.float32]:
    """The same in NumPy."""
    rows = len(query_QD)
    merges: list[tuple[int, int]] = []
    high_QD, steps_Q = _rounded(query_QD)[0], _rounded(query_QD)[2].astype(np.float64)
    costs = (high_QD @ high_QD.T) * (steps_Q[:, None] * steps_Q[None, :])
    squares = costs.diagonal().copy()
    costs = (squares[:, None] + squares[None, :] - 2 * costs) / 2
    np.fill_diagonal(costs, np.inf)
    sizes, lost = np.ones(rows), 0.0
    while rows > FEWEST and len(merges) < rows - 1:
        i, j = sorted(int(x) for x in np.unravel_index(costs.argmin(), costs.shape))
        price, a, b = costs[i, j], sizes[i], sizes[j]
        lost += price
        if lost > most_lost * squares.sum():
            break
        merged = ((a + sizes) * costs[i] + (b + sizes) * costs[j] - sizes * price) / (a + b + sizes)
        merged[[i, j]] = np.inf
        costs[i], costs[:, i], costs[j], costs[:, j], sizes[i] = merged, merged, np.inf, np.inf, a + b
        merges.append((i, j))
    left = rows - len(merges)
    kept = min(rows, -(-left // block_width(left)) * block_width(left))
    sums, gone = query_QD.astype(np.float64), []
    for i, j in merges[: rows - kept]:
        sums[i] += sums[j]
        gone.append(j)
    return np.delete(sums, gone, axis=0).astype(np.float32)


def query_table(
    query_QD: Array,
    book: Codebook,
    *,
    most_lost: float = MOST_LOST,
    bonus: float = BONUS,
    threads: int | None = None,
    isa: str | None = None,
) -> Table:
    """Merge the query's rows and score them with every centroid; query_QD float32.

    Raises InvalidInput on a wrong type or D.
    """
    rows = merge_rows(_checked_query(query_QD, book), most_lost=most_lost, isa=isa)
    scores = _score_table(
        "few_table", rows, block_width(len(rows)), book, native.thread_count(threads), native.isa(isa)
    )
    table_bytes = np.empty(scores.shape, np.uint8)
    lows = np.empty((scores.shape[0], scores.shape[2]), np.float32)
    norms = _norms(rows)
    unit = native.call(
        "byte_table", scores, norms, float(TOP), table_bytes, lows, native.thread_count(threads), native.isa(isa)
    )
    return _table(rows, scores, table_bytes, lows, norms, unit, book, bonus)


def query_table_reference(
    query_QD: Array, book: Codebook, *, most_lost: float = MOST_LOST, bonus: float = BONUS
) -> Table:
    """The same in NumPy."""
    rows = merge_rows_reference(_checked_query(query_QD, book), most_lost=most_lost)
    width = block_width(len(rows))
    blocks, K, norms = -(-len(rows) // width), len(book.centroids_KD), _norms(rows)
    padded = np.zeros((K, blocks * width), np.float32)
    padded[:, : len(rows)] = rounded_products(rows, book.centroids_KD, book.centroid_scales_K, both=False)
    scores = np.ascontiguousarray(padded.reshape(K, blocks, width).transpose(1, 0, 2))
    lows = scores.min(axis=1)
    ranges = (scores.max(axis=1) - lows).reshape(-1)[: len(rows)]
    widest = (ranges[norms > 0] / norms[norms > 0]).max(initial=np.float32(0))
    unit = widest / np.float32(TOP) if widest > 0 else np.float32(1)
    factors = np.zeros(blocks * width, np.float32)
    factors[: len(rows)][norms > 0] = np.float32(1) / (unit * norms[norms > 0])
    steps = np.floor((scores - lows[:, None]) * factors.reshape(blocks, 1, width) + np.float32(0.5))
    return _table(rows, scores, np.clip(steps, 0, TOP).astype(np.uint8), lows, norms, float(unit), book, bonus)


def rough(
    table: Table, coded: Coded, items: Array | None, *, threads: int | None = None, isa: str | None = None
) -> NDArray[np.float32]:
    """A score of each item from its codes and scales alone, biased upwards: float32, -inf for an item without rows.

    items: uint32 rows, None for all.  Raises InvalidInput on a wrong item, offset or code.
    """
    rows, out = _wanted(coded, items)
    native.call(
        "rough",
        table.bytes,
        table.bonus,
        table.weights,
        table.factor,
        table.base,
        *_in_place(coded.codes_T, coded.scales_T, coded.offsets_N1),
        rows,
        out,
        native.thread_count(threads),
        native.isa(isa),
    )
    return out


def rough_reference(table: Table, coded: Coded, items: Array | None) -> NDArray[np.float32]:
    """The same in NumPy."""
    rows = np.arange(len(coded)) if items is None else items
    out = np.full(len(rows), -np.inf, np.float32)
    M = len(table.rows_MD)
    weights = table.weights.reshape(-1)[:M].astype(np.int64)
    bytes_KM = table.bytes.transpose(1, 0, 2).reshape(table.bytes.shape[1], -1)[:, :M].astype(np.int64)
    for i, tokens in enumerate(token_rows(coded.offsets_N1, rows)):
        if len(tokens):
            added_T = table.bonus[coded.scales_T[tokens]].astype(np.int64)
            best = np.minimum(bytes_KM[coded.codes_T[tokens]] + added_T[:, None], 255).max(axis=0)
            out[i] = np.float32(table.factor) * np.float32(best @ weights) + np.float32(table.base)
    return out


def estimate(
    table: Table,
    book: Codebook,
    coded: Coded,
    items: Array | None,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of the table's rows, rounded to int8, against items: about the score, at a fraction of its time; float32.

    items: uint32, None for all; -inf for one without rows.  Raises InvalidInput on a wrong item, offset or code.
    """
    return _score("estimate", table.rows_MD, table.scores, book, coded, items, threads, isa)


def estimate_reference(table: Table, book: Codebook, coded: Coded, items: Array | None) -> NDArray[np.float32]:
    """The same in NumPy."""
    bases_KM = table.scores.transpose(1, 0, 2).reshape(len(book.centroids_KD), -1)[:, : len(table.rows_MD)]
    return _score_reference(table.rows_MD, bases_KM, False, book, coded, items)


def score_codes(
    query_QD: Array,
    book: Codebook,
    coded: Coded,
    items: Array | None,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """MaxSim of a query against items (uint32, None: all): float32, -inf for an item without rows.

    query_QD: float32; a query without rows scores 0 against the others.
    Raises InvalidInput on a wrong type, D, item, offset or code.
    """
    query = _checked_query(query_QD, book)
    # Each centroid once, or the centroid of each vector: the same numbers either way.
    many = items is None or _count_vectors(coded, items) > len(book.centroids_KD)
    run = native.thread_count(threads), native.isa(isa)
    table = _score_table("score_table", query, BLOCK, book, *run) if many else None
    return _score("score_codes", query, table, book, coded, items, threads, isa)


def score_codes_reference(query_QD: Array, book: Codebook, coded: Coded, items: Array | None) -> NDArray[np.float32]:
    """The same in NumPy."""
    query = _checked_query(query_QD, book)
    return _score_reference(
        query, rounded_products(query, book.centroids_KD, book.centroid_scales_K), True, book, coded, items
    )


def _score(
    kernel: str,
    rows_QD: Array,
    table: Array | None,
    book: Codebook,
    coded: Coded,
    items: Array | None,
    threads: int | None,
    isa: str | None,
) -> NDArray[np.float32]:
    same("bytes a vector", packed=coded.packed_TP.shape[1], needed=packed_size(book.nbits, book.dim))
    wanted, out = _wanted(coded, items)
    native.call(
        kernel,
        rows_QD,
        table,
        *_in_place(book.centroids_KD, book.centroid_scales_K, book.scale_table, book.levels),
        book.nbits,
        *_in_place(coded.codes_T, coded.packed_TP, coded.scales_T, coded.offsets_N1),
        wanted,
        out,
        native.thread_count(threads),
        native.isa(isa),
    )
    return out


def _score_reference(
    rows_QD: Array, bases_KQ: Array, both: bool, book: Codebook, coded: Coded, items: Array | None
) -> NDArray[np.float32]:
    wanted = np.arange(len(coded)) if items is None else items
    out = np.full(len(wanted), -np.inf, np.float32)
    for i, tokens in enumerate(token_rows(coded.offsets_N1, wanted)):
        if len(tokens):
            levels_TD = unpack_reference(coded.packed_TP[tokens], nbits=book.nbits, dim=book.dim, levels=book.levels)
            scales_T = book.scale_table[coded.scales_T[tokens]]
            total_TQ = bases_KQ[coded.codes_T[tokens]] + rounded_products(rows_QD, levels_TD, scales_T, both=both)
            out[i] = total_TQ.max(axis=0).sum(dtype=np.float64)
    return out


def _score_table(kernel: str, query_QD: Array, width: int, book: Codebook, threads: int, isa: str) -> Array:
    scores = np.empty((-(-len(query_QD) // width), len(book.centroids_KD), width), np.float32)
    centroids = _in_place(book.centroids_KD, book.centroid_scales_K)
    native.call(kernel, query_QD, *centroids, scores, threads, isa)
    return scores


def _table(
    rows_MD: Array,
    scores: Array,
    table_bytes: Array,
    lows: Array,
    norms_M: Array,
    unit: float,
    book: Codebook,
    bonus: float,
) -> Table:
    longest = float(norms_M.max(initial=0)) or 1.0
    weights = np.zeros(lows.size, np.int16)
    weights[: len(rows_MD)] = np.rint(norms_M.astype(np.float64) / longest * MOST_WEIGHT)
    level = USUAL_WHOLE if book.nbits == 8 else float(np.sqrt(np.square(book.levels, dtype=np.float64).mean()))
    lengths = level * float(np.sqrt(book.dim)) * book.scale_table.astype(np.float64)
    added = np.clip(np.floor(bonus * lengths / unit + 0.5), 0, 255 - TOP).astype(np.uint8)
    return Table(
        rows_MD,
        scores,
        table_bytes,
        lows,
        added,
        weights.reshape(lows.shape),
        unit,
        float(np.float32(unit * longest / MOST_WEIGHT)),
    )


def _norms(rows_MD: Array) -> Array:
    norms: Array = np.sqrt(np.square(rows_MD, dtype=np.float64).sum(axis=1)).astype(np.float32)
    return norms


def _wanted(coded: Coded, items: Array | None) -> tuple[Array | None, Array]:
    rows = None if items is None else ready("items", items, np.uint32, ndim=1)
    return rows, np.empty(len(coded) if rows is None else len(rows), np.float32)


def _count_vectors(coded: Coded, rows: Array) -> int:
    """Vectors of the items; 0 for items that are not there, which the kernel will name."""
    if not len(rows) or int(rows.max()) >= len(coded):
        return 0
    places = rows.astype(np.int64)
    return int((coded.offsets_N1[places + 1] - coded.offsets_N1[places]).sum())


def _in_place(*arrays: Array) -> list[Array]:
    return [in_place(array) for array in arrays]


def _checked_query(query_QD: Array, book: Codebook) -> Array:
    query = ready("query", query_QD, np.float32, ndim=2)
    same("D", query=query.shape[1], centroids=book.dim)
    if not np.isfinite(query).all():
        raise InvalidInput("the query holds NaN or infinity")
    return query


def _rounded(query_QD: Array) -> tuple[Array, Array, Array]:
    """(Q, D) int64 first and second bytes of a query's rows, and the step of each row."""
    steps_Q = (np.abs(query_QD).max(axis=1, initial=0) / np.float32(127)).astype(np.float32)
    shares_QD = np.zeros(query_QD.shape, np.float32)
    np.divide(query_QD, steps_Q[:, None], out=shares_QD, where=steps_Q[:, None] > 0)
    high_QD = np.clip(np.rint(shares_QD), -127, 127)
    low_QD = np.clip(np.rint((shares_QD - np.rint(shares_QD)) * np.float32(254)), -127, 127)
    return high_QD.astype(np.int64), low_QD.astype(np.int64), steps_Q


def rounded_products(query_QD: Array, values_VD: Array, scales_V: Array, *, both: bool = True) -> Array:
    """(V, Q) float32, in NumPy: rounded query rows times int8 vectors times their scales, rounded as in the kernels."""
    high_QD, low_QD, steps_Q = _rounded(query_QD)
    values = values_VD.astype(np.int64)
    dots_VQ = (values @ high_QD.T).astype(np.float32)
    if both:
        dots_VQ = dots_VQ + (values @ low_QD.T).astype(np.float32) * LOW_SHARE
    return dots_VQ * (steps_Q[None, :] * scales_V.astype(np.float32)[:, None])
