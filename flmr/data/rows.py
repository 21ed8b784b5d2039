"""JSONL and Parquet files as numbered rows, and rows as records; a bad row is skipped, or stops a strict read.

Knows file types, encodings and what to do with a bad row.  Knows no column and no record.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from flmr.data.report import ReadReport, Skipped
from flmr.errors import InvalidInput, InvalidRecord

log = logging.getLogger(__name__)

Row = dict[str, Any]

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


def read_records(
    path: Path, kind: str, make: Callable[[Row], R], *, strict: bool, report: ReadReport | None
) -> Iterator[R]:
    """Records of a JSONL (also .gz) or Parquet file, in order; `make` turns a row into one or raises InvalidRecord.

    kind: the plural that errors call the records by.  A bad row, or one whose id an earlier row has, raises
    InvalidRecord if strict; else it is added to the report (where there is none, one warning is logged at the end).
    Raises InvalidRecord at once where the file is missing or of another type, at the end where no row could be read.
    The ids are remembered: about 150 bytes a record.
    """
    check_file(path, f"{kind} are read from", (*JSON_SUFFIXES[:2], *PARQUET_SUFFIXES[:1]), also=JSON_SUFFIXES)
    return _read(path, kind, make, strict, report)


def _read(path: Path, kind: str, make: Callable[[Row], R], strict: bool, report: ReadReport | None) -> Iterator[R]:
    counts = ReadReport() if report is None else report
    read_before, skipped_before = counts.read, len(counts.skipped)
    unit = "row" if _suffix(path) in PARQUET_SUFFIXES else "line"
    first_use: dict[str, int] = {}
    for number, row in _parquet_rows(path) if unit == "row" else _json_lines(path):
        try:
            record = make(parse_json(row) if isinstance(row, bytes) else row)
            if first_use.setdefault(record.id, number) != number:
                raise InvalidRecord(f"id {record.id!r} stands on {unit} {first_use[record.id]} already")
        except (InvalidRecord, InvalidInput) as error:
            if strict:
                raise InvalidRecord(f"{str(path)!r}, {unit} {number}: {error}") from None
            counts.skipped.append(Skipped(number, str(error), unit))
            continue
        counts.read += 1
        yield record
    finish(path, kind, counts, read_before, skipped_before, heard=report is not None)


def finish(path: Path, kind: str, counts: ReadReport, read_before: int, skipped_before: int, *, heard: bool) -> None:
    """Raise InvalidRecord where every row of a file was bad; warn where some were and no one asked for the report."""
    skipped = counts.skipped[skipped_before:]
    if not skipped:
        return
    if counts.read == read_before:
        raise InvalidRecord(f"{str(path)!r} holds no {kind}: none of {len(skipped):,} could be read ({skipped[0]})")
    if not heard:
        log.warning("%r: %s", str(path), ReadReport(counts.read - read_before, skipped))


def check_file(path: Path, read_from: str, suffixes: tuple[str, ...], *, also: tuple[str, ...] = ()) -> None:
    """Raise InvalidRecord unless the path is a readable file of an expected type; `also` is taken but not proposed."""
    if _suffix(path) not in (*suffixes, *also, *(".pq" if ".parquet" in suffixes else "",)):
        kind = {".csv": "CSV", ".tsv": "tab-separated", ".xlsx": "Excel", ".xml": "XML"}.get(_suffix(path))
        what = f"is {kind}" if kind else f"has the unknown ending {_suffix(path)!r}"
        raise InvalidRecord(f"{str(path)!r} {what}; {read_from} {', '.join(suffixes)}: convert it first")
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


def _suffix(path: Path) -> str:
    """The ending that tells the type, in lower case and without `.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file that are not blank, without BOM and line end, numbered from 1; `.gz` is unpacked.

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
                if line := line.strip(b" \t\r\n"):
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRecord(f"{str(path)!r} is not a whole gzip file ({error}); fetch or pack it again") from None
    except InvalidRecord:
        raise
    except OSError as error:
        raise InvalidRecord(f"{str(path)!r} cannot be read: {error.strerror or error}") from None


def _binary(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    for i, (number, line) in enumerate(lines(path)):
        if i == 0 and line.startswith(b"["):  # its last object may stand on a line of its own and look like a record
            raise InvalidRecord(
                f"{str(path)!r} holds a JSON array; write one object a line, without brackets and commas"
            )
        yield number, line


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


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a Parquet file, numbered from 1, some thousand at a time in memory."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidRecord(f"{str(path)!r} is not a whole Parquet file: {error}") from None
