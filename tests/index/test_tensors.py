"""Indexes of torch tensors: the bytes and the errors of arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from index.clustered import clustered_items
from index.test_index import files_of

from flmr import Index
from flmr.errors import InvalidInput

torch = pytest.importorskip("torch")

ITEMS = clustered_items(60, 8, rows=(0, 6))


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_give_the_bytes_of_their_arrays(tmp_path: Path, dtype: Any, pool: int) -> None:
    tensors = [torch.from_numpy(item).to(dtype) for item in ITEMS]
    tensors[1].requires_grad_()
    arrays = [of.detach().float().numpy() for of in tensors]
    for name, items in (("tensors", tensors), ("arrays", arrays)):
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


@pytest.mark.parametrize(("bad", "words"), WRONG)
def test_a_wrong_tensor_is_named_and_nothing_is_added(tmp_path: Path, bad: Any, words: str) -> None:
    good = torch.ones(1, 8)
    with pytest.raises(InvalidInput, match=words):
        Index.create(tmp_path / "no", [good, bad, good], ["p0", "p1", "p2"])
    assert not (tmp_path / "no").exists()
    with Index.create(tmp_path / "ix", ITEMS) as ix:
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
