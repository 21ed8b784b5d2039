"""An index written for other programs: one Parquet file, or a folder of `.npy` files.

Knows how to stream what is alive into either, whole or not at all.  Knows nothing of codecs.

Shapes: N items, T their packed rows, R rows of a block, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import numpy as np

from flmr.errors import AlreadyExists, InvalidInput
from flmr.index.format import array
from flmr.index.index import Index, Progress
from flmr.index.interop.exported import (
    ID,
    IDS,
    NPY,
    OFFSETS,
    PARQUET,
    PARQUET_SUFFIXES,
    PASSAGES,
    VECTORS,
    VECTORS_COLUMN,
)
from flmr.index.passages import COLUMNS, Row, Sink, write_parquet
from flmr.index.searcher import Searcher
from flmr.index.segment_writer import Report
from flmr.index.snapshot import Run, Snapshot
from flmr.index.store import Storage, naming
from flmr.progress import reporting

OTHER_SUFFIXES = {".csv", ".tsv", ".json", ".jsonl", ".npy", ".npz", ".pt", ".h5", ".arrow", ".feather", ".safetensors"}
DTYPES = {"float16": "<f2", "float32": "<f4"}
MAX_ROWS = 16_384  # decoded at once


def export_index(
    index: Index | Searcher | str | Path,
    path: str | Path,
    format: str | None = None,
    *,
    dtype: str = "float16",
    progress: Progress = False,
) -> Path:
    """Write all items of an index, decoded, to `path`, which must not exist.  Returns it.

    format: "parquet" is one file with the columns `id`, `vectors` (a list of lists of D) and, where the index has
    passages, `text`, `title`, `image` and `meta` (JSON), in row groups of a bounded size.  "npy" is a folder of
    `vectors.npy` (T, D), `offsets.npy` (N+1,) int64, `ids.json`, and `passages.parquet` where there are any.  Default:
    Parquet if the path ends so, else npy; endings of other kinds of file are refused.  dtype: "float16", as vectors are
    taken in, or "float32".
    Deleted items are left out.  Raises AlreadyExists, StorageError; then nothing is left behind.
    """
    path = Path(path).absolute()
    if format is None and path.suffix.lower() in OTHER_SUFFIXES:
        raise InvalidInput(f"an index is exported as a .parquet file or a folder, not as {path.name}: choose either")
    format = format or (PARQUET if path.suffix in PARQUET_SUFFIXES else NPY)
    if format not in (PARQUET, NPY):
        raise InvalidInput(f"format {format!r} is not known; it is {PARQUET!r} or {NPY!r}")
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is not known; it is one of {', '.join(DTYPES)}")
    if path.exists() or path.is_symlink():
        raise AlreadyExists(f"{path} exists already: remove it, or choose another path")
    with Index.open(index) if isinstance(index, str | Path) else nullcontext(index) as opened:
        snapshot = (opened.searcher() if isinstance(opened, Index) else opened).snapshot
        storage, draft = Storage(), path.with_name(f"{path.name}.exporting")
        try:
            storage.make_folder(path.parent)
            storage.remove(draft)
            with reporting(progress) as report:
                write = _write_parquet if format == PARQUET else _write_npy
                write(storage, snapshot, draft, np.dtype(DTYPES[dtype]), report)
            with naming("create", path):
                storage.sys_rename(draft, path)
            storage.sync_folder(path.parent)
        except BaseException:
            storage.remove(draft)
            raise
    return path


def _write_parquet(storage: Storage, snapshot: Snapshot, path: Path, dtype: np.dtype, report: Report) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with_passages = _has_passages(snapshot)
    row = pa.list_(pa.from_numpy_dtype(dtype), snapshot.manifest.dim)
    fields = [pa.field(ID, pa.string(), nullable=False), pa.field(VECTORS_COLUMN, pa.list_(row), nullable=False)]
    fields += [pa.field(name, pa.string()) for name in COLUMNS[1:] if with_passages]
    schema, file = pa.schema(fields), storage.create(path)
    try:
        with pq.ParquetWriter(Sink(file), schema, compression="zstd", write_page_checksum=True) as writer:
            for run in _runs(snapshot, report):
                values = np.ascontiguousarray(run.segment.stored(*run.rows), dtype).reshape(-1)
                rows = pa.FixedSizeListArray.from_arrays(pa.array(values), type=row)
                offsets = pa.array(np.concatenate(([0], np.cumsum(run.lengths))), pa.int32())
                columns = [pa.array(run.ids, pa.string()), pa.ListArray.from_arrays(offsets, rows)]
                if with_passages:
                    texts = zip(*(passage or (None,) * 4 for passage in _passages(run)), strict=True)
                    columns += [pa.array(text, pa.string()) for text in texts]
                writer.write_table(pa.table(columns, schema=schema))
        file.sync()
    finally:
        file.close()


def _write_npy(storage: Storage, snapshot: Snapshot, folder: Path, dtype: np.dtype, report: Report) -> None:
    storage.make_folder(folder)
    ids: list[str] = []
    lengths = [np.zeros(1, np.int64)]

    def vectors() -> Iterator[np.ndarray]:
        for run in _runs(snapshot, report):
            ids.extend(run.ids)
            lengths.append(run.lengths)
            yield np.ascontiguousarray(run.segment.stored(*run.rows), dtype)

    kind = array(dtype.str, snapshot.manifest.vectors, snapshot.manifest.dim)
    _stream(storage, folder / VECTORS, chain([kind.header], vectors()))
    offsets_N1 = np.cumsum(np.concatenate(lengths))
    storage.write_array(folder / OFFSETS, offsets_N1, array("<i8", len(offsets_N1)))
    storage.write(folder / IDS, json.dumps(ids, ensure_ascii=False, indent=0).encode())
    if _has_passages(snapshot):
        file = storage.create(folder / PASSAGES)
        try:
            runs = (run for view in snapshot.views for run in view.runs(MAX_ROWS))
            write_parquet(file, (pair for run in runs for pair in zip(run.ids, _passages(run), strict=True)))
            file.sync()
        finally:
            file.close()
    storage.sync_folder(folder)


def _stream(storage: Storage, path: Path, parts: Iterable[bytes | np.ndarray]) -> None:
    file = storage.create(path)
    try:
        for part in parts:
            file.append(part)
        file.sync()
    finally:
        file.close()


def _runs(snapshot: Snapshot, report: Report) -> Iterator[Run]:
    """All that is alive, a bounded number of rows at a time."""
    done = 0
    for view in snapshot.views:
        for run in view.runs(MAX_ROWS):
            yield run
            done += run.end - run.first
            report("export", done, snapshot.manifest.items)


def _has_passages(snapshot: Snapshot) -> bool:
    return any(view.segment.passages is not None for view in snapshot.views)


def _passages(run: Run) -> list[Row]:
    """The passage of each item, None where it has none."""
    return run.passages if run.passages is not None else [None] * (run.end - run.first)
