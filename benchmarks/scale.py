"""What a large index costs to open, to hold, to add to and to delete from.

    python -m benchmarks.scale [--set d5k] [--vectors 10000000] [--nbits 2]

The documents of a set (see search_data.py) are encoded once, and their codes appended again and again under new ids
until there are enough: what is measured here depends on sizes, not on contents.  The index is kept in --work and used
again.  Each figure is that of a process of its own; memory is what the kernel says of it.  Rows go to
benchmarks/results/scale.csv.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.search_data import DataSet, home
from benchmarks.search_rows import Row, append, birthplace, spread
from flmr import __version__
from flmr.index import Index
from flmr.index.format import LOCK
from flmr.index.lock import WriterLock
from flmr.index.manifest import Manifest
from flmr.index.snapshot import Snapshot
from flmr.index.store import Storage
from flmr.index.writer import Writer
from flmr.records import MultiVectors

MEMORY = 512 << 20
MEASURE = """
import json, sys, time
start = time.perf_counter()
from flmr.index import Index
import numpy as np
from flmr.records import MultiVectors
imported = time.perf_counter() - start
def memory():
    found = {}
    for line in open('/proc/self/smaps_rollup'):
        name, _, rest = line.partition(':')
        if name in ('Rss', 'Private_Dirty', 'Pss'):
            found[name] = int(rest.split()[0]) / 1024
    return found
before = memory()
start = time.perf_counter()
ix = Index.open(sys.argv[1])
found = {'open_s': time.perf_counter() - start, 'open_mb': memory()['Rss'] - before['Rss'], 'rss_mb': memory()['Rss']}
rng = np.random.default_rng(int(sys.argv[3]))
rows = rng.standard_normal((60, ix.dim)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
if sys.argv[2] == 'add':
    name = f'new-{time.time_ns()}'
    start = time.perf_counter(); ix.add(MultiVectors.from_list([rows]), [name]); ix.commit()
    found['add_s'] = time.perf_counter() - start
    start = time.perf_counter()
    hits = Index.open(sys.argv[1]).search([rows[:8]], 1, only_ids=[name])[0]
    found['seen_s'] = time.perf_counter() - start
    assert hits[0].id == name, hits
    for count in (1, 100):
        any_of = np.random.default_rng().integers(0, len(ix), 3 * count + 20)
        doomed = [str(i) for i in sorted(set(any_of.tolist())) if str(i) in ix][:count]
        start = time.perf_counter(); ix.delete(doomed); ix.commit()
        found[f'delete_{count}_s'] = time.perf_counter() - start
elif sys.argv[2] == 'search':
    start = time.perf_counter(); ix.search([rows[:32]], 10); found['first_search_s'] = time.perf_counter() - start
    start = time.perf_counter(); ix.search([rows[:32]], 10); found['search_s'] = time.perf_counter() - start
    print('ready', flush=True); sys.stdin.readline()
    found |= {f'searched_{k.lower()}_mb': v for k, v in memory().items()}
print(json.dumps(found))
"""


def bootstrap(path: Path, data: DataSet, vectors: int, nbits: int) -> None:
    """An index of so many vectors: the set's own codes, again and again."""
    Index.create(path.with_name(path.name + ".small"), _all(data), nbits=nbits, overwrite=True).close()
    small = Index.open(path.with_name(path.name + ".small"))
    snapshot = small._open()
    segment = snapshot.views[0].segment
    path.mkdir(parents=True, exist_ok=True)
    base = Snapshot(path, Manifest(snapshot.manifest.dim, nbits, False, 0), (), {})
    writer = Writer(Storage(), path, WriterLock(path / LOCK), base, MEMORY)
    target = writer.new_segment(snapshot.manifest.dim)
    target.use_codec(segment.codec)
    lengths = np.diff(segment.offsets).tolist()
    codes = segment.encoded(0, segment.layout.vectors)
    while target.lengths.sum() < vectors:
        ids = [str(len(target) + i) for i in range(len(segment))]
        target.append_encoded(ids, lengths, codes, None, None)
    silent = lambda stage, done, total=None: None  # noqa: E731
    manifest = writer.record_segment(base.manifest, target, set(), silent)
    writer.publish(Manifest(**{**manifest.__dict__, "generation": 1, "next_id": len(target)}))
    target.close()
    writer.lock.release()


def _all(data: DataSet) -> MultiVectors:
    return MultiVectors(data.vectors(), data.offsets_N1)


def run(path: Path, work: str, seed: int) -> subprocess.Popen[str]:
    """A process that measures."""
    command = [sys.executable, "-c", MEASURE, str(path), work, str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home() / "data")
    parser.add_argument("--set", default="d5k")
    parser.add_argument("--vectors", type=int, default=10_000_000)
    parser.add_argument("--nbits", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", type=int, default=8, help="processes that search at once; default %(default)s")
    parser.add_argument("--work", type=Path, default=home() / "indexes", help="indexes; default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.csv"), help="default %(default)s")
    given = parser.parse_args()
    path = given.work / f"scale-{given.set}-{given.vectors}-{given.nbits}"
    if not (path / "manifest.json").exists():
        start = time.perf_counter()
        bootstrap(path, DataSet.open(given.data, given.set), given.vectors, given.nbits)
        print(f"made in {time.perf_counter() - start:.1f} s", flush=True)
    figures: dict[str, list[float]] = {}
    for seed in range(given.repeats):
        for work in ("open", "add"):
            out, _ = run(path, work, 10 * seed + 1).communicate()
            for name, value in json.loads(out).items():
                figures.setdefault(name, []).append(value)
    searching = [run(path, "search", seed) for seed in range(given.readers)]  # all at once
    for process in searching:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in searching:
        for name, value in json.loads(process.communicate("\n")[0]).items():
            figures.setdefault(f"of {given.readers}: {name}", []).append(value)
    with Index.open(path) as ix:
        info = ix.info()
    place = birthplace(shlex.join(["python", "-m", "benchmarks.scale", *sys.argv[1:]]))
    for name, values in figures.items():
        row = Row(
            work=f"scale {name}", engine="flmr", version=__version__, set=given.set, documents=info["items"],
            vectors=info["vectors"], threads=1, unit="MB" if name.endswith("mb") else "s",
            setting=f"{given.nbits} bits, {given.vectors:,} vectors",
            note=f"index of {info['bytes'] / 1e6:,.0f} MB", **spread(values),
        )  # fmt: skip
        append(given.out, place, row)


if __name__ == "__main__":
    main()
