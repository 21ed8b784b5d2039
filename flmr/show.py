"""Results for people, as lines and tables on a terminal, and for programs, as JSON documents.

Knows rich and how records look in a few lines.  Knows no index and no model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flmr.build import Account
from flmr.evaluate import Report
from flmr.measure import Measured
from flmr.records import Hit, Query

RECALLS = {"strict_recall": "strict recall", "pseudo_recall": "pseudo recall", "set_recall": "set recall"}
INTERVAL = {"strict_recall": ("95%",), "pseudo_recall": ("95%",), "set_recall": ()}  # set recall is no rate
CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")
EMPTY: tuple[Any, ...] = (None, "", [], {}, ())
LOG_WIDTH = 120  # outside a terminal rich would assume 80 columns and fold tables


class _Console(Console):
    """A console that lets the caller know when nobody reads any more, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that rich is handling when it calls this


def console(*, stderr: bool = False) -> Console:
    """A console for results (stdout) or for messages (stderr)."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(file=stream, width=None if stream.isatty() else LOG_WIDTH, highlight=False)


def warn(message: str) -> None:
    """One warning line on stderr."""
    console(stderr=True).print(Text.assemble(("warning: ", "yellow"), message), soft_wrap=True)


def skipped(lines: Iterable[object], unreadable: Mapping[str, str], what: str) -> None:
    """Warn of what was left out: the first few by number or name with their reasons, and the count of all."""
    named = ((f"{what} {name!r}: ", reason) for name, reason in unreadable.items())  # an encoder names it itself
    reasons = [*map(str, lines), *(name + reason.removeprefix(name) for name, reason in named)]
    for reason in reasons[:5]:
        warn(reason)
    if len(reasons) > 5:
        warn(f"and {len(reasons) - 5:,} more; {len(reasons):,} in all")


def show_hits(out: Console, hits: Sequence[Hit], *, marked: frozenset[str] = frozenset(), lines: int = 2) -> None:
    """Ranked passages, a few lines each; the ids in `marked` (the right ones, where known) carry a tick."""
    if not hits:
        out.print("  [dim]nothing found[/dim]")
    for hit in hits:
        title = printable((hit.passage.title if hit.passage else "") or hit.id)
        tick = ("✓ ", "bold green") if hit.id in marked else ""
        number = (f"{hit.rank:>3}  ", "bold")
        out.print(
            Text.assemble(
                number, (f"{hit.score:8.3f}  ", "cyan"), tick, (title, "bold"), (f"  {printable(hit.id)}", "dim")
            )
        )
        width = max(out.width - 17, 40)  # two for the sign that there is more
        text = " ".join(printable(hit.passage.text).split()) if hit.passage else ""
        wrapped = [line.plain.rstrip() for line in Text(text[: (lines + 1) * width]).wrap(out, width)] if text else []
        if len(wrapped) > lines:
            wrapped[lines - 1 :] = [f"{wrapped[lines - 1]} …"]
        for line in wrapped:
            out.print(Text(" " * 15 + line), soft_wrap=True)


def printable(text: str) -> str:
    """The text with blanks for what would command a terminal: passages come from anywhere."""
    return text.translate(CONTROLS)


def show_run(out: Console, run: Mapping[str, Sequence[tuple[str, float]]], path: Path | None, first: int = 3) -> None:
    """Where a run was written, or the first hits of each of its questions."""
    if path is not None:
        out.print(f"wrote {path}: {len(run):,} questions, {sum(map(len, run.values())):,} hits", soft_wrap=True)
        return
    for query, hits in run.items():
        best = "  ".join(f"{printable(name)} {score:.3f}" for name, score in hits[:first])
        out.print(Text.assemble((printable(query), "bold"), "  ", best or "nothing found"), soft_wrap=True)


def hit_document(hit: Hit) -> dict[str, Any]:
    """A hit as JSON: the passage's fields beside id, score and rank."""
    document: dict[str, Any] = {"id": hit.id, "score": hit.score, "rank": hit.rank}
    if hit.passage is not None:
        passage = hit.passage
        image = str(passage.image) if isinstance(passage.image, str | Path) else None
        document |= {"title": passage.title, "text": passage.text, "image": image, "meta": dict(passage.meta)}
    return document


def query_document(query: Query) -> dict[str, Any]:
    """A query as JSON."""
    image = str(query.image) if isinstance(query.image, str | Path) else None
    document: dict[str, Any] = {"text": query.text, "image": image, "instruction": query.instruction}
    if query.regions:
        document["regions"] = [[r.left, r.top, r.right, r.bottom] for r in query.regions]
    return document


def account_document(account: Account) -> dict[str, Any]:
    """What became of the passages, as JSON."""
    return {
        "encoded": account.encoded,
        "skipped_lines": [str(line) for line in account.lines.skipped],
        "unreadable_images": account.unreadable,
    }


def show_query(out: Console, query: Query) -> None:
    """The question as one line: its words, and the picture it is about."""
    name = str(query.image) if isinstance(query.image, str | Path) else "a picture"
    picture = (f"  [{name}]", "dim") if query.image is not None else ""
    out.print(
        Text.assemble(("? ", "bold magenta"), (printable(query.text).strip() or "(picture alone)", "bold"), picture),
        soft_wrap=True,
    )


