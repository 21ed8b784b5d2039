"""A small index that the verbs are tried on, and two ways to run one: it must do, or it must fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import TEXTS, Ask, Mistake, flmr
from json_lines import write_jsonl
from PIL import Image


@pytest.fixture(scope="session")
def kb(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A folder with passages, questions, pictures, and an index of them that tests only read."""
    folder = tmp_path_factory.mktemp("kb")
    lines = [{"id": name, "title": name.title(), "text": text, "n": len(text)} for name, text in TEXTS.items()]
    write_jsonl(folder / "passages.jsonl", lines)
    Image.new("RGB", (40, 40), (0, 0, 255)).save(folder / "blue.png")
    (folder / "cut.png").write_bytes((folder / "blue.png").read_bytes()[:30])
    questions = [
        {"id": "q1", "question": "which flower is red", "positive_ids": ["rose"], "answers": ["red"], "kind": "words"},
        {"id": "q2", "image": "blue.png", "question": "what is it", "positive_ids": ["sky"], "kind": "picture"},
        {"id": "q3", "image": "cut.png", "question": "what is it", "positive_ids": ["leaf"], "kind": "picture"},
    ]
    write_jsonl(folder / "questions.jsonl", questions)
    assert flmr("index", folder / "passages.jsonl", "--out", folder / "index", "--encoder", tiny_checkpoint) == 0
    return folder


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a verb with --json; what it printed, which must be one document and nothing else."""

    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert flmr(*arguments, "--json") == code
        document = json.loads(capsys.readouterr().out)
        assert isinstance(document, dict)
        return document

    return run


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Mistake:
    """Run a verb that must fail as the caller's mistake: nothing on stdout, one line on stderr, which is returned."""

    def run(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert flmr(*arguments) == code
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert out == "" and len(lines) == 1 and lines[0].startswith("error: "), (out, err)
        return lines[0]

    return run


@pytest.fixture
def copied(kb: Path, tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """An index of its own for a test that changes it."""
    assert flmr("index", kb / "passages.jsonl", "--out", tmp_path / "index", "--encoder", tiny_checkpoint) == 0
    return tmp_path / "index"
