"""Who may be among the best, as a CUDA device says: always those who are, and few others."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import normal, ragged

torch = pytest.importorskip("torch")

from flmr.errors import InvalidInput, NativeError  # noqa: E402
from flmr.ops import cuda  # noqa: E402
from flmr.ops.resident import Resident, cut  # noqa: E402
from flmr.ops.score import score_flat  # noqa: E402
from flmr.ops.topk import topk  # noqa: E402

LENGTHS = (np.random.default_rng(0).integers(0, 9, 90)).tolist()


def queries() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [normal(rng, rows, 16) * np.float32(size) for rows, size in ((3, 1), (9, 1e20), (1, 1e-20), (40, 1))]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("held_bytes", "chunk_bytes", "scratch_bytes"), [(1 << 30, 1 << 30, 1 << 28), (3000, 900, 1000), (0, 1, 1)]
)
def test_the_best_are_always_named_and_hardly_others(
    emulated_card: None, dtype: type, held_bytes: int, chunk_bytes: int, scratch_bytes: int
) -> None:
    items = ragged(np.random.default_rng(2), LENGTHS, 16, dtype)
    memory = {"held_bytes": held_bytes, "chunk_bytes": chunk_bytes, "scratch_bytes": scratch_bytes}
    resident = Resident(items.offsets, items.vectors, **memory)
    some = np.flatnonzero(np.random.default_rng(3).random(len(items)) < 0.4).astype(np.uint32)
    for chosen in (None, some, some[:0]):
        for k in (1, 7, 500):
            for query, named in zip(queries(), resident.best(queries(), k, chosen), strict=True):
                rows = np.arange(len(items), dtype=np.uint32) if chosen is None else chosen
                best = rows[topk(score_flat(query, rows, items.offsets, items.vectors), k)]
                assert set(best.tolist()) <= set(named.tolist())
                assert len(named) <= len(best) + 2 and (np.diff(named.astype(np.int64)) > 0).all()


def test_vectors_so_near_to_each_other_that_the_device_cannot_tell_are_all_named(emulated_card: None) -> None:
    query = normal(np.random.default_rng(4), 5, 16)
    document = normal(np.random.default_rng(5), 3, 16).astype(np.float16)
    nearly = [document * np.float16(1 + 2.0**-10 * (i % 2)) for i in range(6)]
    vectors = np.concatenate([*nearly, document * np.float16(0.5)])
    resident = Resident(np.arange(0, 3 * 8, 3, dtype=np.int64), vectors)
    exact = score_flat(query, None, np.arange(0, 3 * 8, 3, dtype=np.int64), vectors)
    (named,) = resident.best([query], 1)
    assert exact.argmax() in named and 6 not in named


def test_vectors_go_to_the_device_that_was_current_first(emulated_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    items = ragged(np.random.default_rng(6), [4] * 9, 16, np.float16)
    resident = Resident(items.offsets, items.vectors)
    monkeypatch.setattr(cuda, "the_device", lambda: torch.device("meta"))
    (named,) = resident.best([normal(np.random.default_rng(7), 3, 16)], 2)
    assert len(named) >= 2


def test_damaged_vectors_hide_nobody(emulated_card: None) -> None:
    items = ragged(np.random.default_rng(6), [4] * 9, 16, np.float16)
    items.vectors[5, 3] = np.nan
    (named,) = Resident(items.offsets, items.vectors).best([normal(np.random.default_rng(7), 3, 16)], 2)
    best = topk(score_flat(normal(np.random.default_rng(7), 3, 16), None, items.offsets, items.vectors), 2)
    assert set(best.tolist()) <= set(named.tolist())


def test_no_queries_and_no_items_name_nobody(emulated_card: None) -> None:
    items = ragged(np.random.default_rng(8), [2, 0], 4, np.float16)
    assert Resident(items.offsets, items.vectors).best([], 3) == []
    none = ragged(np.random.default_rng(8), [], 4, np.float16)
    assert [rows.tolist() for rows in Resident(none.offsets, none.vectors).best([np.ones((1, 4), np.float32)], 3)] == [
        []
    ]


def test_chunks_hold_so_many_rows_or_one_item() -> None:
    offsets = np.array([0, 3, 3, 10, 12, 13, 13], np.int64)
    assert cut(offsets, 100) == [(0, 6)]
    assert cut(offsets, 5) == [(0, 2), (2, 3), (3, 6)]
    assert cut(offsets, 1) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    assert cut(np.zeros(1, np.int64), 5) == []


def test_without_a_device_it_is_an_error_that_names_the_remedy() -> None:
    items = ragged(np.random.default_rng(9), [2], 4, np.float16)
    if not torch.cuda.is_available():
        with pytest.raises(NativeError, match="device='cpu'"):
            Resident(items.offsets, items.vectors)
    with pytest.raises(InvalidInput, match="float64"):
        Resident(items.offsets, items.vectors.astype(np.float64))
