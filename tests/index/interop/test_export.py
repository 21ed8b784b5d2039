"""An export holds what the index holds, other readers can read it, and an index of it answers alike."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from index.clustered import clustered_items, queries_near

from flmr import Index, MultiVectors, Passage
from flmr.errors import AlreadyExists, CorruptIndex, FlmrError, InvalidInput, StorageError
from flmr.index import export_index, import_index
from flmr.index.store import Storage

ITEMS = clustered_items(90, 12, rows=(0, 5))
IDS = [f'item "{number}", ö' for number in range(90)]
FORMS = ("out.parquet", "out")


@pytest.fixture(params=[0, 4])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Two segments, one with passages, some items deleted, one replaced."""
    passages = [
        None if number == 7 else Passage(name, f"text {number}", f"title {number}", f"{number}.png", {"n": number})
        for number, name in enumerate(IDS[:60])
    ]
    with Index.create(tmp_path / "ix", ITEMS[:60], IDS[:60], passages, nbits=request.param) as made:
        made.add(ITEMS[60:], IDS[60:])
        made.commit()
        made.delete([IDS[0], IDS[20], IDS[21], IDS[89]])
        made.update([ITEMS[0]], [IDS[5]])
        made.commit()
        yield made


def assert_same(found: np.ndarray, stored: np.ndarray) -> None:
    """Equal but for the last bit: many items are rotated back at once, and a matrix product rounds by its size."""
    np.testing.assert_allclose(found, stored, rtol=0, atol=np.finfo(stored.dtype).eps)


@pytest.mark.parametrize("name", FORMS)
def test_an_index_of_an_export_answers_alike(index: Index, tmp_path: Path, name: str) -> None:
    assert export_index(index, tmp_path / name) == tmp_path / name
    with import_index(tmp_path / name, tmp_path / "again", nbits=0) as again:
        assert again.ids() == index.ids()
        assert again.passages(again.ids()) == index.passages(index.ids())
        for item_id in index.ids():
            assert_same(again.vectors(item_id), index.vectors(item_id).astype(np.float16))
        queries = queries_near(ITEMS, 10)
        for hits, wanted in zip(again.search(queries, 5), index.search(queries, 5), strict=True):
            assert [hit.id for hit in hits] == [hit.id for hit in wanted]
            assert [hit.passage for hit in hits] == [hit.passage for hit in wanted]
            if index.info()["nbits"] == 0:  # and nothing was decoded
                assert [hit.score for hit in hits] == [hit.score for hit in wanted]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_readers_find_plain_columns_and_arrays(index: Index, tmp_path: Path, dtype: str) -> None:
    export_index(index, tmp_path / "out.parquet", dtype=dtype)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "vectors", "text", "title", "image", "meta"]
    assert table.schema.field("vectors").type == pa.list_(pa.list_(pa.from_numpy_dtype(dtype), 12))
    rows = {row["id"]: row for row in table.to_pylist()}
    assert list(rows) == index.ids()
    assert (rows[IDS[3]]["text"], json.loads(rows[IDS[3]]["meta"]), rows[IDS[7]]["text"]) == ("text 3", {"n": 3}, None)
    export_index(index, tmp_path / "out", dtype=dtype)
    vectors_TD, offsets_N1 = np.load(tmp_path / "out" / "vectors.npy"), np.load(tmp_path / "out" / "offsets.npy")
    assert (vectors_TD.dtype, offsets_N1.dtype) == (dtype, np.int64)
    ids = json.loads((tmp_path / "out" / "ids.json").read_text("utf-8"))
    for place, item_id in enumerate(ids):
        stored = index.vectors(item_id).astype(dtype)
        assert_same(vectors_TD[offsets_N1[place] : offsets_N1[place + 1]], stored)
        assert_same(np.array(rows[item_id]["vectors"], dtype).reshape(-1, 12), stored)
    vectors = MultiVectors(vectors_TD, offsets_N1)
    assert Index.create(tmp_path / "plain", vectors, ids, nbits=0).ids() == index.ids()


def test_a_large_export_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flmr.index.interop.exporter.MAX_ROWS", 20)
    with Index.create(tmp_path / "ix", ITEMS, IDS, nbits=0) as index:
        export_index(index, tmp_path / "out.parquet")
        metadata = pq.ParquetFile(tmp_path / "out.parquet").metadata
        assert metadata.num_row_groups > 5 and metadata.num_rows == 90
        with import_index(tmp_path / "out.parquet", tmp_path / "again", nbits=0) as again:
            assert all(np.array_equal(again.vectors(name), index.vectors(name)) for name in IDS)


