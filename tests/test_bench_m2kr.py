"""The published table is reproduced by one command a task: here on a tiny M2KR with a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from json_lines import read_jsonl
from task_files import write_m2kr

from benchmarks.m2kr import PUBLISHED, main
from flmr.data import TASKS


def test_every_published_task_is_one_that_can_be_read() -> None:
    assert {f"m2kr/{task}" for task in PUBLISHED} == {
        name for name in TASKS if name.startswith("m2kr/") and "test" in TASKS[name].splits
    }


def test_one_command_builds_measures_and_compares(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("okvqa", "wit"):
        write_m2kr(tmp_path / "m2kr", task, ["test"])
    (tmp_path / "m2kr/images/OKVQA/test/red.png").unlink()
    checkpoint = tmp_path / "PreFLMR_ViT-L"
    checkpoint.symlink_to(tiny_checkpoint)
    out = tmp_path / "results.jsonl"
    command = [
        "okvqa",
        "wit",
        "--data",
        tmp_path / "m2kr",
        "--encoder",
        checkpoint,
        "--indexes",
        tmp_path,
        "--out",
        out,
    ]
    main([str(part) for part in command])
    okvqa, wit = capsys.readouterr().out.splitlines()
    assert "strict_recall@5" in okvqa and "(published 0.314)" in okvqa and "(published 0.690)" in okvqa
    assert "4 pictures and 0 rows unreadable" in okvqa
    assert "strict_recall@10" in wit and "(published 0.605)" in wit and "pseudo_recall@10 - (published -)" in wit
    rows = read_jsonl(out)
    assert [(row["task"], row["nbits"], row["num_queries"]) for row in rows] == [
        ("m2kr/okvqa", 8, 20),
        ("m2kr/wit", 8, 20),
    ]
    main([str(part) for part in ["wit", *command[2:]]])  # the index stands and is used again
    assert capsys.readouterr().out.splitlines() == [wit]
