"""JSONL and Parquet files as numbered rows, and rows as records; a bad row is skipped, or stops a strict read.

Knows file types, encodings and what to do with a bad row.  Knows no column and no record.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from flmr.data.report import ReadReport, Skipped
from flmr.errors import InvalidInput, InvalidRecord

log = logging.getLogger(__name__)

Row = dict[str, Any]
Raw = Row | bytes | InvalidRecord  # a row, the line of JSON that it still is, or why it cannot be one

# One record a line: a longer line is some other file (a JSON array, a binary), which would be read into memory whole.
MAX_LINE_BYTES = 64 << 20
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")


class HasId(Protocol):
    """A record with an id."""

    @property
    def id(self) -> str:
        """The id of the record."""
        ...


R = TypeVar("R", bound=HasId)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its file, and its number there, counted from 1 in lines of text or rows of a table."""

    path: Path
    number: int
    unit: str = "line"


@dataclass(frozen=True)
class Source:
    """Rows of one or more files, and how each becomes the rows of records.

    shape: what a row stands for: one record, several, or none.
    name: what errors call all of it.  distinct: false where an id may come again, and its first row counts.
    """

    rows: Iterable[tuple[Place, Raw]]
    name: str
    shape: Callable[[Row], Iterable[Row]] = lambda row: (row,)
    distinct: bool = True


def read_records(
    path: Path, kind: str, make: Callable[[Row], R], *, strict: bool, report: ReadReport | None
) -> Iterator[R]:
    """Records of a JSONL (also .gz) or Parquet file, in order; `make` turns a row into one or raises InvalidRecord.

    Raises InvalidRecord at once where the file is missing or of another type, and what `read_source` raises.
    """
    check_file(path, f"{kind} are read from", (*JSON_SUFFIXES[:2], *PARQUET_SUFFIXES[:1]), also=JSON_SUFFIXES)
    rows = parquet_rows(path) if suffix(path) in PARQUET_SUFFIXES else json_lines(path)
    return read_source(Source(rows, str(path)), kind, make, strict=strict, report=report)


def read_source(
    source: Source, kind: str, make: Callable[[Row], R], *, strict: bool, report: ReadReport | None
) -> Iterator[R]:
    """Records of a source, in order; `make` turns a row into one or raises InvalidRecord.

    kind: the plural that errors call the records by.  A bad row, or one whose id an earlier row has, raises
    InvalidRecord if strict; else it is added to the report (where there is none, one warning is logged at the end).
    Raises InvalidRecord at the end where no row could be read.
    The ids are remembered: about 180 bytes a record.
    """
    counts = ReadReport() if report is None else report
    read_before, skipped_before = counts.read, len(counts.skipped)
    first_use: dict[str, Place] = {}
    for place, row in source.rows:
        try:
            records = [
                record
                for record in map(make, source.shape(parsed(row)))
                if _is_new(record, place, first_use, source.distinct)
            ]
        except (InvalidRecord, InvalidInput) as error:
            if strict:
                raise InvalidRecord(f"{str(place.path)!r}, {place.unit} {place.number}: {error}") from None
            counts.skipped.append(Skipped(place.number, str(error), _unit(place, source)))
            continue
        counts.read += len(records)
        yield from records
    finish(source.name, kind, counts, read_before, skipped_before, heard=report is not None)


def _is_new(record: HasId, place: Place, first_use: dict[str, Place], distinct: bool) -> bool:
    """Whether the id is; raises InvalidRecord where it is not and should be."""
    first = first_use.get(record.id)
    if first is None:
        first_use[record.id] = place
    elif distinct:
        where = "" if first.path == place.path else f" of {first.path.name!r}"
        raise InvalidRecord(f"id {record.id!r} stands on {first.unit} {first.number}{where} already")
    return first is None


def _unit(place: Place, source: Source) -> str:
    """What a line number counts; the file is named where there may be several."""
    return place.unit if str(place.path) == source.name else f"{place.path.name}, {place.unit}"


def finish(name: str, kind: str, counts: ReadReport, read_before: int, skipped_before: int, *, heard: bool) -> None:
    """Raise InvalidRecord where every row of a source was bad; warn where some were and no one asked for the report."""
    skipped = counts.skipped[skipped_before:]
    if not skipped:
        return
    if counts.read == read_before:
        raise InvalidRecord(f"{name!r} holds no {kind}: none of {len(skipped):,} could be read ({skipped[0]})")
    if not heard:
        log.warning("%r: %s", name, ReadReport(counts.read - read_before, skipped))