def show_measures(out: Console, measured: Sequence[Measured]) -> None:
    """Each question set: strict and pseudo recall side by side with their chance levels, then the rest, then groups."""
    for one in measured:
        report = one.report
        values = {row.measure: row.value for row in report.rows}
        ks = [
            k for name in values if (k := name.removeprefix("strict_recall@").removeprefix("pseudo_recall@")).isdigit()
        ]
        ks = list(dict.fromkeys(ks))
        kinds = [kind for kind in RECALLS if f"{kind}@{ks[0]}" in values]
        if "set_recall" in kinds and all(values.get(f"set_recall@{k}") == values.get(f"strict_recall@{k}") for k in ks):
            kinds.remove("set_recall")  # with one positive a question the two are the same
        columns = ["", *(part for kind in kinds for part in (RECALLS[kind], *INTERVAL[kind], "chance"))]
        rows = [[f"@{k}", *(part for kind in kinds for part in _recall(report, f"{kind}@{k}"))] for k in ks]
        corpus = f"{report.num_queries:,} questions over {report.num_passages or 0:,} passages"
        blocks = [len(INTERVAL[kind]) + 2 for kind in kinds]
        show_table(out, columns, rows, title=f"{one.name}: {corpus}", blocks=blocks)
        published = str(one.labels.get("published_measure", ""))
        facts = {"published with": f"{published}, here {_cell(values.get(published))}"} if published else {}
        facts |= {
            row.measure: f"{row.value:.4f}  (chance {_cell(row.chance)})"
            for row in report.rows
            if row.measure.partition("@")[0] not in RECALLS
        }
        if one.against_exact:
            facts["of the exact search's hits"] = _cell(one.against_exact)
        facts["unreadable pictures, counted as misses"] = str(len(one.unreadable))
        facts["seconds"] = f"{one.encode_s:.1f} encoding, {one.search_s:.1f} searching"
        show_facts(out, facts)
        if one.groups:
            names = [name for name in values if not name.startswith("set_recall")]
            short = [name.replace("strict_recall", "R").replace("pseudo_recall", "PR") for name in names]
            groups = [
                [group, part.num_queries, *(_value(part, name) for name in names)] for group, part in one.groups.items()
            ]
            title = "by group (R strict recall, PR pseudo recall)"
            show_table(out, ["", "questions", *short], groups, title=title, digits=3)
        for note in report.notes:
            out.print(f"note: {note}")
        out.print()


def show_control(out: Console, measured: Measured, control: Measured, groups: Mapping[str, str]) -> None:
    """Recall of a question set beside that of its control, of chance and of its groups by name, a column a cut-off."""
    ks = [row.measure.partition("@")[2] for row in measured.report.rows if row.measure.startswith("strict_recall@")]
    rows: list[list[Any]] = []
    chances = {row.measure: row.chance for row in measured.report.rows}
    for kind in ("strict_recall", "pseudo_recall"):
        words = kind.replace("_", " ")
        for one in (measured, control):
            rows.append([f"{words}, {one.name}", *(_value(one.report, f"{kind}@{k}") for k in ks)])
        rows.append([f"{words}, by chance", *(chances.get(f"{kind}@{k}") for k in ks)])
        for group, name in groups.items():
            report = measured.groups[group]
            asked = f"{words}, {report.num_queries:,} {name}"
            rows.append([asked, *(_value(report, f"{kind}@{k}") for k in ks)])
    report = measured.report
    title = f"{report.num_queries:,} held-out questions over {report.num_passages or 0:,} passages"
    show_table(out, ["", *(f"@{k}" for k in ks)], rows, title=title)


def _recall(report: Report, measure: str) -> list[Any]:
    row = next(row for row in report.rows if row.measure == measure)
    interval = [] if row.low is None else [f"{row.low:.3f} - {row.high:.3f}"]
    return [row.value, *interval, row.chance]


def _value(report: Report, measure: str) -> float | None:
    return next((row.value for row in report.rows if row.measure == measure), None)


def show_facts(out: Console, facts: Mapping[str, Any]) -> None:
    """A name and its value a line; what is empty is left out."""
    width = max((len(name) for name in facts), default=0) + 2
    for name, value in facts.items():
        if value not in EMPTY:
            out.print(Text.assemble((f"{name.replace('_', ' '):<{width}}", "dim"), _cell(value)), soft_wrap=True)


def show_table(
    out: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str = "",
    digits: int = 4,
    blocks: Sequence[int] = (),
) -> None:
    """A table whose first column is words and whose others are numbers.

    What is too wide is shown in parts, each beside the words.  blocks: how many columns stay together, in their order.
    """
    if title:
        out.print(Text(title, "bold"), soft_wrap=True)
    cells = [[_cell(value, digits) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) + 2 for column in zip(columns, *cells, strict=True)]
    for part in _parts(widths, blocks or [1] * (len(columns) - 1), out.width):
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(columns[0], no_wrap=True)
        for number in part:
            table.add_column(columns[number], justify="right", no_wrap=True)
        for row in cells:
            table.add_row(row[0], *(row[number] for number in part))
        out.print(table)


def _parts(widths: Sequence[int], blocks: Iterable[int], width: int) -> list[list[int]]:
    """The numbers of the columns, in as many parts as they need to stand beside the first one, blocks undivided."""
    parts: list[list[int]] = [[]]
    start = 1
    for size in blocks:
        block = [*range(start, start + size)]
        start += size
        if parts[-1] and sum(widths[number] for number in (0, *parts[-1], *block)) - 2 > width:
            parts.append([])
        parts[-1] += block
    return parts


def _cell(value: Any, digits: int = 4) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items() if item not in EMPTY)
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return str(value)
