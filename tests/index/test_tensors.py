"""Indexes of torch tensors: the bytes and the errors of arrays; no row is sent to a card that was made there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from index.clustered import clustered_items, queries_near
from index.test_index import files_of
from index.test_resume import Stop, contents, stopping_after

from flmr import Index
from flmr.errors import InvalidInput

torch = pytest.importorskip("torch")

from flmr.ops import cuda  # noqa: E402

ITEMS = clustered_items(60, 8, rows=(0, 6))
MANY = clustered_items(300, 8, rows=(0, 6))  # more than one batch of an index with the least memory
LEAST = 1 << 20


def tensors(items: list[np.ndarray], place: Any) -> list[Any]:
    return [torch.tensor(item, device=place) for item in items]


def life(path: Path, place: Any, device: Any, **how: Any) -> list[np.ndarray]:
    """Create an index, fail to add to it and to update it, add, update; what it stores at the end.

    place: where the items lie as tensors; None: they are arrays.
    """
    bad, ids = [np.array([[1.0] * 8, [np.nan] * 8], np.float32)], [str(i) for i in range(300)]
    items = MANY if place is None else tensors(MANY, place)
    bad = bad if place is None else tensors(bad, place)
    with Index.create(path, items[:260], device=device, memory_limit=LEAST, **how) as ix:
        ix.add(items[260:280])
        with pytest.raises(InvalidInput, match="there are only 250 ids"):  # its first batch was taken
            ix.add(items[:260], [f"x{i}" for i in range(250)])
        ix.add(items[280:])
        with pytest.raises(InvalidInput, match="item '260', row 1 holds NaN"):
            ix.update([*items[:260], *bad], ids[:261])
        ix.update(items[290:], ids[:10])
        ix.commit()
        assert ix.verify() == [] and len(ix) == 300
        return [ix.vectors(item_id) for item_id in ids]


def near(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The share of items whose stored vectors, of length 1, are equal but for the last bit."""
    bits = 4 * np.finfo(np.float32).eps
    return float(np.mean([np.allclose(a, b, rtol=0, atol=bits) for a, b in zip(found, expected, strict=True)]))


@pytest.mark.parametrize("how", [{}, {"keep_vectors": True}, {"nbits": 0}], ids=str)
def test_what_lies_on_a_card_is_stored_as_by_the_processor_and_never_sent(
    tmp_path: Path, card: Any, sent_rows: list[int], how: dict[str, Any]
) -> None:
    expected = life(tmp_path / "cpu", None, "cpu", **how)
    found = life(tmp_path / "card", card, "cuda", **how)
    assert sent_rows == []
    assert near(found, expected) > 0.99
    for query in queries_near(MANY, 4):
        best = []
        for name in ("cpu", "card"):
            with Index.open(tmp_path / name) as ix:
                best.append([hit.id for hit in ix.search(query, 5)[0]])
        assert best[0] == best[1]


@pytest.mark.parametrize("free", [[], [22_000]], ids=["none", "one batch"])  # bytes, of 16 a row; half may be taken
def test_rows_that_a_card_has_no_room_for_come_from_the_file(
    tmp_path: Path, card: Any, sent_rows: list[int], monkeypatch: pytest.MonkeyPatch, free: list[int]
) -> None:
    life(tmp_path / "all", card, "cuda")
    assert sent_rows == []
    one_batch = bool(free)
    monkeypatch.setattr(cuda, "free_bytes", lambda device: free.pop() if free else 0)
    life(tmp_path / "some", card, "cuda")
    assert sent_rows and (max(sent_rows) < 300) == one_batch  # the first batch has 681 rows
    assert files_of(tmp_path / "some") == files_of(tmp_path / "all")
    del sent_rows[:]
    life(tmp_path / "arrays", None, "cuda")
    assert sum(sent_rows) > sum(map(len, MANY))
    assert files_of(tmp_path / "arrays") == files_of(tmp_path / "all")


def test_arrays_between_tensors_are_stored_in_their_order(tmp_path: Path, card: Any, sent_rows: list[int]) -> None:
    mixed = [
        tensor if i % 7 else array for i, (tensor, array) in enumerate(zip(tensors(MANY, card), MANY, strict=True))
    ]
    for name, items in (("mixed", mixed), ("tensors", tensors(MANY, card))):
        Index.create(tmp_path / name, items, device="cuda").close()
    assert files_of(tmp_path / "mixed") == files_of(tmp_path / "tensors")


