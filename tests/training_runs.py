"""What tests of training need of a run: the losses that it left, and nobody who watches it."""

from __future__ import annotations

from pathlib import Path

from json_lines import read_jsonl


def losses(folder: Path) -> list[float]:
    """The loss of each step; wall-clock times in the same rows differ from run to run."""
    return [row["loss"] for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]


def silent(stage: str, done: int, total: int | None = None) -> None:
    """Nobody watches."""
