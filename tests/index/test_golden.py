"""What format version 2 wrote is opened for ever, byte for byte as it lies here, and gives the hits it gave then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from index.listed import as_if_large, lists_from

from flmr import Index, Passage, SearchParams

GOLDEN = Path(__file__).parent / "golden"
QUERIES = [np.eye(6, dtype=np.float32)[:2], np.arange(18, dtype=np.float32).reshape(3, 6) / 18 - 0.5]

PLANNED = SearchParams(nprobe=100)


def make(folder: Path) -> None:
    """How the golden indexes were made; never run on them again."""
    rng = np.random.default_rng(20261121)
    items = [rng.standard_normal((i % 4, 6)).astype(np.float32) for i in range(24)]
    passages = [Passage(f"é{i}", f"text {i}", f"title {i}", f"{i}.png", {"n": i}) for i in range(24)]
    for name, nbits, kept in (("v2", 3, False), ("v2-kept", 2, True), ("v2-sampled", 4, False)):
        sampled = name == "v2-sampled"
        with as_if_large() if sampled else lists_from(1):  # the second segment has none
            ix = Index.create(
                folder / name,
                items[:16],
                passages=passages[:16],
                nbits=nbits,
                keep_vectors=kept,
                encoder={"name": "none"},
                sample_queries=QUERIES if sampled else None,
            )
        with ix:
            ix.add(items[16:], passages=passages[16:])
            ix.delete(["é1", "é18"])
            ix.commit()
            hits = [[(hit.id, hit.score) for hit in found] for found in ix.search(QUERIES, 50)]
            vectors = {item_id: ix.vectors(item_id).tolist() for item_id in ix.ids()}
        (folder / name / "writer.lock").unlink()
        content = json.dumps({"hits": hits, "vectors": vectors}, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(content, encoding="utf-8")


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.iterdir() if path.is_dir()))
def test_an_index_of_every_version_opens_searches_and_grows(version: str, tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / f"{version}.json").read_text(encoding="utf-8"))
    path = Path(shutil.copytree(GOLDEN / version, tmp_path / version))
    with Index.open(path) as ix:
        assert ix.verify() == []
        assert ix.encoder == {"name": "none"} and ix.passage("é3") == Passage(
            "é3", "text 3", "title 3", "3.png", {"n": 3}
        )
        for params in (SearchParams(exact=True), SearchParams(), SearchParams(nprobe=100, candidates=100), PLANNED):
            for found, wanted in zip(ix.search(QUERIES, 50, params=params), expected["hits"], strict=True):
                # Another instruction set may sum in another order: the last bits, not the hits, may differ.
                assert {hit.id for hit in found} == {item_id for item_id, _ in wanted}
                assert np.allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-5)
        assert all(
            np.allclose(ix.vectors(item_id), rows, atol=1e-6) for item_id, rows in expected["vectors"].items() if rows
        )
        ix.add([np.ones((1, 6))], ["new"])
        ix.merge()
        assert len(ix) == 23 and ix.verify() == []
