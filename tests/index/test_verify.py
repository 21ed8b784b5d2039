"""No changed byte goes unnoticed: it is refused at open or reported by verify, and nothing ever crashes on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index.clustered import clustered_items, queries_near
from index.listed import as_if_large

from flmr import Index, Passage, SearchParams
from flmr.errors import FlmrError, NotAnIndex
from flmr.index.format import LOCK
from flmr.index.verify import verify

ITEMS = clustered_items(40, 8, rows=(0, 5))
QUERY = np.ones((3, 8), np.float32)
BITS = 6  # flips a file here; the long run tries many more


def build(path: Path) -> None:
    """Two segments, one with deletions, all that large indexes have, kept vectors, passages: every kind of file."""
    passages = [Passage(f"p{i}", f"text {i}", meta={"n": i}) for i in range(len(ITEMS))]
    sample = queries_near(ITEMS, 4, rows=3)
    with (
        as_if_large(),
        Index.create(path, ITEMS[:30], passages=passages[:30], nbits=3, keep_vectors=True, sample_queries=sample) as ix,
    ):
        ix.add(ITEMS[30:], passages=passages[30:])
        ix.delete(["p1", "p2"])
        ix.commit()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "ix"
    build(path)
    return path


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "ix"))


def files_of(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != LOCK)


def noticed(path: Path) -> bool:
    """Whether the damage is refused at open or reported; and whatever is asked of the index, only FlmrError comes."""
    try:
        with Index.open(path) as ix:
            found = bool(ix.verify())
            for ask in (
                lambda: ix.search(QUERY, 5),
                lambda: ix.search(QUERY, 5, params=SearchParams(nprobe=2, candidates=5), where={"n": {"gt": 3}}),
                lambda: [ix.vectors(item_id) for item_id in ix.ids()],
                lambda: [ix.passage(item_id) for item_id in ix.ids()],
            ):
                try:
                    ask()
                except FlmrError:
                    assert found
            return found
    except FlmrError:
        return True


def flips(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    for bit in rng.choice(8 * len(data), min(count, 8 * len(data)), replace=False).tolist():
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_a_sound_index_has_no_problems(sound: Path) -> None:
    assert verify(sound) == []
    assert len(files_of(sound)) == 1 + 6 + 1 + 2 + 2 + 2 * 15


def test_every_flipped_bit_is_noticed(copy: Path) -> None:
    for number, name in enumerate(files_of(copy)):
        data = (copy / name).read_bytes()
        for changed in flips(data, BITS, number):
            (copy / name).write_bytes(changed)
            assert noticed(copy), name
        (copy / name).write_bytes(data)
    assert not noticed(copy)


@pytest.mark.slow
def test_every_bit_of_the_small_files_and_many_of_the_large_are_noticed(copy: Path) -> None:
    for number, name in enumerate(files_of(copy)):
        data = (copy / name).read_bytes()
        for changed in flips(data, 300, number):
            (copy / name).write_bytes(changed)
            assert noticed(copy), name
        (copy / name).write_bytes(data)


def test_every_truncation_and_extension_is_refused_at_open(copy: Path) -> None:
    for name in files_of(copy):
        data = (copy / name).read_bytes()
        for size in sorted({0, 1, len(data) // 2, len(data) - 1}):
            (copy / name).write_bytes(data[:size])
            with pytest.raises(FlmrError):
                Index.open(copy)
        (copy / name).write_bytes(data + b"\0")
        with pytest.raises(FlmrError):
            Index.open(copy)
        (copy / name).write_bytes(data)


def test_every_missing_file_is_refused_at_open(copy: Path) -> None:
    for name in files_of(copy):
        data = (copy / name).read_bytes()
        (copy / name).unlink()
        with pytest.raises(FlmrError) as raised:
            Index.open(copy)
        assert str(copy) in str(raised.value)
        (copy / name).write_bytes(data)


def test_a_problem_names_the_file(copy: Path) -> None:
    path = copy / "0001" / "residuals.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with Index.open(copy) as ix:
        assert [str(path) in problem for problem in ix.verify()] == [True]


def test_files_of_another_index_of_the_same_shape_are_noticed(copy: Path, tmp_path: Path) -> None:
    build(tmp_path / "other")
    for name in files_of(copy):
        other = (tmp_path / "other" / name).read_bytes()
        assert other == (copy / name).read_bytes()  # the same input gives the same files
    Index.create(tmp_path / "third", [item[::-1] for item in ITEMS[:30]], [f"q{i}" for i in range(30)]).close()
    shutil.copy(tmp_path / "third" / "0001" / "ids.utf8", copy / "0001" / "ids.utf8")
    assert noticed(copy)


def test_verify_refuses_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndex):
        verify(tmp_path)


def test_leftovers_and_foreign_files_are_no_problem(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "0009").mkdir()
    (copy / "0009" / "codes.npy").write_bytes(b"unfinished")
    (copy / "manifest.json.new").write_text("{")
    assert verify(copy) == []
    with Index.open(copy) as ix:
        ix.delete("p5")
        ix.commit()
    assert not (copy / "0009").exists() and not (copy / "manifest.json.new").exists()
    assert (copy / "notes.txt").read_text() == "mine"
