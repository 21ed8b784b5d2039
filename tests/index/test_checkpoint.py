"""What an interrupted build has computed: found again by its input, never found wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flmr.errors import AlreadyExists
from flmr.index.checkpoint import Checkpoint, digest

ARRAYS = [np.arange(6, dtype=np.uint16).reshape(3, 2), np.array([0.5, 2], np.float32), np.empty((0, 4), np.uint8)]


def test_arrays_are_found_again_by_their_key_in_another_process_life(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "b") as checkpoint:
        checkpoint.keep("a", ARRAYS)
        assert checkpoint.recall("other") is None
    with Checkpoint(tmp_path / "b") as checkpoint:
        found = checkpoint.recall("a")
        assert found is not None
        for kept, array in zip(found, ARRAYS, strict=True):
            assert kept.dtype == array.dtype and np.array_equal(kept, array)


def test_a_line_that_was_cut_and_arrays_that_were_lost_are_not_found(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "b") as checkpoint:
        checkpoint.keep("a", ARRAYS)
        checkpoint.keep("b", ARRAYS)
    log, raw = tmp_path / "b" / "arrays.jsonl", tmp_path / "b" / "arrays.raw"
    whole_log, whole_raw = log.read_bytes(), raw.read_bytes()
    first_line = whole_log.index(b"\n", whole_log.index(b"\n") + 1) + 1
    for cut in range(len(whole_log)):
        log.write_bytes(whole_log[:cut])
        with Checkpoint(tmp_path / "b") as checkpoint:
            assert (checkpoint.recall("a") is not None) == (cut >= first_line)
            assert checkpoint.recall("b") is None
            checkpoint.keep("c", ARRAYS)  # goes on from there
            assert checkpoint.recall("c") is not None
        raw.write_bytes(whole_raw)
    for lost in (whole_raw[:-1], whole_raw[:10] + b"\0\0" + whole_raw[12:]):
        log.write_bytes(whole_log)
        raw.write_bytes(lost)
        with Checkpoint(tmp_path / "b") as checkpoint:
            assert checkpoint.recall("b") is None or checkpoint.recall("a") is None


def test_removing_leaves_nothing_and_another_folder_is_not_touched(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "b")
    checkpoint.keep("a", ARRAYS)
    checkpoint.remove()
    assert not (tmp_path / "b").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(AlreadyExists, match=r"letter\.txt"):
        Checkpoint(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_digest_tells_types_shapes_and_bytes_apart() -> None:
    values = np.arange(4, dtype=np.int32)
    others = [values.reshape(2, 2), values.astype(np.uint32), values[::-1].copy(), np.arange(5, dtype=np.int32)]
    assert len({digest(array, 1) for array in [values, *others]} | {digest(values, 2), digest(1, values)}) == 7
    assert digest(values[::2], "x") == digest(values[::2].copy(), "x")
