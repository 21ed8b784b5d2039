"""The search benchmark: its sets, its workers, its rows, and a whole quick run on a few documents."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import search_targets, search_truth
from benchmarks.search_data import DataSet, maxsim, read_queries, read_truth, recall, write_synthetic
from benchmarks.search_report import draw, table
from benchmarks.search_rows import COLUMNS, read, spread_of_queries
from benchmarks.search_workers import ENGINES, Engine, EngineFailed, EngineProcess

DOCUMENTS, QUERIES = 120, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder, "tiny", DOCUMENTS, QUERIES)
    return DataSet.open(folder, "tiny")


def start(engine: Engine, data: DataSet, folder: Path) -> EngineProcess:
    return EngineProcess(engine, folder / "index", data.folder, "tiny", 1, environments=folder, log=folder)


def test_documents_are_the_same_streamed_and_by_row(data: DataSet) -> None:
    streamed = list(data.stream(documents_at_once=7))
    assert len(streamed) == data.documents == DOCUMENTS
    for row, document in enumerate(data.documents_of(range(DOCUMENTS))):
        assert np.array_equal(streamed[row], document)
    assert np.array_equal(np.concatenate(streamed), data.vectors())


def test_truth_is_the_best_by_maxsim_document_by_document(data: DataSet) -> None:
    truth_BK = read_truth(data.folder, "tiny", "q32")
    for query, true in zip(read_queries(data.folder, "q32", 0, QUERIES), truth_BK, strict=True):
        scores = [float((query @ document.astype(np.float32).T).max(axis=1).sum()) for document in data.stream()]
        assert true[0] == int(np.argmax(scores))
        assert min(scores[i] for i in true[:10]) >= sorted(scores, reverse=True)[9] - 1e-4


def test_truth_of_a_set_is_found_some_documents_at_a_time(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_truth, "DOCUMENTS_AT_ONCE", 7)
    ids, scores = search_truth.truth(data, read_queries(data.folder, "q32", 0, QUERIES), threads=1)
    assert ids.shape == scores.shape == (QUERIES, 100)
    assert recall(ids.tolist(), read_truth(data.folder, "tiny", "q32"), 100) > 0.99
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_target_says_by_how_much_it_is_missed() -> None:
    same = {"engine": "flmr 4-bit", "set": "d5k", "setting": "default", "unit": "ms"}
    quick = {**same, "work": "search", "queries": "q32", "k": "10", "threads": "1", "recall": "0.93"}
    rows = [{**quick, "median": "3", "least": "2.9", "most": "3.2"}]
    rows.append({**rows[0], "engine": "colbert-ai 2-bit", "median": "6", "recall": "0.6"})
    rows.append({**rows[0], "work": "batch", "threads": "2", "median": "2000", "unit": "queries/s"})
    lines = search_targets.table(rows).splitlines()
    assert "3 ms (2.9 to 3.2) at .930: **missed**, 1.50 times the limit, recall 0.010 short" in lines[2]
    assert "| colbert-ai 2-bit 6 at .600 |" in lines[2]
    assert sum("not measured" in line for line in lines) == len(search_targets.TARGETS) - 2
    assert ": met |" in next(line for line in lines if "a batch" in line)


def test_maxsim_takes_the_best_row_of_each_document() -> None:
    vectors = np.array([[1, 0], [0, 1], [2, 2]], np.float32)
    assert maxsim(np.eye(2, dtype=np.float32), vectors, np.array([0, 2, 3])).tolist() == [2, 4]


def test_recall_counts_the_true_best_among_the_first_k() -> None:
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert recall([[1, 9, 2], [8, 7, 6]], truth, 2) == (1 / 2 + 0) / 2
    assert recall([[4, 3, 2, 1], [5]], truth, 4) == (4 / 4 + 1 / 4) / 2


def test_spread_is_of_the_medians_of_each_repeat() -> None:
    assert spread_of_queries([[1, 2, 9], [3, 4, 5], [1, 3, 3]]) == {
        "unit": "ms",
        "repeats": 3,
        "median": 3,
        "least": 2,
        "most": 4,
        "p95": 4.9,
    }


def test_engine_without_its_environment_says_where_it_was_sought(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"no environment at .*colbertai"):
        start(ENGINES["colbert-ai 2-bit"], data, tmp_path)


def test_engine_that_cannot_start_gives_its_reason(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="ModuleNotFoundError"):
        start(Engine("nobody", "nobody"), data, tmp_path)


def test_worker_survives_a_request_that_fails_and_dies_when_it_takes_too_long(data: DataSet, tmp_path: Path) -> None:
    with start(ENGINES["flmr 4-bit"], data, tmp_path) as process:
        with pytest.raises(EngineFailed, match="NotAnIndex"):
            process.ask("open", timeout_s=3000)
        assert process.ask("build", timeout_s=300)["bytes"] > 0
        with pytest.raises(EngineFailed, match="no answer within"):
            process.ask("open", timeout_s=0)
        assert not process.alive
        with pytest.raises(EngineFailed, match="died"):
            process.ask("open", timeout_s=30)


def test_quick_run_writes_a_row_with_its_birthplace_for_every_figure(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    arguments = ["--quick", "--documents", "150", "--engines", "flmr 4-bit,flmr float16", "--repeats", "2"]
    command = [sys.executable, "-m", "benchmarks.bench_search", *arguments, "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stdout
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert all(row["commit"] and row["machine"] and row["date"] and row["command"] for row in rows)
    assert all(float(row["least"]) <= float(row["median"]) <= float(row["most"]) for row in rows)
    works = {row["work"] for row in rows if row["engine"] == "flmr 4-bit"}
    wanted = {"build wall", "build cpu", "build peak", "size", "open", "first query", "open resident", "open growth"}
    wanted |= {"search resident", "open size"}
    assert works == wanted | {"search", "batch", "add 200", "delete 200"}
    exact = [row for row in rows if row["engine"] == "flmr float16" and row["work"] in ("search", "batch")]
    assert len(exact) == 6
    assert all(float(row["recall"]) > 0.99 for row in exact)
    assert not [row["note"] for row in rows if row["note"]]
    assert all((row["of_exact"] != "") == (row["work"] == "search") for row in rows)

    draw(out, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    text = table(read(out), "quick")
    assert "| flmr 4-bit, exact |" in text
    assert text.count("| flmr float16 |") == 2
