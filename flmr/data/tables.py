"""Published tables: found by the beginning of their name, read as numbered rows, checked for their columns.

Knows Parquet, JSONL, JSON documents, CSV and TSV, whole or in parts, packed or not.  Knows no data set.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from flmr.data.rows import (
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Place,
    Raw,
    Row,
    check_columns,
    check_readable,
    json_lines,
    lines,
    parquet_rows,
    parsed,
    suffix,
)
from flmr.errors import InvalidRecord

DELIMITERS = {".csv": ",", ".tsv": "\t"}
COLLECTION = ("id", "text", "title")
ENDINGS = (*PARQUET_SUFFIXES, *JSON_SUFFIXES, *DELIMITERS)
PART = r"(-\d[\w.-]*?)?"  # test-00000-of-00002.parquet
JSON_CHUNK = 1 << 20  # characters
FIRST_SHOWN = 8


def find_files(folder: Path, stem: str) -> list[Path]:
    """The files of a table in order: `STEM.parquet`, its parts `STEM-00000-of-00002.parquet`, or all in a folder STEM.

    stem: relative to the folder or to a folder in it, with `/` between folders.  Any known type is taken, `.gz` too.
    Raises InvalidRecord naming what was looked for and what there is.
    """
    if not folder.is_dir():
        raise InvalidRecord(f"{str(folder)!r} is not a folder; name the one that holds {stem!r}")
    parent, _, name = stem.rpartition("/")
    pattern = re.compile(re.escape(name) + PART + "(" + "|".join(map(re.escape, ENDINGS)) + r")(\.gz)?", re.IGNORECASE)
    roots = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]
    for inner in (root / parent for root in roots):
        found = [path for path in _entries(inner) if pattern.fullmatch(path.name) and path.is_file()]
        found = found or [path for path in _entries(inner / name) if suffix(path) in ENDINGS and path.is_file()]
        if found:
            endings = {suffix(path) for path in found}
            if len(endings) > 1:
                raise InvalidRecord(
                    f"{str(inner)!r} holds {name!r} as {' and '.join(sorted(endings))}; keep one of them there"
                )
            return found
    there = [f"{path.name}/" if path.is_dir() else path.name for path in _entries(folder)]
    more = f" and {len(there) - FIRST_SHOWN} more" if len(there) > FIRST_SHOWN else ""
    raise InvalidRecord(
        f"{str(folder)!r} holds no table {stem!r} ({', '.join(ENDINGS)}); it has {', '.join(there[:FIRST_SHOWN])}{more}"
    )


def table_rows(
    folder: Path,
    stem: str,
    columns: Sequence[str],
    *,
    header: Sequence[str] = (),
    under: str | None = None,
    key: str | None = None,
) -> Iterator[tuple[Place, Raw]]:
    """The rows of a table in all its files, which must have the columns; a line of JSON is not parsed yet.

    header: the columns of a CSV or TSV file without a header, whose fields are not quoted.  under: of a JSON document,
    the key that its list of rows stands under.  key: the column for the keys of a JSON document that is one
    object of rows.  Raises InvalidRecord where a file cannot be read or lacks a column.
    """
    for path in find_files(folder, stem):
        yield from _file_rows(path, columns, header, under, key)


def collection_rows(path: Path) -> Iterator[tuple[Place, Raw]]:
    """The rows of ColBERT's `collection.tsv`: id, text and, where the first row has three fields, title; no header."""
    check_readable(path)
    fields = 1 + next((line.count(b"\t") for _, line in lines(path)), 0)
    header = COLLECTION[: max(2, fields)]
    yield from _delimited_rows(path, "\t", header, header)


def parsed_rows(rows: Iterable[tuple[Place, Raw]]) -> Iterator[tuple[Place, Row]]:
    """The same with lines of JSON as rows: for tables that others are joined with, where a bad line is an error."""
    for place, row in rows:
        try:
            yield place, parsed(row)
        except InvalidRecord as error:
            raise InvalidRecord(f"{str(place.path)!r}, {place.unit} {place.number}: {error}") from None


def _file_rows(
    path: Path, columns: Sequence[str], header: Sequence[str], under: str | None, key: str | None
) -> Iterator[tuple[Place, Raw]]:
    check_readable(path)
    kind = suffix(path)
    if kind in PARQUET_SUFFIXES:
        yield from parquet_rows(path, columns)
    elif kind in DELIMITERS:
        yield from _delimited_rows(path, DELIMITERS[kind], columns, header)
    elif kind == ".json" and (under is not None or key is not None):
        yield from _document_rows(path, columns, under, key)
    else:
        first = True
        for place, line in json_lines(path):
            if first:
                _check_first(place, line, columns)
            first = False
            yield place, line


