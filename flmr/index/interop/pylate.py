"""Index folders of PyLate: an index of another engine, and which of its items are which documents.

Knows the forms that PyLate has written: `PLAID` over fast-plaid (a folder within), `PLAID` over its former backend (the
same folder), and `Voyager`; the ids as a pickled dict, formerly as a table of SQLite.  A document that was removed may
still be in the index beneath; it has no id any more and is left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex, MissingExtra
from flmr.index.interop.colbert import open_colbert
from flmr.index.interop.fast_plaid import open_fast_plaid
from flmr.index.interop.foreign import Foreign
from flmr.index.interop.plain_pickle import plain_pickle
from flmr.index.manifest import RESTORE
from flmr.index.store import file_size, read_bytes

KIND = "pylate"
FAST_PLAID = "fast_plaid_index"
PLAID_IDS = "plaid_ids_to_documents_ids"
VOYAGER = "index.voyager"
VOYAGER_IDS = "document_ids_to_embeddings"
SUFFIXES = (".pkl", ".sqlite")


def looks_like_pylate(folder: Path) -> bool:
    """Whether a folder has the files that only such an index has."""
    names = (FAST_PLAID, VOYAGER, *(f"{name}{suffix}" for name in (PLAID_IDS, VOYAGER_IDS) for suffix in SUFFIXES))
    return any((folder / name).exists() for name in names)


def open_pylate(folder: Path) -> Foreign:
    """Open a folder of PyLate (`index_folder/index_name`); raises CorruptIndex where a file is missing or damaged.

    Raises MissingExtra for a Voyager index where the package voyager is not installed.
    """
    if (folder / VOYAGER).exists():
        return _open_voyager(folder)
    inner = open_fast_plaid(folder / FAST_PLAID) if (folder / FAST_PLAID).exists() else open_colbert(folder)
    ids = {_number(key, folder): _document_id(value, folder) for key, value in _mapping(folder, PLAID_IDS)}
    unknown = next((number for number in ids if number >= len(inner)), None)
    if unknown is not None:
        raise CorruptIndex(f"{folder} gives an id to item {unknown:,} of {len(inner):,}: {RESTORE}")
    numbers = sorted(ids)
    if len(numbers) == len(inner):
        kept: Callable[[], Iterator[np.ndarray]] = inner.vectors
    else:
        kept = lambda: compress(inner, (number in ids for number in range(len(inner))))  # noqa: E731
    return replace(
        inner,
        kind=KIND,
        path=folder,
        items=len(numbers),
        vectors=kept,
        ids=lambda: [ids[number] for number in numbers],
        passages=None,
        left_out=len(inner) - len(numbers),
    )


def _open_voyager(folder: Path) -> Foreign:
    """The vectors of a Voyager index, which are stored whole, document by document."""
    try:
        from voyager import Index as VoyagerIndex
    except ImportError as error:
        raise MissingExtra(f"{folder / VOYAGER} needs the package that wrote it: pip install voyager") from error
    file_size(folder / VOYAGER)  # refuses a link
    try:
        index = VoyagerIndex.load(str(folder / VOYAGER))
    except (RuntimeError, ValueError) as error:
        raise CorruptIndex(f"{folder / VOYAGER} cannot be read ({error}): {RESTORE}") from error
    rows_of = {_document_id(key, folder): _row_numbers(rows, folder) for key, rows in _mapping(folder, VOYAGER_IDS)}
    return Foreign(
        KIND,
        folder,
        int(index.num_dimensions),
        0,
        len(rows_of),
        lambda: (_voyager_rows(index, rows, folder) for rows in rows_of.values()),
        ids=lambda: rows_of.keys(),
    )


def _voyager_rows(index: Any, rows: list[int], folder: Path) -> np.ndarray:
    try:
        return np.asarray(index.get_vectors(rows), np.float32).reshape(len(rows), int(index.num_dimensions))
    except (RuntimeError, ValueError, KeyError) as error:
        raise CorruptIndex(f"{folder / VOYAGER} lacks rows that the ids name ({error}): {RESTORE}") from error


def _mapping(folder: Path, name: str) -> Iterator[tuple[Any, Any]]:
    """Key and value of one of PyLate's dicts."""
    pickled, table = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    if not pickled.exists() and table.exists():
        yield from _table(table)
        return
    values = plain_pickle(read_bytes(pickled), str(pickled))
    if not isinstance(values, dict):
        raise CorruptIndex(f"{pickled} holds no dict: {RESTORE}")
    yield from values.items()


def _table(path: Path) -> Iterator[tuple[Any, Any]]:
    """The same from SQLite, where each value is a pickle of its own."""
    file_size(path)  # refuses a link
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for key, value in database.execute("SELECT key, value FROM unnamed ORDER BY rowid"):
                if not isinstance(value, bytes):
                    raise CorruptIndex(f"{path} holds a value that is no pickle at key {key!r}: {RESTORE}")
                yield key, plain_pickle(value, f"{path}, key {key!r}")
    except sqlite3.Error as error:
        raise CorruptIndex(f"{path} cannot be read ({error}): {RESTORE}") from error


def _number(key: Any, folder: Path) -> int:
    """The number of an item, which SQLite keeps as a text."""
    number = int(key) if isinstance(key, str) and key.isdecimal() else key
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise CorruptIndex(f"{folder} numbers an item {key!r}: {RESTORE}")
    return number


def _document_id(value: Any, folder: Path) -> str:
    """An id as a string; whole numbers become their digits."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CorruptIndex(f"{folder} has a document id that is a {type(value).__name__}, not a string: {RESTORE}")
    return str(value)


def _row_numbers(value: Any, folder: Path) -> list[int]:
    if not isinstance(value, list) or not all(type(row) is int and row >= 0 for row in value):
        raise CorruptIndex(f"{folder} does not name a document's rows by whole numbers: {RESTORE}")
    return value
