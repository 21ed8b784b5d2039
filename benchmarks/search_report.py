"""What the rows say: a plot of recall against latency, and tables in Markdown.

    python -m benchmarks.search_report [--set d5k] [--by cpu_ms]     prints the tables and draws the plot

Knows benchmarks/results/search.csv; measures nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.search_rows import read
from benchmarks.search_workers import ENGINES, OURS, ROOT

Record = dict[str, str]

SAMPLED = " + sample"
AXES = {"median": "ms a query (median)", "cpu_ms": "ms of the core a query"}


def draw(rows: Path, figure: Path, by: str = "median") -> None:
    """One panel a set, number of query rows and k: recall against milliseconds on one thread, a line an engine.

    Bars are the least and the most of the repeats; the large mark is the engine's default.  by: a column of AXES; the
    core's milliseconds have no bars, and say more than the clock where the machine was busy with other things.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [row for row in read(rows) if row["work"] == "search" and row["threads"] == "1" and row["recall"]]
    engines = {_panel(row): {other["engine"] for other in found if _panel(other) == _panel(row)} for row in found}
    shown = [panel for panel, names in engines.items() if len(names) > 1]  # one alone is a line in the table
    panels = sorted(shown, key=lambda panel: (_size(found, panel), panel[1], int(panel[2])))
    if not panels:
        return
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    plot, axes = pyplot.subplots(lines, columns, figsize=(4.4 * columns, 3.9 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(axis, [row for row in found if _panel(row) == panel], by)
    named = [axis.get_legend_handles_labels() for axis in axes.flat]
    handles = dict(pair for drawn, labels in named for pair in zip(labels, drawn, strict=True))
    beside = 2 * columns
    below = 0.1 + 0.18 * -(-len(handles) // beside)  # inches of the legend
    plot.legend(handles.values(), handles.keys(), loc="lower center", ncol=beside, fontsize=8, frameon=False)
    newest = max(found, key=lambda row: row["date"])
    machine = newest["machine"].split(",")
    plot.suptitle(f"1 thread of {machine[0]} ({machine[-1].strip()}), {newest['date'][:10]}", fontsize=9)
    plot.tight_layout(rect=(0, below / plot.get_figheight(), 1, 0.99))
    figure.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(figure, dpi=110)
    pyplot.close(plot)


def _draw_panel(axis: Any, rows: Sequence[Record], by: str) -> None:
    from matplotlib.ticker import FormatStrFormatter, NullFormatter

    name, _, k = _panel(rows[0])
    axis.set_title(f"{name}: {int(rows[0]['documents']):,} documents, {rows[0]['query_rows']} query rows", fontsize=9)
    colours = _colours()
    for engine in ENGINES:
        own = sorted((row for row in rows if row["engine"] == engine), key=lambda row: float(row[by]))
        if not own:
            continue
        middle, recalls = [float(row[by]) for row in own], [float(row["recall"]) for row in own]
        least = [at - float(row["least"]) for at, row in zip(middle, own, strict=True)]
        most = [float(row["most"]) - at for at, row in zip(middle, own, strict=True)]
        spreads = [least, most] if by == "median" else None
        ours = engine in OURS
        line = "--" if not ours else "-" if engine.endswith(SAMPLED) else ":"
        style = {"color": colours[engine], "linewidth": 1.8 if ours else 1.0, "linestyle": line}
        bars = axis.errorbar(middle, recalls, xerr=spreads, marker=".", markersize=4, label=engine, **style)
        default = [at for at, row in enumerate(own) if row["setting"] == "default"]
        axis.plot(
            [middle[at] for at in default],
            [recalls[at] for at in default],
            "o",
            markersize=7,
            color=bars[0].get_color(),
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(AXES[by], fontsize=8)
    axis.set_ylabel(f"recall@{k}", fontsize=8)
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)


def _colours() -> dict[str, Any]:
    """Ours from yellow to red, the same where it was shown a sample; the others as they come."""
    from matplotlib import colormaps

    others = [name for name in ENGINES if name not in OURS]
    kinds = list(dict.fromkeys(name.removesuffix(SAMPLED) for name in OURS))
    hue = {kind: colormaps["YlOrRd"](0.35 + 0.65 * place / len(kinds)) for place, kind in enumerate(kinds)}
    warm = {name: hue[name.removesuffix(SAMPLED)] for name in OURS}
    cold = ("tab:blue", "tab:green", "tab:purple", "tab:cyan", "tab:gray", "black", "tab:brown")
    return warm | dict(zip(others, cold, strict=True))


def _panel(row: Record) -> tuple[str, str, str]:
    return row["set"], row["queries"], row["k"]


def _size(rows: Sequence[Record], panel: tuple[str, str, str]) -> int:
    return next(int(row["documents"]) for row in rows if _panel(row) == panel)


def table(rows: Sequence[Record], name: str) -> str:
    """The tables of one set: searches at the default settings (ours also exact), and all that is not a search."""
    own = [row for row in rows if row["set"] == name]
    parts = [_searches([row for row in own if row["work"] in ("search", "batch")]), _costs(own)]
    return "\n\n".join(part for part in parts if part)


def _searches(rows: Sequence[Record]) -> str:
    """Milliseconds, in brackets those of all cores together, and recall of each engine; batches in queries a second."""
    columns = sorted({(row["work"], int(row["query_rows"]), int(row["k"]), int(row["threads"])) for row in rows})
    columns = sorted(columns, key=lambda column: (column[0] != "search", *column[1:]))
    titles = [
        f"{rows_} rows, k={k}, {threads}t{', q/s' if work == 'batch' else ''}" for work, rows_, k, threads in columns
    ]

    def cell(engine: str, setting: str, column: tuple[str, int, int, int]) -> str:
        for row in rows:
            work, place = row["work"], (int(row["query_rows"]), int(row["k"]), int(row["threads"]))
            if (row["engine"], row["setting"], (work, *place)) == (engine, setting, column):
                cores = f" ({float(row['cpu_ms']):.3g})" if work == "search" else ""
                return f"{float(row['median']):.3g}{cores} / {_share(row['recall'])}"
        return ""

    lines = {
        f"{engine}{', exact' if setting == 'exact' else ''}": [cell(engine, setting, column) for column in columns]
        for engine in ENGINES
        for setting in ("default", "exact")
    }
    return _markdown("ms (of the cores) / recall", titles, lines)


def _costs(rows: Sequence[Record]) -> str:
    """Everything else, a column each."""
    kept = [row for row in rows if row["work"] not in ("search", "batch")]
    columns = list(dict.fromkeys(_cost_title(row) for row in kept))

    def cell(engine: str, title: str) -> str:
        for row in kept:
            if row["engine"] == engine and _cost_title(row) == title:
                return f"{float(row['median']):.3g}" + (f" (error {float(row['error']):.1g})" if row["error"] else "")
        return ""

    return _markdown("", columns, {engine: [cell(engine, title) for title in columns] for engine in ENGINES})


def _cost_title(row: Record) -> str:
    rows = f", {row['query_rows']} rows, {row['threads']}t" if row["query_rows"] else ""
    return f"{row['work']}{rows} ({row['unit']})"


def _markdown(corner: str, titles: Sequence[str], lines: dict[str, list[str]]) -> str:
    kept = {name: cells for name, cells in lines.items() if any(cells)}
    if not kept:
        return ""
    text = [f"| {corner} | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    text += [f"| {name} | {' | '.join(cells)} |" for name, cells in kept.items()]
    return "\n".join(text)


def _share(text: str) -> str:
    return f"{float(text):.3f}".removeprefix("0") if text else "?"


def main() -> None:
    """Print the tables of the sets and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, default=ROOT / "benchmarks" / "results" / "search.csv")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "figures" / "search.png")
    parser.add_argument("--set", help="only this one")
    parser.add_argument("--by", choices=list(AXES), default="median", help="what the plot shows")
    options = parser.parse_args()
    rows = read(options.rows)
    for name in dict.fromkeys(row["set"] for row in rows):
        if options.set in (None, name):
            print(f"### {name}\n\n{table(rows, name)}\n")
    draw(options.rows, options.figure, options.by)


if __name__ == "__main__":
    main()
