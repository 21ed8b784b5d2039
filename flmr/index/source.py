"""What the caller adds, as a stream of checked batches.

Knows the forms in which vectors, ids and passages may come and what makes them valid.  Knows nothing of files.

Shapes: n rows of one item, R rows of a batch, D dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flmr.errors import InvalidInput
from flmr.index.ids import checked_id
from flmr.index.passages import Row, to_row
from flmr.ops.arrays import Device, in_memory, is_tensor
from flmr.ops.pool import pool as pooled
from flmr.records import MAX_DIM, MAX_ROWS_PER_ITEM, MultiVectors, Passage

MAX_FLOAT16 = 65_504
ITEMS_PER_BATCH = 4096  # bounds a batch of items that have few rows or none
BYTES_PER_VALUE = 24  # a value passes through float16, float32, rotated, residual and packed copies


@dataclass(frozen=True)
class Batch:
    """Some items, in order.  passages: as they are stored, or None if none came.

    vectors: (R, D) float16, finite; a tensor in a CUDA device's memory where the items were.
    """

    ids: list[str]
    lengths: list[int]
    vectors: Any
    passages: list[Row] | None
    images_not_stored: int


def rows_per_batch(dim: int, memory_bytes: int) -> int:
    """R: rows that are worked on at once."""
    return max(16, min(16_384, memory_bytes // (8 * BYTES_PER_VALUE * dim)))


def batches(
    vectors: MultiVectors | Iterable[Any],
    ids: Iterable[str] | None,
    passages: Iterable[Passage | None] | None,
    *,
    dim: int | None,
    next_id: int,
    memory_bytes: int,
    pool: int = 1,
    device: Device = "cpu",
) -> Iterator[Batch]:
    """Batches of the items, vectors, ids and passages consumed in lock-step.

    dim: D of the index, None where the first item decides.  pool: of so many rows of an item one is made.  device: with
    "cuda" tensors in the current CUDA device's memory stay there, in batches of their own, unless they are pooled.
    Raises InvalidInput naming the item: a wrong shape, type or D, NaN, infinity or overflow of float16, an id that is
    no string, lists of different lengths.
    """
    place = _place(device) if pool == 1 else None
    group: list[tuple[str, Any]] = []
    rows: list[Row] = []
    skipped = num_rows = 0
    for item_id, array, passage in _lockstep(vectors, ids, passages, next_id):
        matrix = _checked_item(item_id, array, dim, place)
        dim = int(matrix.shape[1])
        full = num_rows + len(matrix) > rows_per_batch(dim, memory_bytes) or len(group) == ITEMS_PER_BATCH
        if group and (full or is_tensor(matrix) != is_tensor(group[-1][1])):
            yield _batch(group, rows if passages is not None else None, skipped, pool)
            group, rows, skipped, num_rows = [], [], 0, 0
        group.append((item_id, matrix))
        num_rows += len(matrix)
        if passages is not None:
            row, unstored = to_row(passage) if passage is not None else (None, False)
            rows.append(row)
            skipped += unstored
    if group:
        yield _batch(group, rows if passages is not None else None, skipped, pool)


def _batch(group: list[tuple[str, Any]], rows: list[Row] | None, skipped: int, pool: int) -> Batch:
    vectors_RD = _left_there(group) if is_tensor(group[0][1]) else np.concatenate([matrix for _, matrix in group])
    lengths = [len(matrix) for _, matrix in group]
    if pool > 1:
        pooled_RD, offsets_N1 = pooled(vectors_RD, np.concatenate(([0], np.cumsum(lengths))), pool)
        vectors_RD = np.clip(pooled_RD, -MAX_FLOAT16, MAX_FLOAT16).astype(np.float16)
        lengths = np.diff(offsets_N1).tolist()
    return Batch([item_id for item_id, _ in group], lengths, vectors_RD, rows, skipped)


def _left_there(group: list[tuple[str, Any]]) -> Any:
    """Tensors as one of float16, whose values are looked at together: to look at each would wait for each."""
    from flmr.ops.waiting import joined

    vectors_RD = joined([matrix for _, matrix in group])
    if not bool(vectors_RD.isfinite().all()):
        for item_id, matrix in group:
            _as_float16(item_id, in_memory(matrix))  # says which
    return vectors_RD


def _place(device: Device) -> Any:
    """The device whose tensors stay where they lie, if there is one."""
    if device == "cpu":
        return None
    from flmr.ops.cuda import the_device

    return the_device()


def _lockstep(
    vectors: MultiVectors | Iterable[Any],
    ids: Iterable[str] | None,
    passages: Iterable[Passage | None] | None,
    next_id: int,
) -> Iterator[tuple[str, Any, Passage | None]]:
    """(id, array, passage) of each item; ids default to those of the passages, else to running numbers."""
    _refuse_wrong_kinds(vectors, ids, passages)
    more_ids = iter(ids) if ids is not None else None
    more_passages = iter(passages) if passages is not None else None
    count = 0
    for count, array in enumerate(vectors, 1):
        passage = _next(more_passages, "passages", count)
        item_id = _next(more_ids, "ids", count)
        if passage is not None and not isinstance(passage, Passage):
            raise InvalidInput(f"item {count - 1}: expected a Passage, not {type(passage).__name__}")
        if more_ids is None:
            if more_passages is not None and passage is None:
                raise InvalidInput(f"item {count - 1} has neither an id nor a passage to take it from: give ids")
            item_id = passage.id if passage is not None else str(next_id + count - 1)
        item_id = checked_id(item_id)
        if passage is not None and passage.id != item_id:
            raise InvalidInput(f"item {item_id!r} came with the passage {passage.id!r}: ids and passages must agree")
        yield item_id, array, passage
    for name, rest in (("ids", more_ids), ("passages", more_passages)):
        if rest is not None and next(rest, rest) is not rest:
            raise InvalidInput(f"there are more {name} than vectors ({count:,} items): give one for each")


def _refuse_wrong_kinds(vectors: Any, ids: Any, passages: Any) -> None:
    if (isinstance(vectors, np.ndarray) or is_tensor(vectors)) and vectors.ndim < 3:
        shape = tuple(vectors.shape)
        raise InvalidInput(
            f"vectors are one array of shape {shape}; give MultiVectors or a list of (n, D) arrays, one an item"
        )
    if isinstance(vectors, Mapping):
        raise InvalidInput("vectors are a mapping; give its values, and its keys as ids=")
    if isinstance(vectors, str | bytes) or not isinstance(vectors, Iterable):
        raise InvalidInput(
            f"vectors must be MultiVectors or an iterable of (n, D) arrays, not {type(vectors).__name__}"
        )
    if isinstance(ids, str | bytes) or (ids is not None and not isinstance(ids, Iterable)):
        raise InvalidInput(f"ids must be a list of strings, not {type(ids).__name__} {ids!r}")
    if isinstance(passages, str | bytes | Passage) or (passages is not None and not isinstance(passages, Iterable)):
        raise InvalidInput(f"passages must be a list of Passage, not {type(passages).__name__}")


def _next(rest: Iterator[Any] | None, name: str, count: int) -> Any:
    if rest is None:
        return None
    value = next(rest, rest)
    if value is rest:
        raise InvalidInput(f"there are only {count - 1:,} {name} but more vectors: give one for each")
    return value


def _checked_item(item_id: str, array: Any, dim: int | None, place: Any) -> Any:
    """An item's vectors as float16: (n, D); a tensor that lies at `place` as it is, its values not yet looked at.

    Raises InvalidInput naming the item.
    """
    matrix = as_matrix(f"item {item_id!r}", array, place)
    if not 1 <= matrix.shape[1] <= MAX_DIM:
        raise InvalidInput(f"item {item_id!r} has D={matrix.shape[1]}; D must be 1 to {MAX_DIM:,}")
    if dim is not None and matrix.shape[1] != dim:
        raise InvalidInput(
            f"item {item_id!r} has D={matrix.shape[1]} but the index has D={dim}; encode it with its encoder"
        )
    if len(matrix) > MAX_ROWS_PER_ITEM:
        raise InvalidInput(
            f"item {item_id!r} has {len(matrix):,} rows; an item has at most {MAX_ROWS_PER_ITEM:,}: split it"
        )
    return matrix if is_tensor(matrix) else _as_float16(item_id, matrix)


def _as_float16(item_id: str, matrix: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = matrix.astype(np.float16)
    if not np.isfinite(stored).all():
        row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        values = matrix[row]
        if np.isfinite(values).all():
            what = f"{np.abs(values).max():g}, beyond float16's {MAX_FLOAT16:,}: scale the vectors down"
        else:
            what = f"{'NaN' if np.isnan(values).any() else 'infinity'}: check the encoder"
        raise InvalidInput(f"item {item_id!r}, row {row} holds {what}")
    return stored


def as_matrix(name: str, array: Any, place: Any = None) -> Any:
    """Numbers of shape (n, D); raises InvalidInput naming what is not.

    A tensor comes to the processor's memory unless it lies at `place`, a device.
    """
    matrix: Any = None
    if place is not None and is_tensor(array):
        from flmr.ops.waiting import left_at

        matrix = left_at(place, array)
    if matrix is None:
        try:
            matrix = np.asarray(in_memory(array))
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInput(
                f"{name} cannot be read as an array ({error}); give (n, D) float16 or float32"
            ) from error
        if matrix.dtype.kind not in "fiu":
            raise InvalidInput(f"{name} must hold numbers, not {matrix.dtype}; give (n, D) float16 or float32")
    if matrix.ndim != 2:
        hint = "; write x[None] for a single vector" if matrix.ndim == 1 else ""
        raise InvalidInput(f"{name} must have shape (n, D), not {tuple(matrix.shape)}{hint}")
    return matrix
