"""The picture of a run: loss per step and the validation measure.

Knows the rows of metrics.jsonl.  The only importer of matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flmr.errors import MissingExtra

SMOOTH = 0.9  # weight of the past in the running mean; about ten steps


def draw_curve(rows: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Write a PNG: loss (thin), its running mean (thick), and each validation.  Raises MissingExtra."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise MissingExtra("the loss curve needs matplotlib: pip install flmr[train]") from None
    steps = [row for row in rows if "loss" in row]
    checks = [row for row in rows if "measure" in row]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    at = [row["total_step"] for row in steps]
    losses = [row["loss"] for row in steps]
    axes.plot(at, losses, color="tab:blue", linewidth=0.5, alpha=0.4, label="loss of a step")
    axes.plot(at, running_mean(losses), color="tab:blue", linewidth=1.5, label="its running mean")
    axes.set(xlabel="step", ylabel="loss", title=title, ylim=(0, None))
    axes.yaxis.label.set_color("tab:blue")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    if checks:
        right = axes.twinx()
        measure, values = checks[0]["measure"], [row["value"] for row in checks]
        right.plot([row["total_step"] for row in checks], values, color="tab:orange", marker="o", markersize=3)
        right.set(ylabel=f"{measure} (validation)", ylim=(0, 1.02))
        right.yaxis.label.set_color("tab:orange")
        best = max(checks, key=lambda row: row["value"])
        axes.plot([], color="tab:orange", marker="o", markersize=3, label=f"{measure}, at best {best['value']:.3f}")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)


def running_mean(values: Sequence[float]) -> list[float]:
    """Exponential running mean, unbiased at the start."""
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total = SMOOTH * total + (1 - SMOOTH) * value
        weight = SMOOTH * weight + (1 - SMOOTH)
        means.append(total / weight)
    return means


def require_matplotlib() -> None:
    """Raise MissingExtra now rather than after the last step."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("training draws its loss curve with matplotlib: pip install flmr[train]") from None
