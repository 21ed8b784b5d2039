"""Readers in threads and processes while a writer commits: every answer is one committed state."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from conftest import ROOT

from flmr import Index

# Commit number g holds exactly the items g-0 .. g-4, whose vectors say g: any mixture of two commits is visible.
WIDTH = 5


def items_of(generation: int) -> list[np.ndarray]:
    return [np.full((2, 4), generation / 16 + i / 256, np.float32) for i in range(WIDTH)]


def ids_of(generation: int) -> list[str]:
    return [f"{generation}-{i}" for i in range(WIDTH)]


def check(ix: Index, query: np.ndarray) -> int:
    hits = ix.search(query, 50)[0]
    generation = int(hits[0].id.split("-")[0])
    assert [hit.id for hit in hits] == ids_of(generation)[::-1], hits
    assert [hit.score for hit in hits] == [4 * (generation / 16 + i / 256) for i in range(WIDTH)][::-1]
    return generation


def write(path: Path, until: float) -> int:
    generation = 1
    with Index.open(path) as ix:
        while generation == 1 or time.monotonic() < until:
            generation += 1
            ix.delete(ids_of(generation - 1))
            ix.add(items_of(generation), ids_of(generation))
            ix.commit()
            if generation % 4 == 0:
                ix.merge()
    return generation


READER = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, "tests")
from index.test_concurrency import check
from flmr import Index
until, last, count = time.monotonic() + float(sys.argv[2]), 0, 0
while not count or time.monotonic() < until:
    with Index.open(sys.argv[1]) as ix:
        generation = check(ix, np.ones((1, 4), np.float32))
        assert generation >= last
        last, count = generation, count + 1
print(count)
"""


def test_readers_see_only_committed_states_while_a_writer_writes(tmp_path: Path) -> None:
    path = tmp_path / "ix"
    Index.create(path, items_of(1), ids_of(1), nbits=0).close()
    query = np.ones((1, 4), np.float32)
    seconds = 2.0
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    time.sleep(0.5)
    until = time.monotonic() + seconds
    errors: list[BaseException] = []
    counts = [0, 0, 0]

    def read(number: int) -> None:
        last = 0
        try:
            with Index.open(path) as ix:
                while not counts[number] or time.monotonic() < until:
                    ix.refresh()
                    generation = check(ix, query)
                    assert generation >= last
                    last, counts[number] = generation, counts[number] + 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    written = write(path, until)
    for thread in threads:
        thread.join()
    assert errors == []
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and int(output) > 0
    with Index.open(path) as ix:
        assert check(ix, query) == written and ix.verify() == []


def test_threads_share_one_searcher(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [rng.standard_normal((3, 8)).astype(np.float32) for _ in range(200)]
    with Index.create(tmp_path / "ix", items, nbits=2) as ix:
        searcher = ix.searcher()
        wanted = searcher.search(items[:20], 10)
        found: list[object] = []

        def read() -> None:
            found.extend(searcher.search(items[:20], 10) == wanted for _ in range(5))

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 30