def test_parquet_of_other_writers_is_taken(tmp_path: Path) -> None:
    rows = [item.astype(np.float64).tolist() for item in ITEMS if len(item)]
    table = pa.table({"id": [str(n) for n in range(len(rows))], "vectors": rows, "other": [1] * len(rows)})
    pq.write_table(table, tmp_path / "theirs.pq")
    with import_index(tmp_path / "theirs.pq", tmp_path / "ours", nbits=0) as index:
        assert (len(index), index.dim) == (len(rows), 12)
        assert np.array_equal(index.vectors("4"), np.array(rows[4]).astype(np.float16))


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_written_over_and_nothing_is_left_half_written(
    index: Index, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(AlreadyExists, match="exists already"):
        export_index(index, tmp_path / "there")
    writes = 0

    def full(self: Storage, descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes > 2:
            raise OSError(errno.ENOSPC, "full")
        return len(data)

    monkeypatch.setattr(Storage, "sys_write", full)
    with pytest.raises(StorageError, match="the disk is full"):
        export_index(index, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ix", "there"]


@pytest.mark.parametrize("name", FORMS)
def test_an_empty_index_comes_back_empty(tmp_path: Path, name: str) -> None:
    with Index.create(tmp_path / "ix", MultiVectors.from_list([], dim=7)) as index:
        export_index(index, tmp_path / name)
    with import_index(tmp_path / name, tmp_path / "again") as again:
        assert (len(again), again.dim) == (0, 7)


def test_a_wrong_form_is_named(tmp_path: Path) -> None:
    Index.create(tmp_path / "ix", ITEMS, nbits=0).close()
    with pytest.raises(InvalidInput, match="format 'csv' is not known"):
        export_index(tmp_path / "ix", tmp_path / "out", "csv")
    with pytest.raises(InvalidInput, match="dtype 'int8' is not known"):
        export_index(tmp_path / "ix", tmp_path / "out", dtype="int8")


@pytest.mark.parametrize("name", ["vectors.csv", "vectors.NPZ", "vectors.npy"])
def test_a_name_of_another_kind_of_file_is_refused(index: Index, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"\.parquet file or a folder"):
        export_index(index, tmp_path / name)
    assert not (tmp_path / name).exists()
    assert export_index(index, tmp_path / name, "npy").is_dir()  # where it is asked for by name


def table_of(**columns: Any) -> Any:
    return lambda path: pq.write_table(pa.table(columns), path)


BAD_PARQUET = {
    "no Parquet": (lambda path: path.write_bytes(b"PAR1" * 30), "not a whole Parquet file"),
    "no vectors": (table_of(id=["a"], text=["x"]), r"it has id \(string\), text \(string\)"),
    "flat vectors": (table_of(id=["a"], vectors=[[1.0, 2.0]]), "lists of lists of floats"),
    "another D": (table_of(id=["a", "b"], vectors=[[[1.0, 2.0]], [[1.0, 2.0, 3.0]]]), "has not D=2 numbers"),
    "null": (table_of(id=["a", "b"], vectors=[[[1.0, 2.0]], None]), "is null"),
    "null number": (table_of(id=["a"], vectors=[[[1.0, None]]]), "is null"),
    "no row": (table_of(id=["a"], vectors=pa.array([[]], pa.list_(pa.list_(pa.float32())))), "its type does not say D"),
    "null id": (table_of(id=["a", None], vectors=[[[1.0]], [[1.0]]]), "must be a non-empty string"),
    "meta": (table_of(id=["a"], vectors=[[[1.0]]], text=["x"], meta=["{"]), "the meta of 'a' is not JSON"),
}


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_a_bad_parquet_file_ends_in_one_line(tmp_path: Path, name: str) -> None:
    write, message = BAD_PARQUET[name]
    write(tmp_path / "x.parquet")
    with pytest.raises(FlmrError, match=message):
        import_index(tmp_path / "x.parquet", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_bad_folder_of_arrays_ends_in_one_line(index: Index, tmp_path: Path) -> None:
    folder = export_index(index, tmp_path / "out")
    offsets = np.load(folder / "offsets.npy")
    (folder / "ids.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(CorruptIndex, match="is not a list of 86 ids"):
        import_index(folder, tmp_path / "ours")
    np.save(folder / "offsets.npy", offsets[:-1])
    with pytest.raises(CorruptIndex, match="does not rise from 0 to"):
        import_index(folder, tmp_path / "ours")
