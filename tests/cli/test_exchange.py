"""Export and import: an index leaves and comes back, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command_line import TEXTS, Ask, Mistake

from flmr.index import Index


def test_an_index_is_exported_and_imported_again(kb: Path, ask: Ask, tmp_path: Path, tiny_checkpoint: Path) -> None:
    wrote = ask("export", kb / "index", "--out", tmp_path / "kb.parquet")
    assert wrote["items"] == 4
    document = ask("import", tmp_path / "kb.parquet", "--out", tmp_path / "again", "--nbits", 0)
    assert (document["kind"], document["items"], document["nbits"], document["left_out"]) == ("parquet", 4, 0, 0)
    assert document["vectors"] == wrote["vectors"]
    with Index.open(tmp_path / "again") as again:
        assert again.passage("sky").text == TEXTS["sky"]
    question = ("--text", "which flower is red")
    found = ask("search", tmp_path / "again", *question, "--encoder", tiny_checkpoint)["hits"]
    wanted = ask("search", kb / "index", *question)["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in wanted]


def test_import_takes_ids_or_a_collection_and_names_what_it_cannot_read(
    ask: Ask, mistake: Mistake, tmp_path: Path
) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "vectors.npy", np.eye(4, dtype=np.float32))
    np.save(folder / "offsets.npy", np.array([0, 1, 4]))
    (tmp_path / "ids.txt").write_text("one\ntwo\n")
    ask("import", folder, "--out", tmp_path / "named", "--ids", tmp_path / "ids.txt")
    with Index.open(tmp_path / "named") as index:
        assert index.ids() == ["one", "two"]
    (tmp_path / "collection.tsv").write_text("0\ta first\n1\ta second\n")
    ask("import", folder, "--out", tmp_path / "told", "--passages", tmp_path / "collection.tsv")
    with Index.open(tmp_path / "told") as index:
        assert index.passage("1").text == "a second"
    assert "no index that can be imported" in mistake("import", tmp_path, "--out", tmp_path / "x")
    assert "exists already" in mistake("export", tmp_path / "told", "--out", folder)