def check_file(path: Path, read_from: str, suffixes: tuple[str, ...], *, also: tuple[str, ...] = ()) -> None:
    """Raise InvalidRecord unless the path is a readable file of an expected type; `also` is taken but not proposed."""
    if suffix(path) not in (*suffixes, *also, *(".pq" if ".parquet" in suffixes else "",)):
        kind = {".csv": "CSV", ".tsv": "tab-separated", ".xlsx": "Excel", ".xml": "XML"}.get(suffix(path))
        what = f"is {kind}" if kind else f"has the unknown ending {suffix(path)!r}"
        what, remedy = ("is a folder", "name a file in it") if path.is_dir() else (what, "convert it first")
        raise InvalidRecord(f"{str(path)!r} {what}; {read_from} {', '.join(suffixes)}: {remedy}")
    check_readable(path)


def check_readable(path: Path) -> None:
    """Raise InvalidRecord unless the path is an ordinary file that may be read."""
    try:
        if not path.exists():
            raise InvalidRecord(f"{str(path)!r} does not exist; check the path (it starts at {str(Path.cwd())!r})")
        if not path.is_file():
            raise InvalidRecord(f"{str(path)!r} is not a file; name the file itself")
        path.open("rb").close()
    except OSError as error:
        raise InvalidRecord(f"{str(path)!r} cannot be read: {error.strerror or error}") from None


def check_columns(path: Path, there: Iterable[str], needed: Iterable[str]) -> None:
    """Raise InvalidRecord naming the columns that a file lacks and those that it has."""
    there = list(there)
    missing = [column for column in needed if column not in there]
    if missing:
        raise InvalidRecord(
            f"{str(path)!r} has no column {' or '.join(map(repr, missing))}; it has"
            f" {', '.join(map(repr, there)) or 'none'}"
        )


def suffix(path: Path) -> str:
    """The ending that tells the type, in lower case and without `.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def lines(path: Path, *, blanks: bool = False) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file that are not blank, without BOM and line end, numbered from 1; `.gz` is unpacked.

    blanks: every line just as it is, but for the BOM.

    Raises InvalidRecord where the file cannot be read to its end, is UTF-16, or has a line of more than 64 MiB.
    """
    try:
        with _binary(path) as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise InvalidRecord(f"{str(path)!r} is UTF-16; save it as UTF-8")
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidRecord(f"{str(path)!r}, line {number} is longer than 64 MiB; write one record a line")
                if blanks or (line := line.strip(b" \t\r\n")):
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRecord(f"{str(path)!r} is not a whole gzip file ({error}); fetch or pack it again") from None
    except InvalidRecord:
        raise
    except OSError as error:
        raise InvalidRecord(f"{str(path)!r} cannot be read: {error.strerror or error}") from None


def _binary(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def json_lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """The lines of a JSONL file that are not blank; raises InvalidRecord where it holds a JSON array."""
    for i, (number, line) in enumerate(lines(path)):
        if i == 0 and line.startswith(b"["):  # its last object may stand on a line of its own and look like a record
            raise InvalidRecord(
                f"{str(path)!r} holds a JSON array; write one object a line, without brackets and commas"
            )
        yield Place(path, number), line


def parsed(raw: Raw) -> Row:
    """The row itself; raises InvalidRecord where it is none."""
    if isinstance(raw, InvalidRecord):
        raise raw
    return parse_json(raw) if isinstance(raw, bytes) else raw


def parse_json(line: bytes) -> Row:
    """The object on one line of JSONL; raises InvalidRecord with the reason where it is none."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"not UTF-8 (byte {error.start + 1} of the line)") from None
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidRecord(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise InvalidRecord("not JSON of a usable depth: too many nested brackets") from None
    except ValueError as error:  # integers of more digits than Python converts
        raise InvalidRecord(f"not usable JSON: {error}") from None
    if not isinstance(row, dict):
        raise InvalidRecord(f"a JSON {_json_name(row)}, not an object; write one object a line")
    if "\\ud" in text.lower():
        _check_surrogates(row)
    return row


def _no_constant(name: str) -> None:
    raise InvalidRecord(f"{name} is not JSON; write null")


def _json_name(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names[type(value)]


def _check_surrogates(row: Row) -> None:
    """Half of a surrogate pair is a legal JSON escape but no character: it could never be stored."""
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRecord("half of a surrogate pair (\\ud800 to \\udfff) is not a character") from None


def parquet_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[Place, Row]]:
    """The rows of a Parquet file, some thousand at a time in memory; raises InvalidRecord where a column is missing."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            check_columns(path, file.schema_arrow.names, columns)
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield Place(path, number, "row"), row
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidRecord(f"{str(path)!r} is not a whole Parquet file: {error}") from None
