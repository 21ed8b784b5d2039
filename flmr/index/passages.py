"""The passages of a segment, in Parquet: text, title, where the image is, and metadata.

Knows one row per item and how to read a few of them without the rest.  Knows nothing of vectors, and opens no image.
The metadata is a column of JSON, so that any mapping comes back as it was and other tools can query it.
"""

from __future__ import annotations

import io
import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.manifest import RESTORE
from flmr.index.store import StoredFile, naming
from flmr.records import Passage

if TYPE_CHECKING:  # pyarrow takes longer to import than all of the index: only those who store passages pay for it
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 256  # one passage costs the reading of one group: small enough for 1 ms, large enough to compress

COLUMNS = ("id", "text", "title", "image", "meta")

Row: TypeAlias = "tuple[str, str, str | None, str] | None"  # text, title, image, meta as JSON


def to_row(passage: Passage) -> tuple[Row, bool]:
    """A passage as it is stored, and whether it has an image that is not (bytes or a picture, not a path)."""
    image = passage.image
    stored = str(image) if isinstance(image, str | Path) else None
    if not all(isinstance(key, str) for key in passage.meta):
        raise InvalidInput(f"passage {passage.id!r}: the keys of its metadata must be strings")
    try:
        meta = json.dumps(dict(passage.meta), ensure_ascii=False, allow_nan=False, default=_plain)
        for text in (passage.text, passage.title, stored or "", meta):
            text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"passage {passage.id!r} holds half a surrogate pair, which is no UTF-8: clean its text"
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"passage {passage.id!r}: its metadata cannot be written as JSON ({error}); use strings, finite numbers,"
            " true, false, null, lists and mappings"
        ) from error
    return (passage.text, passage.title, stored, meta), image is not None and stored is None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON type")


class Sink(io.RawIOBase):
    """A file of the storage layer as pyarrow wants one.

    After a write has failed the rest is swallowed: pyarrow writes a footer even while it is being torn down, and would
    fail again where nobody can catch it.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._failed = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self._failed:
            self._failed = True
            self._file.append(bytes(data))
            self._failed = False
        return len(data)

    def tell(self) -> int:
        return self._file.size


def write_parquet(file: StoredFile, rows: Iterable[tuple[str, Row]]) -> None:
    """Write (id, row) pairs to a new file, a group of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, schema = Sink(file), _schema()
    # Page checksums: a flipped bit in a text is an error when it is read, not another text.
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True, store_schema=False) as writer:
        for group in _groups(rows):
            columns = zip(*((item_id, *(row or (None,) * 4)) for item_id, row in group), strict=True)
            arrays = [pa.array(column, pa.string()) for column in columns]
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=ROWS_PER_GROUP)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.string(), nullable=name != "id") for name in COLUMNS])


def _groups(rows: Iterable[tuple[str, Row]]) -> Iterator[list[tuple[str, Row]]]:
    group: list[tuple[str, Row]] = []
    for row in rows:
        group.append(row)
        if len(group) == ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


_opened: weakref.WeakSet[Passages] = weakref.WeakSet()


def _start_anew_in_child() -> None:
    for passages in list(_opened):
        passages.start_anew()


os.register_at_fork(after_in_child=_start_anew_in_child)


class Passages:
    """The stored passages of one segment: mapped at once, parsed on first use, safe to share between threads."""

    def __init__(self, path: Path, num_items: int) -> None:
        self.path = path
        self._num_items = num_items
        import pyarrow as pa

        with naming("read", path):
            self._map = pa.memory_map(str(path))
        self._file: pq.ParquetFile | None = None
        self._columns: dict[str, list[Any]] | None = None
        self._lock = threading.Lock()
        _opened.add(self)

    def start_anew(self) -> None:
        """Forget in a forked child what a thread of the parent may have been at: its lock would stay held for ever."""
        self._lock, self._file = threading.Lock(), None

    def take(self, ids: Sequence[str], rows: Sequence[int]) -> list[Passage | None]:
        """The passages of some rows, in the order given; ids are theirs.  Raises CorruptIndex on damage."""
        groups: dict[int, list[list[Any]]] = {}
        for number in sorted({row // ROWS_PER_GROUP for row in rows}):
            groups[number] = self._group(number, COLUMNS[1:])
        passages: list[Passage | None] = []
        for item_id, row in zip(ids, rows, strict=True):
            text, title, image, meta = (column[row % ROWS_PER_GROUP] for column in groups[row // ROWS_PER_GROUP])
            passages.append(None if text is None else Passage(item_id, text, title, image, self._parse(meta, row)))
        return passages

    def row(self, row: int) -> Row:
        """One row as it is stored."""
        text, title, image, meta = (
            column[row % ROWS_PER_GROUP] for column in self._group(row // ROWS_PER_GROUP, COLUMNS[1:])
        )
        return None if text is None else (text, title, image, meta)

    def rows(self) -> Iterator[Row]:
        """All rows as they are stored, a group at a time."""
        for number in range(-(-self._num_items // ROWS_PER_GROUP)):
            for text, title, image, meta in zip(*self._group(number, COLUMNS[1:]), strict=True):
                yield None if text is None else (text, title, image, meta)

    def column(self, name: str) -> list[Any] | None:
        """A key of the metadata of every row, None where a row lacks it; None if no row has it.

        The first call parses the metadata of the segment once.
        """
        with self._lock:
            if self._columns is None:
                self._columns = self._parse_columns()
            return self._columns.get(name)

    def _parse_columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        row = 0
        for number in range(-(-self._num_items // ROWS_PER_GROUP)):
            for meta in self._group(number, ["meta"], locked=True)[0]:
                for key, value in self._parse(meta, row).items() if meta else ():
                    columns.setdefault(key, [None] * self._num_items)[row] = value
                row += 1
        return columns

    def _parse(self, meta: str, row: int) -> dict[str, Any]:
        try:
            parsed: dict[str, Any] = json.loads(meta)
            if isinstance(parsed, dict):
                return parsed
            raise ValueError("it is no mapping")
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptIndex(f"{self.path}: the metadata of row {row} is damaged ({error}): {RESTORE}") from error

    def _rows_of_groups(self, file: pq.ParquetFile) -> int | None:
        """How many rows there are; None where a group is not as long as ours are."""
        meta = file.metadata
        rows = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
        full = all(count == ROWS_PER_GROUP for count in rows[:-1]) and all(
            0 < count <= ROWS_PER_GROUP for count in rows
        )
        return sum(rows) if full and sum(rows) == meta.num_rows else None

    def _group(self, number: int, columns: Sequence[str], *, locked: bool = False) -> list[list[Any]]:
        if not locked:
            with self._lock:
                return self._group(number, columns, locked=True)
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if self._file is None:
                file = pq.ParquetFile(self._map, page_checksum_verification=True)
                if self._rows_of_groups(file) != self._num_items or not file.schema_arrow.equals(_schema()):
                    raise CorruptIndex(f"{self.path} has other rows or columns than its segment: {RESTORE}")
                self._file = file
            table = self._file.read_row_group(number, columns=list(columns), use_threads=False)
            return [table.column(name).to_pylist() for name in columns]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise CorruptIndex(f"{self.path} is damaged ({error}): {RESTORE}") from error
