"""The table of rows, words and both: every system is asked every question and leaves its lines."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import TEXTS, HashEncoder
from json_lines import write_jsonl

from benchmarks import hybrid
from flmr.index import Index
from flmr.records import Passage, Query

pytest.importorskip("bm25s", reason="searching by words needs bm25s")

QUESTIONS = {"coal": "which is black", "rose": "which flower is red", "sky": "what is blue", "snow": "what is cold"}


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    encoder = HashEncoder()
    passages = [Passage(name, text) for name, text in TEXTS.items()]
    Index.create(tmp_path / "kb", encoder.encode_passages(passages), list(TEXTS), passages, nbits=4).close()
    rows = encoder.encode_queries([Query(text, id=name) for name, text in QUESTIONS.items()])
    np.savez(tmp_path / "rows.npz", ids=list(QUESTIONS), offsets=rows.offsets, vectors=rows.vectors)
    lines = [
        {"id": name, "text": text, "positive_ids": [name], "split": "valid", "kind": str(n % 2)}
        for n, (name, text) in enumerate(QUESTIONS.items())
    ]
    write_jsonl(tmp_path / "questions.jsonl", lines)
    named = {"questions": "questions.jsonl", "rows": "rows.npz", "out": "out.csv"}
    paths = [part for name, file in named.items() for part in (f"--{name}", str(tmp_path / file))]
    return [str(tmp_path / "kb"), *paths, "--where", "split=valid", "--by", "kind"]


@pytest.mark.parametrize(("grid", "systems"), [("fused", 4), ("chosen", 10), ("fusion", 30)])
def test_every_system_leaves_a_line_a_group_and_measure(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: str, systems: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["hybrid", *arguments, "--grid", grid, "--measures", "nDCG@10,MRR@10"])
    hybrid.main()
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len({line["system"] for line in lines}) == systems and len(lines) == systems * 2 * 2
    assert {line["group"] for line in lines} == {"0", "1"} and {line["questions"] for line in lines} == {"2"}
    assert all(float(line["value"]) == 1 for line in lines if line["system"] == "words")


def test_a_sample_is_drawn_of_each_group(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["hybrid", *arguments, "--grid", "fused", "--sample", "1", "--measures", "nDCG@10"]
    )
    hybrid.main()
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        assert {(line["group"], line["questions"]) for line in csv.DictReader(file)} == {("0", "1"), ("1", "1")}
