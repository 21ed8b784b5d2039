"""An index that grows: centroids follow where vectors drift, and nothing that was stored before changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flmr import Index, SearchParams
from flmr.index.codec import num_centroids

EXACT = SearchParams(exact=True)


def topic(seed: int, items: int) -> list[np.ndarray]:
    """Items of ten unit rows, 64-d, in a subspace of twelve dimensions that belongs to the topic."""
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((12, 64))
    rows = rng.standard_normal((items, 10, 12)) @ words + 0.3 * rng.standard_normal((items, 10, 64))
    return list((rows / np.linalg.norm(rows, axis=2, keepdims=True)).astype(np.float32))


def centroids_of(ix: Index) -> int:
    return int(ix.info()["centroids"])


def error_of(ix: Index, items: list[np.ndarray], first: int) -> float:
    """Mean squared error of the stored vectors of items that were added as `first`, `first + 1`, ..."""
    return float(np.mean([np.square(ix.vectors(str(first + i)) - item).sum() for i, item in enumerate(items)]))


def test_vectors_of_a_new_topic_are_stored_as_well_as_the_first(tmp_path: Path) -> None:
    old, new = topic(1, 400), topic(2, 100)
    with Index.create(tmp_path / "ix", old) as ix:
        before, stored = centroids_of(ix), [ix.vectors(str(i)) for i in range(50)]
        ix.add(new)
        ix.commit()
        assert centroids_of(ix) > before
        assert error_of(ix, new, 400) < 1.15 * error_of(ix, old, 0)
        assert len(ix._open().codecs) == 1  # the grown codec took the place of the old one
        for again, vectors in enumerate(stored):
            assert np.array_equal(ix.vectors(str(again)), vectors)
        assert ix.verify() == []
        hits = [[hit.id for hit in found] for found in ix.search(new[:20], 5, params=EXACT)]
        ix.merge()
        assert ix.info()["segments"] == 1 and ix.verify() == []
        assert [[hit.id for hit in found] for found in ix.search(new[:20], 5, params=EXACT)] == hits
        assert all(np.array_equal(ix.vectors(str(i)), vectors) for i, vectors in enumerate(stored))
    with Index.open(tmp_path / "ix") as ix:
        assert [[hit.id for hit in found] for found in ix.search(new[:20], 5, params=EXACT)] == hits
        assert all(hits[i][0] == str(400 + i) for i in range(20))


def one_topic() -> list[np.ndarray]:
    """800 items of 40 rows, 32-d, all from the same 600 words."""
    rng = np.random.default_rng(5)
    words = rng.standard_normal((600, 32))
    rows = words[rng.integers(0, 600, (800, 40))] + 0.3 * rng.standard_normal((800, 40, 32))
    return list(rows.astype(np.float32))


def test_more_of_the_same_does_not_grow_centroids(tmp_path: Path) -> None:
    items = one_topic()
    with Index.create(tmp_path / "ix", items[:600]) as ix:
        before = centroids_of(ix)
        for first in range(600, 800, 50):
            ix.add(items[first : first + 50])
            ix.commit()
        assert centroids_of(ix) == before


def test_many_new_topics_cost_few_centroids_each(tmp_path: Path) -> None:
    with Index.create(tmp_path / "ix", topic(0, 200)) as ix:
        for seed in range(1, 9):
            ix.add(topic(seed, 50))
            ix.commit()
        vectors = ix.info()["vectors"]
        assert centroids_of(ix) < 4 * num_centroids(vectors, vectors)
        assert ix.verify() == []
        errors = [error_of(ix, topic(seed, 50), 150 + 50 * seed) for seed in range(1, 9)]
        assert max(errors) < 1.4 * error_of(ix, topic(0, 200), 0)


@pytest.mark.parametrize("keep_vectors", [False, True])
def test_deleting_and_updating_over_grown_codecs_leaves_a_sound_index(tmp_path: Path, keep_vectors: bool) -> None:
    with Index.create(tmp_path / "ix", topic(1, 100), keep_vectors=keep_vectors) as ix:
        ix.add(topic(2, 40))
        ix.delete([str(i) for i in range(0, 100, 2)])
        ix.commit()
        ix.update(topic(3, 20), [str(100 + i) for i in range(20)])
        ix.commit()
        assert ix.verify() == [] and len(ix) == 90
        ix.merge()
        assert ix.verify() == [] and len(ix) == 90
        found = ix.search([topic(3, 20)[7]], 1)[0]
        assert found[0].id == "107"


def encoding_of(ix: Index) -> list[bytes]:
    """The codec and the codes of an index of one segment."""
    (segment,) = (view.segment for view in ix._open().views)
    assert segment.codec is not None
    codes = [array.tobytes() for array in segment.encoded(0, segment.layout.vectors)]
    return [segment.codec.centroids_KD.tobytes(), segment.codec.scale_table.tobytes(), *codes]


def recall_of(ix: Index, queries: list[np.ndarray]) -> float:
    """Share of the exact ten best that are found where few items get an estimate: what the codes alone are worth."""
    truth = ix.search(queries, 10, params=EXACT)
    found = ix.search(queries, 10, params=SearchParams(candidates=20))
    shares = [len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in zip(truth, found, strict=True)]
    return float(np.mean(shares)) / 10


def rows_of(items: list[np.ndarray]) -> list[np.ndarray]:
    """Each row as an item of its own."""
    return [row[None] for item in items for row in item]


def add_bit_by_bit(ix: Index, items: list[np.ndarray]) -> None:
    """Commits of seven rows: too few for a centroid of their own."""
    for first in range(0, len(items), 7):
        ix.add(items[first : first + 7])
        ix.commit()


@pytest.mark.parametrize("memory_limit", [None, 1 << 20])
def test_merging_kept_vectors_that_drifted_is_a_fresh_build(tmp_path: Path, memory_limit: int | None) -> None:
    items = topic(1, 20) + rows_of(topic(2, 5))
    how: dict[str, Any] = {"keep_vectors": True, "nbits": 1, "memory_limit": memory_limit}
    with Index.create(tmp_path / "ix", items[:20], **how) as ix:
        before = centroids_of(ix)
        add_bit_by_bit(ix, items[20:])
        assert centroids_of(ix) == before
        ix.delete([str(i) for i in range(0, len(items), 3)])
        ix.merge()
        assert ix.verify() == [] and len(ix) == 46 and len(ix._open().codecs) == 1
        left = [i for i in range(len(items)) if i % 3]
        with Index.create(tmp_path / "fresh", [items[i] for i in left], map(str, left), **how) as fresh:
            assert encoding_of(ix) == encoding_of(fresh)
        codecs = list(ix._open().manifest.codecs)
        ix.delete(["1"])
        ix.merge()
        assert list(ix._open().manifest.codecs) == codecs  # now it fits


def test_merging_kept_vectors_finds_what_a_drifted_codec_misses(tmp_path: Path) -> None:
    items = topic(1, 30) + rows_of(topic(2, 14))
    queries = items[30::2]
    with Index.create(tmp_path / "ix", items[:30], keep_vectors=True, nbits=1) as ix:
        add_bit_by_bit(ix, items[30:])
        before = recall_of(ix, queries)
        ix.merge()
        with Index.create(tmp_path / "fresh", items, keep_vectors=True, nbits=1) as fresh:
            assert recall_of(ix, queries) == recall_of(fresh, queries) > before + 0.1, before


def test_merging_kept_vectors_that_their_codec_fits_copies_codes(tmp_path: Path) -> None:
    items = one_topic()
    with Index.create(tmp_path / "ix", items[:600], keep_vectors=True) as ix:
        codec = list(ix._open().manifest.codecs)
        ix.add(items[600:])
        ix.commit()
        ix.merge()
        assert ix.info()["segments"] == 1 and list(ix._open().manifest.codecs) == codec
