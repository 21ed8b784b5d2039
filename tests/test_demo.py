"""The demo: every step on a small sample, the sample used again, and the same numbers in both forms."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hash_encoder import HashEncoder
from rich.console import Console

from flmr import demo
from flmr.data.sample import write_sample


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture a figure, 32 pixels wide, where the demo draws three of 128."""

    def small(folder: Path, *, splits: Sequence[str], progress: object) -> None:
        assert tuple(splits) == ("test",)
        write_sample(folder, splits=("test",), renderings={"test": 1}, size=32)

    monkeypatch.setattr(demo, "write_sample", small)


@pytest.fixture
def ran(tmp_path: Path, small_sample: None) -> tuple[dict[str, Any], str]:
    """What one run returned, and what it printed."""
    printed = io.StringIO()
    document = demo.run_demo(tmp_path, encoder=HashEncoder(), console=Console(file=printed, width=120))
    return document, printed.getvalue()


def test_demo_indexes_asks_measures_and_explains_the_same_twice(
    tmp_path: Path, ran: tuple[dict[str, Any], str]
) -> None:
    document, text = ran
    json.dumps(document)
    assert document["passages"] > 400 and document["questions"] > 100
    assert len(document["asked"]) == demo.QUESTIONS_SHOWN
    assert all(len(asked["hits"]) == demo.HITS_SHOWN for asked in document["asked"])
    assert len(document["seconds"]) == 6
    measures = {row["measure"]: row for row in document["measures"]["with the picture"]["report"]["rows"]}
    for k in demo.KS:
        assert measures[f"strict_recall@{k}"]["chance"] is not None and f"pseudo_recall@{k}" in measures
    assert "by chance" in text and "without it" in text and "in styles never seen" in text and "explain.html" in text
    assert f"{measures['strict_recall@5']['value']:.4f}" in text
    counts = [group["num_queries"] for group in document["measures"]["with the picture"]["groups"].values()]
    assert len(counts) == 2 and sum(counts) == document["questions"], "both kinds of style are measured together"
    page = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert "data:image/" in page and "<rect data-heat=" in page

    picture = next((tmp_path / "sample" / "images" / "test").iterdir())
    before = picture.stat().st_mtime_ns
    (tmp_path / "sample.partial").mkdir()  # as an interrupted run would leave it
    again = demo.run_demo(tmp_path, encoder=HashEncoder())
    assert picture.stat().st_mtime_ns == before, "the sample is drawn once"
    for name, measured in document["measures"].items():
        assert again["measures"][name]["report"] == measured["report"]


def test_sample_of_an_interrupted_run_is_finished(tmp_path: Path, small_sample: None) -> None:
    (tmp_path / "sample.partial").mkdir()
    (tmp_path / "sample.partial" / "passages.jsonl").write_text("half")
    folder = demo.sample_folder(tmp_path, progress=False)
    assert len((folder / "passages.jsonl").read_text(encoding="utf-8").splitlines()) > 400
    assert not (tmp_path / "sample.partial").exists()
