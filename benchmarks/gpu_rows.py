"""What a run on a GPU was aimed at and what it found: targets, rows, the file of them and the table.

Knows the columns of results/gpu.csv.  Knows neither torch nor kernels: it runs in the process that outlives a crash.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.search_rows import Birthplace, spread, write_row

OURS = "ours, "  # and the path
TIMING = "timing"  # stands in an engine's place while several are timed in turn
TARGET_DEVICE = "H200"


@dataclass(frozen=True)
class Target:
    """What a work is aimed at.  Each pair of `parts` is a measure of ours (see `reached`) and its bound."""

    work: str
    text: str
    parts: tuple[tuple[str, float], ...]


TARGETS = (
    Target("forward 1 x 1,000 (32 x 300)", "<= 0.025 ms (published: 0.031 on an H100)", (("ms", 0.025),)),
    Target("forward 1 x 10,000 (32 x 300)", "<= 0.40 ms (published: 0.557)", (("ms", 0.40),)),
    Target("forward 1 x 10,000 pages (1,024 x 1,024)", ">= 65% of the bf16 matrix rate", (("share", 0.65),)),
    Target(
        "training 256 x 256 (320 x 512)",
        ">= 5x faster and <= 1/20 of the memory of plain torch; >= 2x torch.compile",
        (("faster than plain torch", 5.0), ("memory of plain torch", 0.05), ("faster than torch.compile", 2.0)),
    ),
    Target("PreFLMR ViT-L step", "share of MaxSim <= 3%; largest batch against plain torch", (("part", 0.03),)),
    Target("assign 10M x 65,536", ">= 60% of the bf16 matrix rate", (("share", 0.60),)),
)


@dataclass(frozen=True)
class Row:
    """One figure.  Empty where there is no such thing.

    engine: "ours, PATH", a peer, or the device itself.  median, least, most: of the repeats, in `unit`.  error: the
    largest of a score against float64, beside what is allowed.  share: of the limit (copy or matrix) measured in the
    same run.  memory_mb: most that the call held above its inputs.
    """

    work: str
    engine: str
    unit: str
    version: str = ""
    dtype: str = ""
    shape: str = ""
    repeats: int | str = ""
    median: float | str = ""
    least: float | str = ""
    most: float | str = ""
    memory_mb: float | str = ""
    limit: str = ""
    share: float | str = ""
    error: float | str = ""
    allowed: float | str = ""
    note: str = ""


@dataclass(frozen=True)
class Device:
    """What the rows were measured on."""

    device: str
    driver: str
    torch: str
    cuda: str


COLUMNS = [entry.name for kind in (Birthplace, Device, Row) for entry in fields(kind)]


def is_ours(engine: str) -> bool:
    """Whether an engine is a path of ours."""
    return engine.startswith(OURS)


def spread_ms(seconds: Sequence[float]) -> dict[str, Any]:
    """The columns of repeated times, in milliseconds to four digits."""
    return {"unit": "ms", **spread([1e3 * second for second in seconds])}


def texts(place: Birthplace, device: Device, row: Row) -> dict[str, str]:
    """The row as the file has it."""
    return {name: str(value) for name, value in {**asdict(place), **asdict(device), **asdict(row)}.items()}


def append(path: Path | None, row: Mapping[str, str]) -> None:
    """Write the row after those that are in the file."""
    write_row(path, COLUMNS, row)


def read(path: Path) -> list[dict[str, str]]:
    """All rows of the file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def newest(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Of each device, work and engine the rows of the last command that gave it any, the last of each kind."""
    last: dict[tuple[str, ...], str] = {}
    for row in rows:
        last[row["device"], row["work"], row["engine"]] = row["date"]
    kept: dict[tuple[str, ...], Mapping[str, str]] = {}
    for row in rows:
        key = (row["device"], row["work"], row["engine"])
        if last[key] == row["date"]:
            kept[*key, row["dtype"], row["unit"]] = row
    return list(kept.values())


def describe(row: Row) -> str:
    """One line for the terminal."""
    figure = "" if row.median == "" else f"{row.median:g} {row.unit} [{row.least:g} {row.most:g}]"
    memory = f" {row.memory_mb:,.0f} MB" if row.memory_mb != "" else ""
    share = f" {100 * float(row.share):.0f}% of {row.limit}" if row.share != "" else ""
    error = f" error {row.error:.2g} of {row.allowed:.2g}" if row.error != "" and row.allowed != "" else ""
    return f"{row.work:42} {row.engine:26} {row.dtype:9} {figure}{memory}{share}{error} {row.note}".rstrip()


def tables(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown: for each device what was last run on it, then its table."""
    parts, rows = [], newest(rows)
    for name in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == name]
        about = own[-1]
        driver = f"driver {about['driver']}, " if about["driver"] else ""
        parts.append(f"{name}, {driver}torch {about['torch']}, commit {about['commit']}:\n\n{table(own)}")
    return "\n\n".join(parts) or f"no figures yet\n\n{table([])}"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown: a line a target with what our paths and the peers took; then a line a figure without a target."""
    lines = ["| work | target | ours | peers, quickest first | verdict |", "|---|---|---|---|---|"]
    aimed = {target.work for target in TARGETS}
    for target in TARGETS:
        mine = [row for row in rows if row["work"] == target.work]
        ours = "; ".join(_named(row) for row in mine if is_ours(row["engine"]))
        peers = "; ".join(_named(row) for row in sorted(mine, key=_by_time) if not is_ours(row["engine"]))
        lines.append(f"| {target.work} | {target.text} | {ours} | {peers} | {verdict(target, mine)} |")
    rest = [row for row in rows if row["work"] not in aimed]
    if rest:
        lines += ["", "| measured beside | engine | type | figure |", "|---|---|---|---|"]
        lines += [f"| {row['work']} | {row['engine']} | {row['dtype']} | {_figure(row)} |" for row in rest]
    return "\n".join(lines)


def verdict(target: Target, rows: Sequence[Mapping[str, str]]) -> str:
    """Met or missed, by the better of our paths and beside the best peer; "unmeasured" where a part has no figure."""
    paths = dict.fromkeys(row["engine"] for row in rows if is_ours(row["engine"]) and row["median"])
    verdicts = [_verdict(target, path, rows) for path in paths]
    if not verdicts:
        return "unmeasured"
    best = min(verdicts, key=lambda text: (text.startswith("missed"), text.startswith("unmeasured"), text.count(",")))
    return best if TARGET_DEVICE in rows[0]["device"] else f"{best} (not on an {TARGET_DEVICE})"


def reached(measure: str, rows: Sequence[Mapping[str, str]], path: str) -> float | None:
    """What our path reached of a target's measure, None where a figure is missing.

    "ms": milliseconds.  "share": of the limit.  "part": the row whose unit is "share".  "faster than PEER", "memory of
    PEER": ratios to that peer's row; a peer that did not fit has none.
    """
    own = _timed(rows, path)
    if measure == "part":
        found = [row["median"] for row in rows if row["engine"] == path and row["unit"] == "share"]
        return float(found[-1]) if found else None
    if own is None:
        return None
    if measure in ("ms", "share"):
        text = own["median" if measure == "ms" else "share"]
        return float(text) if text else None
    column = "median" if measure.startswith("faster than ") else "memory_mb"
    peer = _timed(rows, measure.removeprefix("faster than ").removeprefix("memory of "))
    if peer is None or not peer[column] or not own[column]:
        return None
    ratio = float(own[column]) / float(peer[column])
    return 1 / ratio if column == "median" else ratio


def _verdict(target: Target, path: str, rows: Sequence[Mapping[str, str]]) -> str:
    missed, unknown = [], []
    for measure, bound in target.parts:
        value = reached(measure, rows, path)
        least = measure == "share" or measure.startswith("faster")
        if value is None:
            unknown.append(measure)
        elif (value < bound) if least else (value > bound):
            missed.append(f"{measure} {value:.3g}")
    own = _timed(rows, path)
    quicker = [
        f"{row['engine']} is quicker"
        for row in rows
        if own and not is_ours(row["engine"]) and row["unit"] == "ms" and _by_time(row) < _by_time(own)
    ]
    if missed or quicker:
        return "missed: " + ", ".join(missed + quicker)
    return f"unmeasured: {', '.join(unknown)}" if unknown else "met"


def _timed(rows: Sequence[Mapping[str, str]], engine: str) -> Mapping[str, str] | None:
    found = [row for row in rows if row["engine"] == engine and row["unit"] == "ms" and row["median"]]
    return found[-1] if found else None


def _by_time(row: Mapping[str, str]) -> float:
    return float(row["median"]) if row["unit"] == "ms" and row["median"] else float("inf")


def _named(row: Mapping[str, str]) -> str:
    return f"{row['engine'].removeprefix(OURS)} {_figure(row)}"


def _figure(row: Mapping[str, str]) -> str:
    figure = f"{float(row['median']):g} {row['unit']}" if row["median"] else ""
    share = f"{100 * float(row['share']):.0f}% of {row['limit']}" if row["share"] else ""
    memory = f"{float(row['memory_mb']):,.0f} MB" if row["memory_mb"] else ""
    return ", ".join(part for part in (figure, share, memory, row["note"]) if part)