def test_a_tensor_may_be_written_over_once_it_was_added(tmp_path: Path, card: Any) -> None:
    items = tensors([item.astype(np.float16) for item in MANY[:50]], card)
    with Index.create(tmp_path / "ix", items[:25], device="cuda") as ix:
        expected = [ix.vectors(str(i)) for i in range(25)]
        ix.add(items[:25], [f"again{i}" for i in range(25)])
        for item in items:
            item.zero_()
        ix.commit()
        assert near([ix.vectors(f"again{i}") for i in range(25)], expected) > 0.95


def test_a_build_from_a_card_that_was_interrupted_goes_on(
    tmp_path: Path, card: Any, sent_rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"device": "cuda", "memory_limit": LEAST}
    Index.create(tmp_path / "whole", tensors(MANY, card), **how).close()
    with monkeypatch.context() as patch, pytest.raises(Stop):
        seen = stopping_after(1, patch)
        Index.create(tmp_path / "ix", tensors(MANY, card), resume=True, **how)
    with monkeypatch.context() as patch:
        more = stopping_after(100, patch)
        Index.create(tmp_path / "ix", tensors(MANY, card), resume=True, **how).close()
    assert len(seen) == 1 and sum(seen) + sum(more) == sum(map(len, MANY))  # nothing was packed twice
    assert contents(tmp_path / "ix") == contents(tmp_path / "whole")
    assert sent_rows == []


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_give_the_bytes_of_their_arrays(tmp_path: Path, dtype: Any, pool: int) -> None:
    given = [torch.from_numpy(item).to(dtype) for item in ITEMS]
    given[1].requires_grad_()
    arrays = [of.detach().float().numpy() for of in given]
    for name, items in (("tensors", given), ("arrays", arrays)):
        with Index.create(tmp_path / name, items[:40], nbits=2, pool=pool) as ix:
            ix.add(items[40:])
            ix.update(items[2:4], ["7", "41"])
            ix.commit()
    assert files_of(tmp_path / "tensors") == files_of(tmp_path / "arrays")


def test_one_tensor_of_equally_long_items_and_queries_of_tensors_are_taken(tmp_path: Path) -> None:
    items = torch.from_numpy(np.stack([item for item in clustered_items(20, 8, rows=(4, 4))]))
    with Index.create(tmp_path / "ix", items, nbits=4) as ix:
        assert len(ix) == 20
        query = items[3].bfloat16()
        assert ix.search(query, 5) == ix.search([query.float().numpy()], 5)
    with pytest.raises(InvalidInput, match=r"one array of shape \(4, 8\); give MultiVectors or a list"):
        Index.create(tmp_path / "no", items[0])


WRONG = [
    (torch.full((2, 8), torch.nan), "item 'p1', row 0 holds NaN"),
    (torch.tensor([[0.0] * 8, [torch.inf] * 8]), "item 'p1', row 1 holds infinity"),
    (torch.full((1, 8), 1e5), "item 'p1', row 0 holds 100000, beyond float16's 65,504"),
    (torch.ones(2, 7), "item 'p1' has D=7 but the index has D=8"),
    (torch.ones(8), r"item 'p1' must have shape \(n, D\), not \(8,\); write x\[None\]"),
    (torch.ones(65_536, 8), "item 'p1' has 65,536 rows"),
    (torch.ones(1, 8) > 0, "item 'p1' must hold numbers, not bool"),
    (torch.nn.Linear(8, 8), "item 'p1' must hold numbers, not object"),
]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("bad", "words"), WRONG)
def test_a_wrong_tensor_is_named_and_nothing_is_added(
    tmp_path: Path, card: Any, device: Any, bad: Any, words: str
) -> None:
    good, bad = torch.ones(1, 8, device=card), bad.to(card)
    with pytest.raises(InvalidInput, match=words):
        Index.create(tmp_path / "no", [good, bad, good], ["p0", "p1", "p2"], device=device)
    assert not (tmp_path / "no").exists()
    with Index.create(tmp_path / "ix", ITEMS, device=device) as ix:
        with pytest.raises(InvalidInput, match=words):
            ix.add([good, bad], ["p0", "p1"])
        ix.commit()
        assert len(ix) == len(ITEMS)


def test_an_index_of_arrays_never_imports_torch(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom flmr import Index\n"
        f"with Index.create({str(tmp_path / 'ix')!r}, [np.ones((2, 4))] * 9) as ix:\n"
        "    ix.add([np.ones((1, 4))]); ix.update([np.zeros((1, 4))], ['3']); ix.merge(); ix.search(np.ones((1, 4)))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0
