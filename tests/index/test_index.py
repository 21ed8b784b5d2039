"""The life of an index: create, open, add, update, delete, commit, merge, close, and what each refuses."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index.clustered import best_ids, clustered_items, maxsim_scores, queries_near
from index.listed import lists_from

from flmr import Index, IndexLocked, MultiVectors, Passage, SearchParams
from flmr.errors import (
    AlreadyExists,
    DuplicateId,
    FlmrError,
    IndexClosed,
    InvalidInput,
    NativeError,
    NotAnIndex,
    StorageError,
    UnknownId,
)

ITEMS = clustered_items(60, 8, rows=(0, 6))
IDS = [f"p{i}" for i in range(len(ITEMS))]


def ids_of(hits: list[Any]) -> list[str]:
    return [hit.id for hit in hits]


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("keep_vectors", [False, True])
@pytest.mark.parametrize("nbits", [0, 1, 2, 3, 4, 8])
def test_what_was_created_is_there_after_opening(tmp_path: Path, nbits: int, keep_vectors: bool) -> None:
    with Index.create(tmp_path / "ix", ITEMS, IDS, nbits=nbits, keep_vectors=keep_vectors) as made:
        query = queries_near(ITEMS, 1)[0]
        hits = made.search(query, 100)[0]
    with Index.open(tmp_path / "ix") as ix:
        assert len(ix) == len(ITEMS)
        assert ix.ids() == IDS
        assert ix.search(query, 100)[0] == hits
        assert ix.verify() == []
        # Every score is exactly MaxSim of the vectors that the index says it stores.
        stored = [ix.vectors(item_id) for item_id in IDS]
        scores = dict(zip(IDS, maxsim_scores(query, stored), strict=True))
        assert all(abs(hit.score - scores[hit.id]) <= 1e-4 * max(1, abs(hit.score)) for hit in hits)
        assert len(hits) == sum(1 for item in ITEMS if len(item))
        if nbits == 0 or keep_vectors:
            assert all(np.array_equal(a, b.astype(np.float16)) for a, b in zip(stored, ITEMS, strict=True))


def test_more_bits_are_closer_to_the_vectors(tmp_path: Path) -> None:
    errors = []
    for nbits in (1, 2, 3, 4, 8):
        with Index.create(tmp_path / str(nbits), clustered_items(300, 32), nbits=nbits) as ix:
            errors.append(
                np.mean(
                    [np.square(ix.vectors(str(i)) - x).sum(1).mean() for i, x in enumerate(clustered_items(300, 32))]
                )
            )
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4


def test_items_without_rows_are_stored_and_never_hits(tmp_path: Path) -> None:
    items = [np.zeros((0, 4), np.float32), np.ones((1, 4), np.float32), np.zeros((0, 4), np.float32)]
    with Index.create(tmp_path / "ix", items, ["a", "b", "c"], nbits=4) as ix:
        assert len(ix) == 3
        assert ids_of(ix.search(np.ones((1, 4)), 10)[0]) == ["b"]
        assert ix.vectors("a").shape == (0, 4)
    with Index.create(tmp_path / "none", [items[0]] * 3, nbits=4) as ix:
        assert len(ix) == 3
        assert ix.search(np.ones((1, 4)), 10) == [[]]
        ix.add([np.ones((2, 4))], ["late"])
        ix.commit()
        assert ids_of(ix.search(np.ones((1, 4)), 10)[0]) == ["late"]
        assert ix.verify() == []


def test_ids_default_to_running_numbers_or_to_those_of_the_passages(tmp_path: Path) -> None:
    with Index.create(tmp_path / "a", ITEMS[:3], nbits=2) as ix:
        assert ix.ids() == ["0", "1", "2"]
        ix.add(ITEMS[3:5])
        ix.commit()
        ix.delete("4")
        ix.commit()
        ix.add(ITEMS[5:6])
        ix.commit()
        assert ix.ids() == ["0", "1", "2", "3", "5"]
    with Index.create(tmp_path / "b", ITEMS[:2], passages=[Passage("x"), Passage("y")]) as ix:
        assert ix.ids() == ["x", "y"]


@pytest.mark.parametrize("pool", [1, 2])
def test_vectors_may_come_in_any_form_and_give_the_same_bytes(tmp_path: Path, pool: int) -> None:
    forms: dict[str, Any] = {
        "list": ITEMS,
        "generator": (item for item in ITEMS),
        "multivectors": MultiVectors.from_list(ITEMS),
        "float64": [item.astype(np.float64) for item in ITEMS],
        "strided": [np.asfortranarray(item) for item in ITEMS],
    }
    for name, form in forms.items():
        Index.create(tmp_path / name, form, iter(IDS), nbits=2, pool=pool).close()
    first = files_of(tmp_path / "list")
    for name in forms:
        assert files_of(tmp_path / name) == first


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        Index.create(tmp_path / name, ITEMS, nbits=2, seed=seed).close()
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a") != files_of(tmp_path / "c")


def test_an_index_that_a_card_clusters_and_assigns_is_that_of_the_processor(
    tmp_path: Path, emulated_card: None
) -> None:
    items = clustered_items(300, 16, rows=(1, 4))
    stored = []
    for device in ("cpu", "cuda"):
        with Index.create(tmp_path / device, items[:200], nbits=2, device=device) as ix:
            pass
        with Index.open(tmp_path / device, device=device) as ix:
            ix.add([item + np.float32(1) for item in items[200:]])  # drifted: centroids are added
            ix.commit()
            stored.append([ix.searcher().vectors(str(i)) for i in range(300)])
    # Vectors of length 1 and 2, rounded to float32 twice on their way; of centroids that are equally near the other
    # may be chosen.
    same = [np.allclose(*pair, rtol=0, atol=4 * np.finfo(np.float32).eps) for pair in zip(*stored, strict=True)]
    assert np.mean(same) > 0.99


def test_a_card_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'cpu' or 'cuda'"):
        Index.create(tmp_path / "a", ITEMS, device="gpu")  # type: ignore[arg-type]
    if not pytest.importorskip("torch").cuda.is_available():
        with pytest.raises(NativeError, match="device='cpu'"):
            Index.create(tmp_path / "a", (pytest.fail("read") for _ in "a"), device="cuda")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 256, 257, 1000])
def test_any_dimension_is_stored(tmp_path: Path, dim: int) -> None:
    items = clustered_items(20, dim, topics=3)
    with Index.create(tmp_path / "ix", items, nbits=3) as ix:
        error = np.mean([np.abs(ix.vectors(str(i)) - item).mean() for i, item in enumerate(items)])
        assert error < 0.2 * np.mean([np.abs(item).mean() for item in items])
        assert ix.verify() == []


def test_the_widest_vectors_are_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [rng.standard_normal((2, 8192)).astype(np.float32) for _ in range(3)]
    with Index.create(tmp_path / "ix", items, nbits=2) as ix:
        assert ids_of(ix.search(items[1], 1)[0]) == ["1"]
    with pytest.raises(InvalidInput, match="D=8193"):
        Index.create(tmp_path / "no", [np.zeros((1, 8193), np.float32)])


def test_one_vector_and_identical_vectors_are_indexed(tmp_path: Path) -> None:
    with Index.create(tmp_path / "one", [np.ones((1, 5), np.float32)], nbits=1) as ix:
        assert ids_of(ix.search(np.ones((1, 5)), 3)[0]) == ["0"]
        assert np.allclose(ix.vectors("0"), 1, atol=4e-3)  # a centroid is whole numbers up to 127
    with Index.create(tmp_path / "same", [np.ones((3, 5), np.float32)] * 20, nbits=2) as ix:
        found = ids_of(ix.search(np.ones((1, 5)), 20)[0])
        assert found == sorted(found)  # ties by id, as strings
        assert found[:3] == ["0", "1", "10"]
    with Index.create(tmp_path / "zero", [np.zeros((2, 5), np.float32)] * 3, nbits=2) as ix:
        assert [hit.score for hit in ix.search(np.ones((1, 5)), 3)[0]] == [0, 0, 0]


def test_an_empty_corpus_needs_a_dimension(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to index"):
        Index.create(tmp_path / "ix", [])
    assert not (tmp_path / "ix").exists()
    with Index.create(tmp_path / "ix", MultiVectors.from_list([], dim=8)) as ix:
        assert len(ix) == 0
        assert ix.search(np.ones((2, 8)), 5) == [[]]
        assert ix.self_check() == {"recall@10": 1.0, "recall@100": 1.0}
        ix.add(ITEMS[1:], IDS[1:])
        ix.commit()
        assert len(ix) == len(ITEMS) - 1
        assert ix.verify() == []


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:10], IDS[:10]) as ix:
        query = queries_near(ITEMS[:10], 1)[0]
        before = ix.search(query, 50)
        snapshot = ix.searcher()
        ix.add(ITEMS[10:20], IDS[10:20])
        ix.delete(["p0", "p1"])
        ix.update([ITEMS[30]], ["p2"])
        assert ix.search(query, 50) == before and len(ix) == 10
        with Index.open(tmp_path / "ix") as other:
            assert other.search(query, 50) == before
            ix.commit()
            assert len(ix) == 18
            assert other.search(query, 50) == before and len(other) == 10
            assert other.refresh() and len(other) == 18
            assert not other.refresh()
            assert other.search(query, 50) == ix.search(query, 50)
        assert snapshot.search(query, 50) == before and len(snapshot) == 10
        ix.merge()
        assert snapshot.search(query, 50) == before


def test_changes_that_were_not_committed_are_forgotten(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:10], IDS[:10]) as ix:
        ix.add(ITEMS[10:20], IDS[10:20])
        ix.delete("p3")
    files = files_of(tmp_path / "ix")
    with Index.open(tmp_path / "ix") as ix:
        assert ix.ids() == IDS[:10]
        ix.commit()
    assert files_of(tmp_path / "ix") == files
    assert sorted(p.name for p in (tmp_path / "ix").iterdir() if p.is_dir()) == ["0001"]


def test_update_replaces_and_keeps_the_passage_unless_given_one(tmp_path: Path) -> None:
    passages = [Passage(item_id, f"text {item_id}") for item_id in IDS[:10]]
    with Index.create(tmp_path / "ix", ITEMS[:10], passages=passages, nbits=0) as ix:
        ix.update([ITEMS[20], ITEMS[21]], ["p4", "p2"])
        ix.update([ITEMS[22]], ["p2"])
        ix.update([ITEMS[23]], passages=[Passage("p5", "another")])
        ix.commit()
        assert len(ix) == 10 and sorted(ix.ids()) == sorted(IDS[:10])
        for item_id, item in (("p4", ITEMS[20]), ("p2", ITEMS[22]), ("p5", ITEMS[23])):
            assert np.array_equal(ix.vectors(item_id), item.astype(np.float16))
        texts = {item_id: ix.passage(item_id).text for item_id in ("p2", "p4", "p5")}  # type: ignore[union-attr]
        assert texts == {"p2": "text p2", "p4": "text p4", "p5": "another"}
        with pytest.raises(UnknownId, match=r"'nope'.*use add"):
            ix.update([ITEMS[0], ITEMS[1]], ["p1", "nope"])
        with pytest.raises(InvalidInput, match="give ids or passages"):
            ix.update([ITEMS[0]])
        assert ix.verify() == []


def test_items_that_were_added_may_be_deleted_and_updated_before_the_commit(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:5], IDS[:5], nbits=0) as ix:
        ix.add(ITEMS[10:13], IDS[10:13], [Passage("p10", "ten"), None, Passage("p12", "twelve")])
        ix.delete("p11")
        ix.update([ITEMS[40]], ["p12"])
        ix.delete("p0")
        ix.add([ITEMS[41]], ["p0"])
        ix.commit()
        assert sorted(ix.ids()) == sorted(["p0", *IDS[1:5], "p10", "p12"])
        assert np.array_equal(ix.vectors("p12"), ITEMS[40].astype(np.float16))
        assert np.array_equal(ix.vectors("p0"), ITEMS[41].astype(np.float16))
        assert ix.passage("p12") == Passage("p12", "twelve") and ix.passage("p0") is None
        ix.add([ITEMS[42]], ["gone"])
        ix.delete("gone")
        ix.commit()
        assert "gone" not in ix and ix.verify() == []


@pytest.mark.parametrize("nbits", [0, 2])
def test_merge_reclaims_space_and_changes_no_result(tmp_path: Path, nbits: int) -> None:
    passages = [Passage(item_id, f"text {item_id}", meta={"n": i}) for i, item_id in enumerate(IDS)]
    with Index.create(tmp_path / "ix", ITEMS[:30], passages=passages[:30], nbits=nbits) as ix:
        ix.add(ITEMS[30:50], IDS[30:50])
        ix.commit()
        ix.delete(IDS[0:25])
        ix.add(ITEMS[50:], passages=passages[50:])
        ix.commit()
        query = queries_near(ITEMS, 2)
        before, size, segments = ix.search(query, 60), ix.info()["bytes"], ix.info()["segments"]
        ix.merge()
        assert ix.search(query, 60) == before
        assert (segments, ix.info()["segments"], ix.info()["deleted_items"]) == (3, 1, 0)
        assert ix.info()["bytes"] < size
        assert ix.verify() == []
        generation = ix.generation
        ix.merge()
        assert ix.generation == generation
        on_disk = {p.name for p in (tmp_path / "ix").iterdir()}
        assert {name for name in on_disk if name[0].isdigit()} == {ix._open().views[0].record.name}


def test_merge_commits_what_was_waiting(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:10], IDS[:10]) as ix:
        ix.add(ITEMS[10:12], IDS[10:12])
        ix.delete("p0")
        ix.merge()
        assert ix.ids() == IDS[1:12] and ix.info()["segments"] == 1


def test_an_index_may_lose_all_its_items_and_gain_new_ones(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:5], IDS[:5]) as ix:
        ix.delete(IDS[:5])
        ix.commit()
        assert len(ix) == 0 and ix.search(np.ones((1, 8)), 3) == [[]] and ix.verify() == []
        ix.merge()
        ix.add(ITEMS[5:9], IDS[5:9])
        ix.commit()
        assert ix.ids() == IDS[5:9] and ix.verify() == []


def test_an_index_that_outgrows_its_codec_gets_another(tmp_path: Path) -> None:
    items = clustered_items(400, 8)
    with Index.create(tmp_path / "ix", items[:4], nbits=4) as ix:
        ix.add(items[4:])
        ix.commit()
        assert ix.info()["centroids"] > 100 and ix.verify() == []
        error = np.mean([np.square(ix.vectors(str(i)) - items[i]).sum(1).mean() for i in range(4, 400)])
        assert error < 0.01
        ix.merge()
        assert len(ix._open().codecs) == 1 and ix.verify() == []
        merged = np.mean([np.square(ix.vectors(str(i)) - items[i]).sum(1).mean() for i in range(400)])
        assert merged < 0.01


def test_overwrite_keeps_the_old_index_until_the_new_one_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "ix"
    Index.create(path, ITEMS[:10], IDS[:10]).close()
    old = Index.open(path)
    before = old.search(ITEMS[3], 5)
    with pytest.raises(AlreadyExists, match="overwrite=True"):
        Index.create(path, ITEMS)
    seen = []

    def stream() -> Any:
        for item in ITEMS[:3]:
            seen.append(len(Index.open(path)))
            yield item

    with Index.create(path, stream(), ["a", "b", "c"], nbits=4, overwrite=True) as new:
        assert seen == [10, 10, 10]
        assert new.ids() == ["a", "b", "c"]
        assert old.search(ITEMS[3], 5) == before
        assert old.refresh() and old.ids() == ["a", "b", "c"]
    broken = (np.full((1, 8), np.nan) for _ in range(1))
    with pytest.raises(InvalidInput):
        Index.create(path, broken, overwrite=True)
    assert Index.open(path).ids() == ["a", "b", "c"]
    assert Index.open(path).verify() == []


def test_create_leaves_a_folder_that_is_not_an_index_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(AlreadyExists, match=r"thesis\.txt"):
            Index.create(tmp_path / "mine", ITEMS, overwrite=overwrite)
    with pytest.raises(AlreadyExists, match="is a file"):
        Index.create(tmp_path / "mine" / "thesis.txt", ITEMS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput):
        Index.create(tmp_path / "empty", [np.ones(3)])
    assert (tmp_path / "empty").is_dir()
    Index.create(tmp_path / "empty", ITEMS).close()
    (tmp_path / "empty" / "notes.txt").write_text("keep me")
    with Index.create(tmp_path / "empty", ITEMS, overwrite=True) as ix:
        ix.merge()
    assert (tmp_path / "empty" / "notes.txt").read_text() == "keep me"


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndex, match="does not exist"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(NotAnIndex, match=r"manifest\.json"):
        Index.open(tmp_path)
    (tmp_path / "file").write_text("hello")
    with pytest.raises(NotAnIndex):
        Index.open(tmp_path / "file")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FlmrError):
        Index.open(tmp_path)


def test_a_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Index.create("~/mine/ix", ITEMS, IDS).close()
    assert len(Index.open(tmp_path / "mine" / "ix")) == len(Index.open("~/mine/ix")) == len(ITEMS)
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("path", [None, "", 3, b"ix", "a\0b", "~nobody-of-this-name/ix"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidInput, match="path"):
        Index.create(path, ITEMS)
    with pytest.raises(InvalidInput, match="path"):
        Index.open(path)


def test_an_index_and_its_searcher_say_what_they_are_and_are_not_copied_to_other_processes(tmp_path: Path) -> None:
    ix = Index.create(tmp_path / "ix", ITEMS, IDS)
    assert repr(ix) == f"<Index {tmp_path / 'ix'}: 60 items of D=8>"
    assert repr(ix.searcher()) == f"<Searcher {tmp_path / 'ix'}: 60 items of D=8, commit 1>"
    for one in (ix, ix.searcher()):
        with pytest.raises(TypeError, match=r"where it is needed, Index\.open\("):
            pickle.dumps(one)
    ix.close()
    assert repr(ix) == f"<Index {tmp_path / 'ix'}: closed>"


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ix").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="a link to nowhere: remove it"):
        Index.create(tmp_path / "ix", ITEMS)
    assert not (tmp_path / "nowhere").exists()


def test_a_mapping_and_words_are_no_vectors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="give its values, and its keys as ids="):
        Index.create(tmp_path / "ix", dict(zip(IDS, ITEMS, strict=True)))
    with pytest.raises(InvalidInput, match=r"an iterable of \(n, D\) arrays, not str"):
        Index.create(tmp_path / "ix", "vectors.npy")
    assert not (tmp_path / "ix").exists()


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    from flmr.index.manifest import seal, unseal

    Index.create(tmp_path / "ix", ITEMS).close()
    manifest = tmp_path / "ix" / "manifest.json"
    content = unseal(manifest.read_bytes(), manifest)
    sealed = seal(content).replace(b'"version": 2', b'"version": 99')
    _, rest = sealed.split(b"\n", 1)
    manifest.write_bytes(b'{"checksum": "' + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest)
    with pytest.raises(NotAnIndex, match=r"version 99.*newer flmr"):
        Index.open(tmp_path / "ix")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([np.full((2, 8), np.nan)], "item 'p1', row 0 holds NaN"),
        ([np.array([[0.0] * 8, [np.inf] * 8])], "item 'p1', row 1 holds infinity"),
        ([np.full((1, 8), 1e5)], "beyond float16's 65,504"),
        ([np.ones((2, 7))], "item 'p1' has D=7 but the index has D=8"),
        ([np.ones(8)], r"write x\[None\]"),
        ([np.ones((2, 2, 8))], r"must have shape \(n, D\)"),
        ([np.array([["a"] * 8])], "must hold numbers"),
        ([np.zeros((65_536, 8), np.float16)], "at most 65,535"),
        ([[[1.0] * 8, [2.0]]], "cannot be read"),
    ],
)
def test_bad_vectors_are_named_and_nothing_is_added(tmp_path: Path, bad: list[Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Index.create(tmp_path / "new", [ITEMS[1], *bad], ["p0", "p1"])
    assert not (tmp_path / "new").exists()
    with Index.create(tmp_path / "ix", ITEMS[:3], ["a", "b", "c"]) as ix:
        ix.add(ITEMS[3:5], ["d", "e"])
        with pytest.raises(InvalidInput, match=words):
            ix.add([ITEMS[1], *bad], ["p0", "p1"])
        with pytest.raises(InvalidInput, match=words.replace("p1", "a")):
            ix.update([ITEMS[1], *bad], ["b", "a"])
        ix.commit()
        assert ix.ids() == ["a", "b", "c", "d", "e"] and ix.verify() == []


@pytest.mark.parametrize("nbits", [0, 2])
def test_pooled_items_have_fewer_rows_also_those_that_come_later(tmp_path: Path, nbits: int) -> None:
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal((3, 8)).astype(np.float32) for _ in range(30)]
    items = [np.repeat(rows, 2, axis=0) for rows in directions]  # of two rows that are equal one is made
    with Index.create(tmp_path / "ix", items[:20], nbits=nbits, pool=2) as ix:
        ix.add([*items[20:], np.zeros((0, 8)), items[0][:5]], [*map(str, range(20, 30)), "none", "odd"])
        ix.commit()
    with Index.open(tmp_path / "ix") as ix:
        assert ix.info()["pool"] == 2 and ix.info()["vectors"] == 30 * 3 + 3 and ix.verify() == []
        assert [len(ix.vectors(item_id)) for item_id in ("3", "25", "none", "odd")] == [3, 3, 0, 3]
        assert ids_of(ix.search(directions[25], 1)[0]) == ["25"]
        if nbits == 0:
            assert np.allclose(ix.vectors("25"), directions[25], atol=2e-3)
        ix.update([items[1]], ["3"])
        ix.merge()
        assert len(ix.vectors("3")) == 3 and ix.info()["pool"] == 2
    for bad in (0, -1, 2.5, True, 1000):
        with pytest.raises(InvalidInput, match="pool must be a whole number"):
            Index.create(tmp_path / "no", items, pool=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("nbits", [0, 1, 2, 3, 4, 8])
def test_vectors_as_large_as_float16_goes_are_compressed(tmp_path: Path, nbits: int) -> None:
    items = [np.full((1, 4), 65_000.0), np.full((1, 4), -65_000.0)] * 3 + [np.array([[65_504.0, 0, 0, 0]])]
    items += [np.eye(4)[:1] * scale for scale in (1e-4, 1.0, 100.0)]
    with Index.create(tmp_path / "ix", items, nbits=nbits) as ix:
        assert ix.verify() == []
        assert ids_of(ix.search(np.array([[1.0, -1, 0, 0]]), 1)[0]) == ["6"]
        ix.merge()
        assert all(np.isfinite(ix.vectors(item_id)).all() for item_id in ix.ids())


def test_rows_far_longer_than_those_of_the_build_get_a_codec_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small, large = ([rng.standard_normal((3, 8)) * width for _ in range(20)] for width in (0.01, 1000))
    with Index.create(tmp_path / "ix", small) as ix:
        ix.add(large[:5], list("abcde"))
        ix.commit()
        ix.add(small[:2], ["y", "z"])
        ix.commit()
        assert ix.info()["segments"] == 3 and len(ix._open().codecs) == 2
        ix.merge()
        assert ix.verify() == [] and len(ix) == 27
        stored = ix.vectors("a")
        assert np.linalg.norm(stored - large[0]) < 0.5 * np.linalg.norm(large[0])
        assert np.linalg.norm(ix.vectors("y") - small[0]) < 0.5 * np.linalg.norm(small[0])


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        (["x", "x"], DuplicateId, "'x' is given twice"),
        (["x", "a"], DuplicateId, "'a' is already in .*use update"),
        (["x"], InvalidInput, "only 1 ids"),
        (["x", "y", "z"], InvalidInput, "more ids than vectors"),
        (["x", 7], InvalidInput, "an id must be a non-empty string, not 7"),
        (["x", ""], InvalidInput, "non-empty string"),
        (["x", "\ud800"], InvalidInput, "UTF-8"),
        (["x", "y" * 70_000], InvalidInput, "70,000 bytes"),
        ("xy", InvalidInput, "list of strings"),
    ],
)
def test_bad_ids_are_named_and_nothing_is_added(tmp_path: Path, ids: Any, error: type, words: str) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:1], ["a"]) as ix:
        with pytest.raises(error, match=words):
            ix.add(ITEMS[1:3], ids)
        ix.commit()
        assert ix.ids() == ["a"] and ix.generation == 1


def test_ids_and_passages_must_agree(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'a' came with the passage 'b'"):
        Index.create(tmp_path / "ix", ITEMS[:1], ["a"], [Passage("b")])
    with pytest.raises(InvalidInput, match="neither an id nor a passage"):
        Index.create(tmp_path / "ix", ITEMS[:1], None, [None])
    with pytest.raises(InvalidInput, match="expected a Passage, not str"):
        Index.create(tmp_path / "ix", ITEMS[:1], None, ["text"])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="more passages than vectors"):
        Index.create(tmp_path / "ix", ITEMS[:1], None, [Passage("a"), Passage("b")])
    with pytest.raises(InvalidInput, match="metadata cannot be written as JSON"):
        Index.create(tmp_path / "ix", ITEMS[:1], None, [Passage("a", meta={"x": object()})])
    assert not (tmp_path / "ix").exists()


def test_deleting_an_unknown_id_deletes_nothing(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS[:4], ["a", "b", "c", "d"]) as ix:
        with pytest.raises(UnknownId, match=r"'nope' is not in .*nothing was deleted"):
            ix.delete(["a", "nope"])
        with pytest.raises(DuplicateId, match="'b' is given twice"):
            ix.delete(["b", "b"])
        ix.delete("c")
        with pytest.raises(UnknownId):
            ix.delete("c")
        ix.commit()
        assert ix.ids() == ["a", "b", "d"]
        with pytest.raises(UnknownId):
            ix.vectors("c")
        with pytest.raises(UnknownId):
            ix.passage("c")


@pytest.mark.parametrize(
    "wrong",
    [
        {"nbits": 5},
        {"nbits": True},
        {"nbits": "2"},
        {"seed": -1},
        {"memory_limit": 5},
        {"encoder": 3},
        {"recipe": {"x": {1}}},
        {"overwrite": "no"},
        {"keep_vectors": "false"},
        {"resume": 1},
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Index.create(tmp_path / "ix", ITEMS, **wrong)
    assert not (tmp_path / "ix").exists()


def test_unicode_ids_and_any_bytes_in_them_are_kept(tmp_path: Path) -> None:
    ids = ["é", "e", "日本", "a/b\\c", "new\nline", " ", "🌉", "\x00", "Z", "z"]
    with Index.create(tmp_path / "ix", [np.ones((1, 4), np.float32)] * len(ids), ids) as ix:
        assert ix.ids() == ids
        assert all(item_id in ix for item_id in ids) and "zz" not in ix
        assert ids_of(ix.search(np.ones((1, 4)), 20)[0]) == sorted(ids)
        ix.delete(["日本", "new\nline"])
        ix.merge()
        assert ids_of(ix.search(np.ones((1, 4)), 20)[0]) == sorted(set(ids) - {"日本", "new\nline"})


def test_a_closed_index_says_so_and_its_searchers_go_on(tmp_path: Path) -> None:
    ix = Index.create(tmp_path / "ix", ITEMS, IDS)
    searcher = ix.searcher()
    hits = ix.search(ITEMS[1], 5)
    ix.close()
    ix.close()
    for use in (
        lambda: ix.search(ITEMS[1]),
        lambda: len(ix),
        lambda: ix.add(ITEMS),
        ix.commit,
        ix.merge,
        ix.info,
        ix.verify,
    ):
        with pytest.raises(IndexClosed, match="open it again"):
            use()
    assert searcher.search(ITEMS[1], 5) == hits


def test_info_tells_what_is_there(tmp_path: Path) -> None:
    encoder = {"name": "tiny", "fingerprint": "abc", "dim": 8}
    passages = [Passage("a", image=b"bytes"), Passage("b", image="b.png"), Passage("c", image=Path("c.png"))]
    with Index.create(
        tmp_path / "ix", ITEMS[1:4], None, passages, encoder=encoder, recipe={"k": [1, 2]}, nbits=4
    ) as ix:
        ix.delete("c")
        ix.commit()
    with Index.open(tmp_path / "ix") as ix:
        info = ix.info()
        assert (info["items"], info["deleted_items"], info["segments"], info["nbits"], info["dim"]) == (2, 1, 1, 4, 8)
        assert info["images_not_stored"] == 1
        assert info["encoder"] == ix.encoder == encoder and ix.recipe == {"k": [1, 2]}
        # The lock is the only file that is no part of a commit; the manifest itself is not counted.
        parts = [
            p for p in (tmp_path / "ix").rglob("*") if p.is_file() and p.name not in ("writer.lock", "manifest.json")
        ]
        assert info["bytes"] == sum(p.stat().st_size for p in parts)
        assert json.dumps(info)
        assert ix.passage("b") == Passage("b", image="b.png") and ix.passage("a") == Passage("a")


def test_progress_is_reported_by_stage(tmp_path: Path) -> None:
    calls = []
    Index.create(
        tmp_path / "ix", ITEMS, IDS, progress=lambda stage, done, total: calls.append((stage, done, total))
    ).close()
    stages = list(dict.fromkeys(stage for stage, _, _ in calls))
    assert stages == ["add", "fit codec", "pack", "checksum"]
    assert ("add", len(ITEMS), len(ITEMS)) in calls
    with lists_from(1):
        Index.create(tmp_path / "listed", ITEMS, progress=lambda stage, done, total: calls.append((stage, done, total)))
    assert "lists" in {stage for stage, _, _ in calls}


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS, IDS), Index.open(tmp_path / "ix") as second:
        with pytest.raises(IndexLocked, match=r"pid \d+"):
            second.add(ITEMS[:1], ["x"])
        assert len(second.search(ITEMS[1], 3)[0]) == 3
    with Index.open(tmp_path / "ix") as second:
        second.add(ITEMS[:1], ["x"])
        with pytest.raises(IndexLocked):
            Index.create(tmp_path / "ix", ITEMS, overwrite=True)
        second.commit()


def test_a_writer_builds_on_commits_that_others_made_since_it_opened(tmp_path: Path) -> None:
    Index.create(tmp_path / "ix", ITEMS[:3], ["a", "b", "c"]).close()
    with Index.open(tmp_path / "ix") as late:
        with Index.open(tmp_path / "ix") as early:
            early.add(ITEMS[3:4], ["d"])
            early.delete("a")
            early.merge()
        with pytest.raises(DuplicateId):
            late.add(ITEMS[4:5], ["d"])
        late.add(ITEMS[4:5], ["a"])
        late.commit()
        assert sorted(late.ids()) == ["a", "b", "c", "d"] and late.verify() == []


def test_self_check_measures_recall_against_the_exact_search(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", ITEMS, IDS, nbits=4) as ix:
        assert ix.self_check(n=20) == {"recall@10": 1.0, "recall@100": 1.0}
        assert set(ix.self_check(n=5, k=3)) == {"recall@3", "recall@100"}
        poor = ix.self_check(n=20, params=SearchParams(nprobe=1, candidates=10))
        assert poor["recall@10"] < 1


def test_flat_search_is_brute_force(tmp_path: Path) -> None:
    rounded = {item_id: item.astype(np.float16) for item_id, item in zip(IDS, ITEMS, strict=True)}
    with Index.create(tmp_path / "ix", ITEMS, IDS, nbits=0) as ix:
        for query in queries_near(ITEMS, 10):
            assert ids_of(ix.search(query, 15)[0]) == best_ids(query, rounded, 15)


def test_kept_vectors_of_a_segment_with_an_older_codec_are_merged(tmp_path: Path) -> None:
    few, many = clustered_items(4, 8, rows=(2, 4)), clustered_items(200, 8, seed=3)
    with Index.create(tmp_path / "ix", few, nbits=2, keep_vectors=True) as ix:
        ix.add(many)
        ix.commit()
        assert len(ix._open().manifest.codecs) == 2
        before = {item_id: ix.vectors(item_id) for item_id in ix.ids()}
        ix.merge()
        assert ix.info()["segments"] == 1 and ix.verify() == []
        assert all(np.array_equal(ix.vectors(item_id), rows) for item_id, rows in before.items())
