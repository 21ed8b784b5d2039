"""A number has a birthplace: a report with the commit, command, machine and date of its measurement, as a row.

Knows JSON Lines, CSV and how to ask git.  Knows no measure.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flmr.errors import InvalidInput, StorageError
from flmr.evaluate.report import Report

UNKNOWN = "unknown"


def write_result(
    path: str | Path,
    report: Report,
    *,
    command: str,
    commit: str | None = None,
    labels: Mapping[str, str | int | float] | None = None,
) -> dict[str, Any]:
    """Append a report to `path` and return its row: `.jsonl` takes one line a report, `.csv` one line a measure.

    commit: by default the one that this package is checked out at.  labels: what else tells this row from others
    (system, split, seed).  Raises InvalidInput where the ending is another, a label has the name of a column, or a CSV
    file has other columns; StorageError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".csv"):
        raise InvalidInput(f"results are written to .jsonl or .csv, not {path.name!r}")
    birthplace = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": find_commit() if commit is None else commit,
        "command": command,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    labels = dict(labels or {})
    facts = report.to_dict()
    measures = facts.pop("rows")
    taken = labels.keys() & {*birthplace, *facts, *(measures[0] if measures else {}), "measures"}
    if taken:
        raise InvalidInput(f"a label must not be called {', '.join(sorted(taken))}; that is a column already")
    row = {**birthplace, **labels, **facts, "measures": measures}
    if path.suffix == ".jsonl":
        text = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = _csv_lines(path, [{**birthplace, **labels, **measure} for measure in measures])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"result {str(path)!r} cannot be written: {error.strerror or error}") from None
    return row


def find_commit(folder: Path | None = None) -> str:
    """The commit that a folder (by default this package) is checked out at, `+changes` where its tracked files differ.

    "unknown" where git does not track the folder (an installed package is of no known commit) or is not there.
    """
    folder = Path(__file__).parent if folder is None else folder
    if not _git(folder, "ls-files", "."):
        return UNKNOWN
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return UNKNOWN
    return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else commit


def _git(folder: Path, *arguments: str) -> str:
    """What git prints, without the last line end; empty where it fails or is not installed."""
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _csv_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows as CSV, after a header where the file is new; its columns must be the same where it is not."""
    columns = list(rows[0]) if rows else []
    header = None
    if path.exists() and path.stat().st_size:
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        if header != columns:
            raise InvalidInput(
                f"{str(path)!r} has the columns {', '.join(header)}; a row of {', '.join(columns)} needs another file"
            )
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header is None:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
