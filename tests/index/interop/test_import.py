"""Indexes of other engines are taken over with their own codec and ids; what is damaged is named in one line."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from index.clustered import best_ids, queries_near
from index.interop.folders import (
    DIM,
    coded,
    write_colbert,
    write_fast_plaid,
    write_former_pylate,
    write_json,
    write_metadata_database,
    write_pylate,
)

from flmr import Index, Passage, SearchParams
from flmr.errors import CorruptIndex, FlmrError, InvalidInput, MissingExtra, NotAnIndex
from flmr.index import export_index, import_index
from flmr.index.interop import open_foreign, read_ids

WRITERS: dict[str, Callable[..., Path]] = {"colbert": write_colbert, "fast-plaid": write_fast_plaid}


def assert_holds(index: Index, items: dict[str, np.ndarray]) -> None:
    """The index holds these items, and finds them as brute force does."""
    assert index.ids() == list(items)
    for item_id, item in items.items():
        np.testing.assert_allclose(index.vectors(item_id), item, atol=2**-11)  # float16 between 0.5 and 1
    queries = queries_near([item for item in items.values() if len(item)], 8)
    for query, hits in zip(queries, index.search(queries, 3, params=SearchParams(exact=True)), strict=True):
        assert [hit.id for hit in hits] == best_ids(query, items, 3)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", WRITERS)
def test_items_are_what_the_codec_of_their_engine_makes_of_them(tmp_path: Path, kind: str, nbits: int) -> None:
    stored = coded(nbits)
    folder = WRITERS[kind](tmp_path / "theirs", stored)
    foreign = open_foreign(folder)
    assert (foreign.kind, foreign.nbits, foreign.dim, len(foreign)) == (kind, nbits, DIM, 15)
    with import_index(folder, tmp_path / "ours", nbits=0) as index:
        assert_holds(index, {str(number): item for number, item in enumerate(stored.items)})
        assert len(index.vectors("3")) == 0  # removed in the source: the number stays, and is never a hit
        assert index.verify() == []


def test_an_import_has_eight_bits_by_default(tmp_path: Path) -> None:
    stored = coded(4, (40,))
    with import_index(write_colbert(tmp_path / "theirs", stored), tmp_path / "ours") as index:
        assert index.info()["nbits"] == 8
        decoded = np.concatenate([index.vectors(str(number)) for number in range(40)])
    assert np.abs(decoded - np.concatenate(stored.items)).max() < 0.02


def test_items_are_decoded_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = coded()
    folder = write_colbert(tmp_path / "theirs", stored)
    whole = list(open_foreign(folder))
    monkeypatch.setattr("flmr.index.interop.plaid.VALUES_PER_BLOCK", 5 * DIM)  # less than the longest item
    blocks = list(open_foreign(folder))
    assert len({id(item.base) for item in blocks if len(item)}) > 5
    assert all(np.array_equal(a, b) for a, b in zip(whole, blocks, strict=True))


def test_torch_is_not_needed(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "theirs", coded())
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from flmr.index import import_index\n"
        f"print(len(import_index({str(folder)!r}, {str(tmp_path / 'ours')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "15\n"), done.stderr


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("merged", [(0, 1), (0,), (1,)])
def test_fast_plaid_chunks_are_read_from_their_files_or_the_merged_one(
    tmp_path: Path, merged: tuple[int, ...], manifest: bool
) -> None:
    stored = coded(4)
    folder = write_fast_plaid(tmp_path / "theirs", stored, merged=merged, manifest=manifest)
    with import_index(folder, tmp_path / "ours", nbits=0) as index:
        assert_holds(index, {str(number): item for number, item in enumerate(stored.items)})


def test_fast_plaid_chunk_without_rows_needs_no_files(tmp_path: Path) -> None:
    stored = coded(2, (5, 2, 4), empty=(5, 6))
    folder = write_fast_plaid(tmp_path / "theirs", stored)
    for name in ("codes", "residuals"):
        (folder / f"1.{name}.npy").unlink()
    with import_index(folder, tmp_path / "ours", nbits=0) as index:
        assert_holds(index, {str(number): item for number, item in enumerate(stored.items)})


def test_metadata_of_fast_plaid_can_be_filtered_by(tmp_path: Path) -> None:
    stored = coded(2, (6,), empty=())
    folder = write_fast_plaid(tmp_path / "theirs", stored)
    write_metadata_database(folder / "metadata.db", [(n, 2000 + n, None if n == 2 else f"title {n}") for n in range(6)])
    with import_index(folder, tmp_path / "ours", ids=list("abcdef")) as index:
        assert index.passage("b") == Passage("b", title="title 1", meta={"year": 2001})
        assert index.passage("c") == Passage("c", meta={"year": 2002})
        hits = index.search(stored.items[0], 10, where={"year": {"gte": 2004}})[0]
        assert sorted(hit.id for hit in hits) == ["e", "f"]


def test_metadata_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = write_fast_plaid(tmp_path / "theirs", coded(2, (6,)))
    write_metadata_database(folder / "metadata.db", [(n, 0, "") for n in range(5)])
    with pytest.raises(CorruptIndex, match="5 rows for 6 items"):
        import_index(folder, tmp_path / "ours")
    (folder / "metadata.db").unlink()
    write_metadata_database(folder / "metadata.db", [(n, 0, "") for n in (0, 1, 2, 3, 4, 6)])
    with pytest.raises(CorruptIndex, match="number its rows from 0"):
        import_index(folder, tmp_path / "ours")
    (folder / "metadata.db").write_bytes(b"no database" * 100)
    with pytest.raises(CorruptIndex, match=r"metadata\.db cannot be read"):
        import_index(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("write", [write_pylate, write_former_pylate])
def test_documents_of_pylate_keep_their_ids_and_removed_ones_are_counted(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    stored = coded()
    ids: dict[int, Any] = {number: f"document {number}" for number in range(15)}
    ids[4], ids[14] = "né", 1234  # a whole number becomes its digits
    del ids[3], ids[7]
    folder = write(tmp_path / "theirs", stored, ids)
    foreign = open_foreign(folder)
    assert (foreign.kind, len(foreign), foreign.left_out) == ("pylate", 13, 2)
    with import_index(foreign, tmp_path / "ours", nbits=0) as index:
        assert_holds(index, {str(ids[number]): item for number, item in enumerate(stored.items) if number in ids})


def test_voyager_index_asks_for_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.voyager").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "voyager", None)
    with pytest.raises(MissingExtra, match="pip install voyager"):
        open_foreign(tmp_path)


def test_ids_and_passages_can_be_given(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "theirs", coded(2, (3,), empty=()))
    passages = [Passage(name, f"text of {name}") for name in ("a", "b", "c")]
    with import_index(folder, tmp_path / "one", passages=iter(passages)) as index:
        assert index.ids() == ["a", "b", "c"] and index.passage("b") == passages[1]
    (tmp_path / "ids.txt").write_text("x\ny y\nz\n", "utf-8")
    with import_index(folder, tmp_path / "two", ids=read_ids(tmp_path / "ids.txt")) as index:
        assert index.ids() == ["x", "y y", "z"]
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_ids(tmp_path / "latin.txt")


@pytest.mark.parametrize("passages", [False, True])
def test_too_few_ids_are_counted(tmp_path: Path, passages: bool) -> None:
    given = [Passage(str(i)) for i in range(3)] if passages else None
    with Index.create(tmp_path / "ix", [np.ones((2, 8))] * 3, passages=given) as index:
        export_index(index, tmp_path / "npy")
    with pytest.raises(InvalidInput, match="2 ids were given for 3 items"):
        import_index(tmp_path / "npy", tmp_path / "out", ids=["a", "b"])


def test_what_is_no_foreign_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndex, match="does not exist"):
        open_foreign(tmp_path / "nowhere")
    with pytest.raises(NotAnIndex, match="no index that can be imported"):
        open_foreign(tmp_path)
    with pytest.raises(InvalidInput, match="'plaid' is not known"):
        open_foreign(tmp_path, "plaid")
    with pytest.raises(CorruptIndex, match=r"metadata\.json is missing"):
        open_foreign(tmp_path, "colbert")
    Index.create(tmp_path / "ours", [np.ones((1, 4), np.float32)]).close()
    with pytest.raises(NotAnIndex, match="index of flmr already"):
        open_foreign(tmp_path / "ours")


Damage = Callable[[Path], Any]


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: float = 0.5) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return damage


def edit(name: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        document.update(
            {key: {**document[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
        )
        write_json(folder / name, document)

    return damage


def lengthen(name: str, *lengths: Any) -> Damage:
    return lambda folder: write_json(folder / name, [*json.loads((folder / name).read_text()), *lengths])


def put(name: str, value: Any) -> Damage:
    """Another array or tensor in place of a file."""
    if name.endswith(".npy"):
        return lambda folder: np.save(folder / name, value, allow_pickle=True)
    return lambda folder: torch.save(torch.from_numpy(value) if isinstance(value, np.ndarray) else value, folder / name)


def link(name: str) -> Damage:
    def damage(folder: Path) -> None:
        elsewhere = folder.parent / "elsewhere"
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)

    return damage


ROWS = len(coded().parts()[0][1])
COLBERT_DAMAGE: dict[str, tuple[Damage, str]] = {
    "no metadata": (remove("metadata.json"), r"metadata\.json is missing"),
    "metadata cut": (cut("metadata.json"), r"metadata\.json is not JSON"),
    "no config": (edit("metadata.json", config=None), "'nbits' is None"),
    "unknown nbits": (edit("metadata.json", config={"nbits": 3}), "nbits=3"),
    "other nbits": (edit("metadata.json", config={"nbits": 4}), "4 bucket weights"),
    "other dim": (edit("metadata.json", config={"dim": 128}), "dim 128"),
    "chunks missing": (edit("metadata.json", num_chunks=3), r"is missing"),
    "chunks too many": (edit("metadata.json", num_chunks=1), "more chunks than the 1"),
    "chunks no number": (edit("metadata.json", num_chunks="2"), "'num_chunks' is '2'"),
    "no centroids": (remove("centroids.pt"), r"centroids\.pt is missing"),
    "centroids cut": (cut("centroids.pt"), r"centroids\.pt is not a file of tensors"),
    "centroids NaN": (put("centroids.pt", np.full((12, DIM), np.nan, np.float32)), "NaN or infinity"),
    "centroids flat": (put("centroids.pt", np.zeros(12, np.float32)), "one tensor of 2 dimensions"),
    "centroids transposed": (put("centroids.pt", np.zeros((12, DIM), np.float32).T), "does not lie row after row"),
    "centroids bfloat16": (put("centroids.pt", torch.zeros(12, DIM).bfloat16()), "BFloat16Storage"),
    "a module": (put("centroids.pt", torch.nn.Linear(2, 2)), "no pickle of plain data|a called is where|expected"),
    "no weights": (put("buckets.pt", np.zeros(4, np.float32)), "cutoffs and weights"),
    "one item more": (lengthen("doclens.1.json", 0), "num_passages 6 but its doclens make 7"),
    "one row more": (lengthen("doclens.0.json", 1), r"0\.metadata\.json says num_passages 9"),
    "no lengths": (remove("doclens.1.json"), r"doclens\.1\.json is missing"),
    "lengths no numbers": (lengthen("doclens.0.json", 1.5), "not a list of whole numbers"),
    "another chunk": (edit("1.metadata.json", passage_offset=0), "passage_offset 0 but"),
    "no codes": (remove("1.codes.pt"), r"1\.codes\.pt is missing"),
    "codes short": (put("0.codes.pt", np.zeros(ROWS - 1, np.int32)), "codes int32"),
    "codes floats": (put("0.codes.pt", np.zeros(ROWS, np.float32)), "codes float32"),
    "codes beyond": (put("1.codes.pt", np.full(len(coded().parts()[1][1]), 12, np.int32)), "beyond its 12 centroids"),
    "codes negative": (put("0.codes.pt", np.full(ROWS, -1, np.int32)), "beyond its 12 centroids"),
    "residuals narrow": (put("0.residuals.pt", np.zeros((ROWS, 3), np.uint8)), rf"instead of uint8 \({ROWS}, 4\)"),
    "residuals cut": (cut("1.residuals.pt", 0.7), r"1\.residuals\.pt is not a file of tensors"),
    "residuals empty": (cut("1.residuals.pt", 0), "is not a file of tensors"),
    "a link": (link("0.codes.pt"), r"0\.codes\.pt: it is a link"),
}
FAST_PLAID_DAMAGE: dict[str, tuple[Damage, str]] = {
    "unknown nbits": (edit("metadata.json", nbits=5), "nbits=5"),
    "other nbits": (edit("metadata.json", nbits=1), "4 bucket weights"),
    "other count": (edit("metadata.json", num_documents=14), "num_documents 14 but its doclens name 15"),
    "chunks too many": (edit("metadata.json", num_chunks=1), "more chunks than the 1"),
    "no weights": (remove("bucket_weights.npy"), r"bucket_weights\.npy is missing"),
    "centroids cut": (cut("centroids.npy", 0.8), r"centroids\.npy is cut"),
    "centroids flat": (put("centroids.npy", np.zeros(12)), "instead of numbers in 2 dimensions"),
    "objects": (put("centroids.npy", np.array([[{}]])), "holds object"),
    "no codes": (remove("0.codes.npy"), r"merged_codes\.npy is missing"),
    "residuals short": (put("1.residuals.npy", np.zeros((3, 4), np.uint8)), r"residuals uint8 \(3, 4\)"),
    "header": (
        lambda folder: (folder / "0.codes.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8, \n"),
        "not an .npy file",
    ),
    "a link": (link("1.residuals.npy"), r"1\.residuals\.npy: it is a link"),
}
PYLATE_DAMAGE: dict[str, tuple[Damage, str]] = {
    "no ids": (remove("plaid_ids_to_documents_ids.pkl"), r"plaid_ids_to_documents_ids\.pkl is missing"),
    "ids cut": (cut("plaid_ids_to_documents_ids.pkl"), "no pickle of plain data"),
    "ids beyond": (lambda folder: write_ids(folder, {15: "x"}), "an id to item 15 of 15"),
    "ids floats": (lambda folder: write_ids(folder, {0: 1.5}), "a document id that is a float"),
    "keys": (lambda folder: write_ids(folder, {"one": "x"}), "numbers an item 'one'"),
    "no dict": (lambda folder: write_ids(folder, ["x"]), "holds no dict"),
    "two alike": (lambda folder: write_ids(folder, {0: "x", 1: "x"}), "id 'x' is given twice"),
    "inner cut": (cut("fast_plaid_index/0.codes.npy"), "is cut"),
}  # fmt: skip


def write_ids(folder: Path, ids: Any) -> None:
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps(ids))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("colbert", name) for name in COLBERT_DAMAGE),
        *(("fast-plaid", name) for name in FAST_PLAID_DAMAGE),
        *(("pylate", name) for name in PYLATE_DAMAGE),
    ],
)
def test_damage_ends_in_one_clear_line_and_no_index(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "pylate":
        folder = write_pylate(tmp_path / "theirs", coded(), {number: str(number) for number in range(15)})
        damage, message = PYLATE_DAMAGE[name]
    else:
        folder = WRITERS[kind](tmp_path / "theirs", coded())
        damage, message = (COLBERT_DAMAGE if kind == "colbert" else FAST_PLAID_DAMAGE)[name]
    damage(folder)
    with pytest.raises(FlmrError, match=message) as raised:
        import_index(folder, tmp_path / "ours", kind=kind)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ours").exists()
