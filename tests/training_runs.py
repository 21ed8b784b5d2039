"""What tests of training need of a run: the losses that it left, a stop halfway, nobody who watches."""

from __future__ import annotations

from pathlib import Path

import pytest
from json_lines import read_jsonl

from flmr.train import train


def losses(folder: Path) -> list[float]:
    """The loss of each step; wall-clock times in the same rows differ from run to run."""
    return [row["loss"] for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]


def silent(stage: str, done: int, total: int | None = None) -> None:
    """Nobody watches."""


class Stopped(Exception):
    """Stands for a kill inside a test's own process."""


def train_until(recipe: Path, out: Path, step: int) -> None:
    """Train, and stop after a step as by a kill."""

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage.startswith("training") and done == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, out=out, progress=stop)
