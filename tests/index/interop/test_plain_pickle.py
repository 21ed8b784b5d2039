"""Pickles and torch files are read as data: what they hold comes out, and nothing that they name is ever run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flmr.errors import CorruptIndex
from flmr.index.interop.plain_pickle import plain_pickle
from flmr.index.interop.torch_file import read_tensor, read_tensors

SHARED = ["a", "b"]
VALUES = [
    {number: f"document {number}" for number in range(3000)},
    {"a": [1, -1, 255, 256, 65_536, 1 << 40, -(1 << 80), 2.5, True, False, None]},
    ("", "né", "\U0001f600" * 300, b"", b"x" * 300, b"x" * 70_000, "x" * 70_000),
    [SHARED, SHARED, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[[]]], {}],
]


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_plain_data_comes_out_as_it_went_in(value: Any, protocol: int) -> None:
    plain = value if protocol > 2 else _without_bytes(value)
    assert plain_pickle(pickle.dumps(plain, protocol), "x") == plain


def _without_bytes(value: Any) -> Any:
    """Before protocol 3 bytes are a call of a codec."""
    return tuple(part for part in value if not isinstance(part, bytes)) if isinstance(value, tuple) else value


class Runs:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_code_runs_none(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({0: Runs(tmp_path / "made")}, protocol)
    plain_pickle(data, "x")
    assert not (tmp_path / "made").exists()
    pickle.loads(data)
    assert (tmp_path / "made").exists()  # so it would have


def test_a_torch_file_that_names_code_runs_none(tmp_path: Path) -> None:
    path = tmp_path / "codes.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("codes/data.pkl", pickle.dumps((Runs(tmp_path / "made"), torch.nn.Module), 2))
        archive.writestr("codes/byteorder", "little")
    with pytest.raises(CorruptIndex, match="where tensors are expected"):
        read_tensors(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.uint8, torch.int32, torch.int64])
def test_tensors_of_a_torch_file_are_what_torch_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "x.pt"
    tensor = (torch.arange(24).reshape(6, 4) * 5).to(dtype)
    torch.save(tensor[2:5], path)
    assert np.array_equal(read_tensor(path, ndim=2), torch.load(path, weights_only=True).numpy())
    torch.save((tensor[:, 0].contiguous(), [tensor[:0], 3, None]), path)
    first, (empty, number, nothing) = read_tensors(path)
    assert first.tolist() == tensor[:, 0].tolist() and empty.shape == (0, 4) and (number, nothing) == (3, None)


def test_old_and_compressed_torch_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(3), path, _use_new_zipfile_serialization=False)
    with pytest.raises(CorruptIndex, match=r"older than torch 1\.6"):
        read_tensors(path)
    torch.save(torch.zeros(3000), path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CorruptIndex, match="compressed or too short"):
        read_tensors(tmp_path / "y.pt")


def test_changed_bytes_give_a_value_or_one_clear_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pickled = pickle.dumps([VALUES[1], VALUES[3]], 4)
    torch.save((torch.arange(5), torch.zeros(2, 3)), tmp_path / "x.pt")
    saved = (tmp_path / "x.pt").read_bytes()
    refused = 0
    for turn in range(1500):
        data = np.frombuffer(pickled if turn % 2 else saved, np.uint8).copy()
        data[rng.integers(len(data), size=1 + turn % 3)] = rng.integers(256)
        data = data[: rng.integers(1, len(data) + 1)] if turn % 5 == 0 else data
        try:
            if turn % 2:
                plain_pickle(data.tobytes(), "x")
            else:
                (tmp_path / "y.pt").write_bytes(data.tobytes())
                read_tensors(tmp_path / "y.pt")
        except CorruptIndex as error:
            refused += 1
            assert "\n" not in str(error)
    assert 300 < refused < 1400  # else nothing of it is tested