def _check_first(place: Place, line: Raw, columns: Sequence[str]) -> None:
    """Raise InvalidRecord where the first row lacks a column; a line that is no object is found out later."""
    try:
        row = parsed(line)
    except InvalidRecord:
        return
    check_columns(place.path, row, columns)


def _delimited_rows(
    path: Path, delimiter: str, columns: Sequence[str], header: Sequence[str]
) -> Iterator[tuple[Place, Raw]]:
    # A byte that is not UTF-8 becomes half of a surrogate pair, which marks its row as bad and no other.
    texts = (line.decode("utf-8", errors="surrogateescape") for _, line in lines(path, blanks=True))
    reader = csv.reader(texts, delimiter=delimiter, quoting=csv.QUOTE_NONE if header else csv.QUOTE_MINIMAL)
    names = list(header) or next(reader, [])
    check_columns(path, names, columns)
    number = 0
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Place(path, number, "row"), InvalidRecord(str(error))
            continue
        if fields:  # else a blank line
            yield Place(path, number, "row"), _delimited_row(fields, names)


def _delimited_row(fields: list[str], names: list[str]) -> Raw:
    if len(fields) != len(names):
        return InvalidRecord(f"{len(fields)} fields where {len(names)} are expected ({', '.join(names)})")
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return InvalidRecord("not UTF-8")
    return dict(zip(names, fields, strict=True))


def _document_rows(
    path: Path, columns: Sequence[str], under: str | None, key: str | None
) -> Iterator[tuple[Place, Raw]]:
    number = 0
    for name, value in _members(path):
        if under is not None and name != under:
            continue
        rows = value if under is not None and isinstance(value, list) else [value]
        for row in rows:
            number += 1
            place = Place(path, number, "row")
            if not isinstance(row, dict):
                raise InvalidRecord(f"{str(path)!r}, row {number} is no JSON object; is it the right file?")
            row = row if key is None else {key: name, **row}
            if number == 1:
                check_columns(path, row, columns)
            yield place, row
    if number == 0:
        what = f"holds nothing under the key {under!r}" if under is not None else "is an empty JSON object"
        raise InvalidRecord(f"{str(path)!r} {what}; is it the right file?")


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """The keys and values of a JSON object, one at a time: some knowledge bases are one object of many gigabytes."""
    decoder = json.JSONDecoder()
    try:
        with _text(path) as file:
            text = _Text(file)
            text.expect("{")
            if text.skip("}"):
                return
            while True:
                name = text.value(decoder)
                text.expect(":")
                yield str(name), text.value(decoder)
                if not text.skip(","):
                    text.expect("}")
                    return
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidRecord):
            raise
        raise InvalidRecord(f"{str(path)!r} is not a JSON object: {error}; fetch it again") from None
    except (EOFError, zlib.error, OSError) as error:
        raise InvalidRecord(f"{str(path)!r} cannot be read: {error}") from None


class _Text:
    """A window on a long text: values are cut off its front, more is read when one does not end in it."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._rest = file, ""

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The next JSON value; raises ValueError where there is none."""
        size = JSON_CHUNK
        while True:
            self._rest = self._rest.lstrip()
            try:
                value, end = decoder.raw_decode(self._rest)
            except ValueError:
                more = self._file.read(size)
                if not more:
                    raise
                size *= 2  # so that a long value is not tried again and again
                self._rest += more
                continue
            if end < len(self._rest) or not (more := self._file.read(JSON_CHUNK)):
                self._rest = self._rest[end:]
                return value
            self._rest += more  # a number might go on in what had not been read yet

    def expect(self, mark: str) -> None:
        """Cut off a mark; raises ValueError where something else stands there."""
        if not self.skip(mark):
            raise ValueError(f"{mark!r} expected, not {self._rest[:20]!r}")

    def skip(self, mark: str) -> bool:
        """Cut off a mark if it stands next."""
        self._rest = self._rest.lstrip()
        while not self._rest and (more := self._file.read(JSON_CHUNK)):
            self._rest = more.lstrip()
        found = self._rest.startswith(mark)
        self._rest = self._rest[len(mark) :] if found else self._rest
        return found


def _text(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
