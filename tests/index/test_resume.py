"""A build that is interrupted goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flmr import Index, MultiVectors
from flmr.errors import AlreadyExists, InvalidInput
from flmr.index.checkpoint import Checkpoint, building_folder
from flmr.index.codec import Codec

SMALL = 4 << 20  # bytes: so many chunks that there is something to resume


def corpus(items: int = 600, dim: int = 64) -> MultiVectors:
    rng = np.random.default_rng(7)
    lengths = rng.integers(0, 40, items)
    vectors = rng.standard_normal((int(lengths.sum()), dim)).astype(np.float32)
    return MultiVectors(vectors, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def contents(folder: Path) -> dict[str, bytes]:
    """The arrays and ids by their names: numbers of segments and codecs go on after a killed build."""
    found = {
        path.name.replace("codec-2", "codec-1"): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }
    return {name: data for name, data in found.items() if not name.endswith((".json", ".lock"))}


class Stop(Exception):
    """Stands for Ctrl-C or a crash of the process."""


def stopping_after(chunks: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `Codec.encode` fail after so many chunks; returns the list that counts the rows it was given."""
    encode, seen = Codec.encode, []

    def stopped(self: Codec, vectors_TD: np.ndarray, **how: Any):  # type: ignore[no-untyped-def]
        if len(seen) == chunks:
            raise Stop
        seen.append(len(vectors_TD))
        return encode(self, vectors_TD, **how)

    monkeypatch.setattr(Codec, "encode", stopped)
    return seen


FORMS: dict[str, Callable[[MultiVectors], object]] = {"arrays": lambda mv: mv, "stream": iter}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keep_vectors", [False, True])
def test_an_interrupted_build_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, form: str, keep_vectors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"memory_limit": SMALL, "keep_vectors": keep_vectors}
    vectors = corpus()
    Index.create(tmp_path / "whole", vectors, **how).close()  # type: ignore[arg-type]
    path = tmp_path / "ix"
    total = 0
    for chunks in (3, 2, 1000):
        with monkeypatch.context() as patch:
            seen = stopping_after(chunks, patch)
            try:
                Index.create(path, FORMS[form](vectors), resume=True, **how).close()  # type: ignore[arg-type]
            except Stop:
                assert not path.exists() and building_folder(path).exists()
        total += sum(seen)
    assert total == len(vectors.vectors)  # nothing was packed twice
    assert contents(path) == contents(tmp_path / "whole")
    assert not building_folder(path).exists()


def test_what_changed_since_is_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = corpus()
    with monkeypatch.context() as patch:
        stopping_after(4, patch)
        with pytest.raises(Stop):
            Index.create(tmp_path / "ix", vectors, memory_limit=SMALL, resume=True)
    changed = vectors.vectors.copy()
    changed[5] += 1
    other = MultiVectors(changed, vectors.offsets)
    Index.create(tmp_path / "ix", other, memory_limit=SMALL, resume=True).close()
    Index.create(tmp_path / "whole", other, memory_limit=SMALL).close()
    assert contents(tmp_path / "ix") == contents(tmp_path / "whole")


def test_a_finished_build_is_opened_and_another_corpus_is_refused(tmp_path: Path) -> None:
    vectors = corpus(60)
    Index.create(tmp_path / "ix", vectors, resume=True).close()
    with Index.create(tmp_path / "ix", vectors, resume=True) as ix:
        assert len(ix) == 60 and ix.generation == 1
    with pytest.raises(AlreadyExists, match="60 items, not of 50"):
        Index.create(tmp_path / "ix", corpus(50), resume=True)
    with Index.create(tmp_path / "ix", corpus(50), resume=True, overwrite=True) as ix:
        assert len(ix) == 50


def test_input_that_is_refused_leaves_no_index_and_can_be_corrected(tmp_path: Path) -> None:
    items = list(corpus(300))
    bad = [*items[:-1], np.full((1, 64), np.nan)]
    with pytest.raises(InvalidInput, match="NaN"):
        Index.create(tmp_path / "ix", MultiVectors.from_list(bad), memory_limit=SMALL, resume=True)
    assert not (tmp_path / "ix").exists()
    with Index.create(tmp_path / "ix", MultiVectors.from_list(items), memory_limit=SMALL, resume=True) as ix:
        assert ix.verify() == []
    assert not building_folder(tmp_path / "ix").exists()


def test_arrays_and_streams_in_any_number_of_threads_give_the_same_bytes(tmp_path: Path) -> None:
    vectors = corpus()
    script = (
        "import os, sys; os.sched_setaffinity(0, {0}) if sys.argv[3] == '1' else None\n"
        "import numpy as np\nfrom flmr.index import Index\nfrom flmr.records import MultiVectors\n"
        "mv = MultiVectors(np.load(sys.argv[1] + '/v.npy', mmap_mode='r'), np.load(sys.argv[1] + '/o.npy'))\n"
        f"Index.create(sys.argv[2], mv if sys.argv[3] == '1' else iter(mv), memory_limit={SMALL}).close()\n"
    )
    np.save(tmp_path / "v.npy", vectors.vectors)
    np.save(tmp_path / "o.npy", vectors.offsets)
    for name in ("1", "all"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path), str(tmp_path / name), name], check=True)
    assert contents(tmp_path / "1") == contents(tmp_path / "all")


def test_a_killed_build_resumes_from_what_it_had_packed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nimport numpy as np\nfrom flmr.index import Index\nfrom flmr.index.codec import Codec\n"
        "sys.path.insert(0, sys.argv[1]); from index.test_resume import corpus, SMALL\n"
        "encode = Codec.encode\n"
        "def slow(self, vectors_TD, **how):\n    time.sleep(0.2)\n    return encode(self, vectors_TD, **how)\n"
        "Codec.encode = slow\n"
        "Index.create(sys.argv[2], corpus(), memory_limit=SMALL, resume=True)\n"
    )
    path = tmp_path / "ix"
    tests = str(Path(__file__).parent.parent)
    child = subprocess.Popen([sys.executable, "-c", script, tests, str(path)])
    log = building_folder(path) / "arrays.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < 5:  # header, codec, three chunks
        assert child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with Checkpoint(building_folder(path)) as checkpoint:
        assert len(checkpoint) >= 4
    Index.create(path, corpus(), memory_limit=SMALL, resume=True).close()
    Index.create(tmp_path / "whole", corpus(), memory_limit=SMALL).close()
    assert contents(path) == contents(tmp_path / "whole")


def test_progress_names_each_stage_with_its_total(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    for name, vectors in (("a", corpus()), ("b", iter(corpus()))):
        Index.create(tmp_path / name, vectors, memory_limit=SMALL, progress=lambda *call: calls.append(call)).close()
    stages = {stage for stage, _, _ in calls}
    assert {"fit codec", "add", "pack", "checksum"} <= stages
    for stage in stages:
        last = [call for call in calls if call[0] == stage][-1]
        assert last[2] is None or last[1] == last[2]
