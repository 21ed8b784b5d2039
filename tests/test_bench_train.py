"""The benchmark of training steps: losses that agree, what does not fit, and the table of both."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from benchmarks import train_steps
from benchmarks.bench_train import AGREE, Steps, measure, table

SIZES = {"batch": 6, "negatives": 2, "query_rows": 5, "document_rows": 7, "dim": 16}


def test_our_loss_and_the_plain_formula_have_one_gradient() -> None:
    found = [train_steps.step(train_steps.LOSSES[path](), **SIZES) for path in ("flmr", "plain")]
    for key in ("loss", "gradient"):
        assert found[0][key] == pytest.approx(found[1][key], rel=AGREE)
    assert found[0]["gradient"][0] > 0 and found[0]["wall_s"] > 0


def test_losses_that_disagree_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Taken:
        def __init__(self, path: str, gradient: float) -> None:
            self.path, self._gradient = path, gradient

        def take(self, **_: int) -> dict[str, object]:
            return {"loss": 1.0, "gradient": [self._gradient, 1.0]}

    with pytest.raises(SystemExit, match="plain formula has"):
        measure([Taken("flmr", 1.0), Taken("plain", 1.1)], SIZES, 1)  # type: ignore[list-item]


def test_one_command_measures_writes_rows_and_prints_their_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.bench_train", "--out", str(tmp_path / "rows.csv")]
    sizes = ["--batches", "4", "--document-rows", "8", "--repeats", "1", "--losses", "flmr,plain"]
    done = subprocess.run([*command, *sizes, "--python", sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["loss"], row["passages"], row["note"]) for row in rows] == [("flmr", "8", ""), ("plain", "8", "")]
    assert all(torch.__version__ in row["version"] and row["commit"] and row["machine"] for row in rows)
    assert table(tmp_path / "rows.csv").splitlines()[2].count(" x)") == 2


def test_what_does_not_fit_is_said() -> None:
    worker = Steps(Path(sys.executable), "plain", 1, 1.5)
    try:
        huge = {"batch": 64, "negatives": 1, "query_rows": 64, "document_rows": 512, "dim": 8}  # a GB of similarities
        assert worker.take(**huge) == {"did_not_fit": True}
        assert worker.take(**SIZES)["loss"] > 0  # and it goes on
    finally:
        worker.end()
