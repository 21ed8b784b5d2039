"""The two forms that an index is exported in, a Parquet file and a folder of `.npy` files, read back.

Knows their names and columns, and how to take them an item at a time.  Knows nothing of how they are written.

Shapes: N items, T rows, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.interop.files import map_npy, read_json
from flmr.index.interop.foreign import Foreign
from flmr.index.manifest import RESTORE
from flmr.index.passages import COLUMNS, ROWS_PER_GROUP, Passages
from flmr.index.store import file_size
from flmr.records import Passage

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = "parquet"
PARQUET_SUFFIXES = (".parquet", ".pq")
ID, VECTORS_COLUMN = "id", "vectors"

NPY = "npy"
VECTORS = "vectors.npy"
OFFSETS = "offsets.npy"
IDS = "ids.json"
PASSAGES = "passages.parquet"

ITEMS_PER_READ = 64


def looks_like_parquet(path: Path) -> bool:
    """Whether a path is named as a Parquet file."""
    return path.suffix in PARQUET_SUFFIXES and path.is_file()


def looks_like_npy(folder: Path) -> bool:
    """Whether a folder has the files that `export_index` writes."""
    return (folder / VECTORS).exists() and (folder / OFFSETS).exists()


def open_npy(folder: Path) -> Foreign:
    """Open a folder of `vectors.npy` (T, D), `offsets.npy` (N+1,) and, where there are any, `ids.json` and passages."""
    vectors_TD, offsets_N1 = map_npy(folder / VECTORS, ndim=2), map_npy(folder / OFFSETS, ndim=1)
    if (
        not len(offsets_N1)
        or offsets_N1.dtype.kind not in "iu"
        or offsets_N1[0] != 0
        or offsets_N1[-1] != len(vectors_TD)
        or (offsets_N1[1:] < offsets_N1[:-1]).any()
    ):
        raise CorruptIndex(
            f"{folder / OFFSETS} does not rise from 0 to the {len(vectors_TD):,} rows there are: {RESTORE}"
        )
    items = len(offsets_N1) - 1
    ids = read_json(folder / IDS) if (folder / IDS).exists() else None
    if ids is not None and (not isinstance(ids, list) or len(ids) != items):
        raise CorruptIndex(f"{folder / IDS} is not a list of {items:,} ids: {RESTORE}")
    names = ids or [str(number) for number in range(items)]
    return Foreign(
        NPY,
        folder,
        vectors_TD.shape[1],
        0,
        items,
        lambda: (vectors_TD[offsets_N1[i] : offsets_N1[i + 1]] for i in range(items)),
        ids=lambda: names,
        passages=(lambda: _stored(folder / PASSAGES, names)) if (folder / PASSAGES).exists() else None,
    )


def _stored(path: Path, ids: list[str]) -> Iterator[Passage | None]:
    file_size(path)  # refuses a link
    passages = Passages(path, len(ids))
    for first in range(0, len(ids), ROWS_PER_GROUP):
        rows = range(first, min(first + ROWS_PER_GROUP, len(ids)))
        yield from passages.take([ids[row] for row in rows], rows)


def open_parquet(path: Path) -> Foreign:
    """Open a Parquet file with a column `id` of strings and a column `vectors`, a list of lists of D numbers each.

    The columns `text`, `title`, `image` and `meta` (JSON) are taken as passages where `text` is there.
    """
    with _columns(path) as file:
        schema, items = file.schema_arrow, file.metadata.num_rows
        dim = _dim(path, schema, file)
    names = [name for name in COLUMNS if name in schema.names]
    return Foreign(
        PARQUET,
        path,
        dim,
        0,
        items,
        lambda: _vectors(path, dim),
        ids=lambda: (row[ID] for row in _rows(path, [ID])),
        passages=(lambda: _passages(path, names)) if "text" in names else None,
    )


def _columns(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file_size(path)  # refuses a link
    try:
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise CorruptIndex(f"{path} is not a whole Parquet file ({error}): {RESTORE}") from error


def _batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        with _columns(path) as file:
            yield from file.iter_batches(ITEMS_PER_READ, columns=names, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise CorruptIndex(f"{path} is damaged ({error}): {RESTORE}") from error


def _rows(path: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    for batch in _batches(path, names):
        yield from batch.to_pylist()


def _dim(path: Path, schema: pa.Schema, file: Any) -> int:
    """D, from the type or, where that leaves it open, from the first row there is."""
    import pyarrow as pa

    rows = schema.field(VECTORS_COLUMN).type if VECTORS_COLUMN in schema.names else pa.null()
    row = rows.value_type if _is_list(rows) else pa.null()
    if ID not in schema.names or not _is_list(row) or not pa.types.is_floating(row.value_type):
        raise CorruptIndex(
            f"{path} needs a column {ID!r} of strings and a column {VECTORS_COLUMN!r} of lists of lists of floats;"
            f" it has {', '.join(f'{field.name} ({field.type})' for field in schema)}"
        )
    if pa.types.is_fixed_size_list(row):
        return int(row.list_size)
    for batch in file.iter_batches(ITEMS_PER_READ, columns=[VECTORS_COLUMN]):
        widths = batch.column(0).flatten().value_lengths()
        if len(widths):
            return int(widths[0].as_py())
    raise CorruptIndex(f"{path} has not one row, and its type does not say D: use a fixed_size_list of D floats")


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _vectors(path: Path, dim: int) -> Iterator[np.ndarray]:
    """The vectors of each item: (n, D)."""
    for batch in _batches(path, [VECTORS_COLUMN]):
        items = batch.column(0)
        rows = items.flatten()
        values = rows.flatten()
        lengths = np.asarray(items.value_lengths().fill_null(0), np.int64)
        if items.null_count or rows.null_count or values.null_count or len(values) != len(rows) * dim:
            raise CorruptIndex(f"{path} has an item or row that is null or has not D={dim} numbers: {RESTORE}")
        vectors_RD = values.to_numpy(zero_copy_only=False).reshape(len(rows), dim)
        yield from np.split(vectors_RD, np.cumsum(lengths)[:-1])


def _passages(path: Path, names: list[str]) -> Iterator[Passage | None]:
    for row in _rows(path, names):
        if row["text"] is None:
            yield None
            continue
        try:
            meta = json.loads(row.get("meta") or "{}")
        except ValueError as error:
            raise CorruptIndex(f"{path}: the meta of {row[ID]!r} is not JSON ({error}): {RESTORE}") from error
        yield Passage(row[ID], row["text"], row.get("title") or "", row.get("image"), meta)
