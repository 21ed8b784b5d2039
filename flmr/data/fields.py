"""Columns under their various names as the fields of a record, each checked.

Knows the types that a field may have in JSON and Parquet.  Knows no file and no particular record.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flmr.data.rows import Row
from flmr.errors import InvalidRecord
from flmr.records import ImageSource, Region

# Keys under which some layouts (BEIR) nest their metadata.
NESTED = ("metadata", "meta")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|data:")


def take(row: Row, names: tuple[str, ...]) -> Any:
    """Remove and return the first of the names that the row has; None where it has none.  The others stay."""
    for name in names:
        if name in row:
            return row.pop(name)
    return None


def _name_in(row: Row, names: tuple[str, ...]) -> str:
    """Under which of its names the row has a field: for errors, which name what the file names."""
    return next((name for name in names if name in row), names[0])


def take_id(row: Row, names: tuple[str, ...]) -> str:
    """An id: a string as it is, a whole number as its decimal digits."""
    if not any(name in row for name in names):
        raise InvalidRecord(f"no id; give one of the keys {_listed(names)}")
    return as_id(take(row, names))


def as_id(value: Any) -> str:
    """An id: a non-empty string as it is, a whole number as its decimal digits."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRecord(f"an id must be a string or a whole number, not {_shown(value)}")
    if not value.strip():
        raise InvalidRecord("an id must not be empty")
    return value


def take_text(row: Row, names: tuple[str, ...]) -> str:
    """A string; absent or null is the empty one."""
    name, value = _name_in(row, names), take(row, names)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRecord(f"{name} must be a string, not {_shown(value)}")
    return value


def take_image(row: Row, names: tuple[str, ...], folder: Path) -> ImageSource | None:
    """A picture: a path relative to the folder, or bytes (also {bytes, path}); absent or empty is None."""
    name, value = _name_in(row, names), take(row, names)
    if isinstance(value, Mapping) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if value is None or value == "" or value == b"":
        return None
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InvalidRecord(f"{name} must be a path, not {_shown(value)}")
    return value if URL.match(value) else folder / value


def take_strings(row: Row, names: tuple[str, ...], *, ids: bool = False) -> tuple[str, ...]:
    """A list of strings or numbers, or a single one; absent or null is the empty list; repeats are dropped."""
    name, value = _name_in(row, names), take(row, names)
    items = [] if value is None else value if isinstance(value, list) else [value]
    strings = []
    for item in items:
        if ids:
            strings.append(as_id(item))
        elif isinstance(item, str) or (isinstance(item, int | float) and not isinstance(item, bool)):
            strings.append(str(item))
        else:
            raise InvalidRecord(f"{name} must hold strings, not {_shown(item)}")
    return tuple(dict.fromkeys(strings))


def take_regions(row: Row, names: tuple[str, ...]) -> tuple[Region, ...]:
    """Parts of a picture, a list of [left, top, right, bottom] in fractions of its sides; absent or null is none."""
    name, value = _name_in(row, names), take(row, names)
    try:
        return tuple(Region(*(float(side) for side in box)) for box in value or ())
    except (TypeError, ValueError) as error:  # what is no list, no number, or no region
        raise InvalidRecord(f"{name} must hold [left, top, right, bottom] in fractions of the image: {error}") from None


def take_meta(row: Row) -> dict[str, Any]:
    """All that is left in a row, the keys of a nested `metadata` (or `meta`) object beside the others."""
    meta = {key: value for key, value in row.items() if not (key in NESTED and isinstance(value, Mapping))}
    meta.pop("__index_level_0__", None)  # the row labels that pandas writes into Parquet
    for nested in NESTED:
        inner = row.get(nested)
        if isinstance(inner, Mapping):
            for key, value in inner.items():
                if key in meta and meta[key] != value:
                    raise InvalidRecord(f"key {key!r} has one value in {nested!r} and another outside of it")
                meta[key] = value
    return {key: _plain(value, key) for key, value in meta.items()}


def _plain(value: Any, key: str) -> Any:
    """What JSON can say: dates become ISO text, decimals floats, and Parquet's NaN, which stands for missing, None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v, key) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, key) for v in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise InvalidRecord(
        f"metadata {key!r} is of type {type(value).__name__}; keep text, numbers, lists or objects there"
    )


def _listed(names: tuple[str, ...]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
