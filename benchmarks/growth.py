"""Does an index that grows stay as good as one built at once?  Recall after many commits of new topics.

    python -m benchmarks.growth [--set d5k] [--queries q32] [--nbits 2] [--keep-vectors] [--untimed]

The documents of a set (see search_data.py) are ordered by topic: k-means of the means of their vectors, the clusters
chained by nearness.  An index is made of the first tenth and grows by the rest in batches, a commit each; then it is
merged.  Recall against exact float32 stands beside that of a fresh build and of an index whose documents came in random
order.  Rows go to benchmarks/results/growth.csv.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.search_data import DataSet, home, read_queries, read_truth, recall
from benchmarks.search_rows import Row, append, birthplace, share, spread
from flmr import Index, MultiVectors, SearchParams, __version__
from flmr.index.kmeans import kmeans
from flmr.ops.assign import assign

TOPICS = 100
EXACT = SearchParams(exact=True, threads=1)  # every document on its codes: what is lost is the codec's alone


def by_topic(vectors_TD: np.ndarray, offsets_N1: np.ndarray, seed: int = 1) -> np.ndarray:
    """The documents in the order of their topics: (N,) int64."""
    sums_ND = np.add.reduceat(vectors_TD.astype(np.float32), offsets_N1[:-1], axis=0)
    means_ND = sums_ND / np.diff(offsets_N1).astype(np.float32)[:, None]
    topics_KD = kmeans(means_ND, TOPICS, seed=seed)
    place = {topic: step for step, topic in enumerate(_chain(topics_KD))}
    return np.argsort([place[int(code)] for code in assign(means_ND, topics_KD)[0]], kind="stable")


def _chain(rows_KD: np.ndarray) -> list[int]:
    chain, left = [0], list(range(1, len(rows_KD)))
    while left:
        chain.append(left.pop(int(np.square(rows_KD[left] - rows_KD[chain[-1]]).sum(axis=1).argmin())))
    return chain


class Growing:
    """A set, its queries and truth, and the indexes that are made of it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.data = DataSet.open(given.data, given.set)
        self.vectors_TD = np.asarray(self.data.vectors())
        self.queries = list(read_queries(given.data, given.queries, 0, given.num_queries))
        self.truth = read_truth(given.data, given.set, given.queries)[: given.num_queries]
        self.place = birthplace(shlex.join(["python", "-m", "benchmarks.growth", *sys.argv[1:]]))

    def part(self, documents: Sequence[int]) -> tuple[MultiVectors, list[str]]:
        """Some documents and their ids, which are their numbers in the set."""
        offsets = self.data.offsets_N1
        rows = [self.vectors_TD[offsets[row] : offsets[row + 1]] for row in documents]
        return MultiVectors.from_list(rows, dim=self.vectors_TD.shape[1]), [str(row) for row in documents]

    def make(self, path: Path, documents: Sequence[int]) -> Index:
        """An index of some documents."""
        return Index.create(path, *self.part(documents), nbits=self.given.nbits, keep_vectors=self.given.keep_vectors)

    def grow(self, path: Path, order: np.ndarray) -> Index:
        """An index of the first tenth, grown by the rest in batches, each committed."""
        first, *batches = np.split(
            order, np.linspace(len(order) // 10, len(order), self.given.batches + 1).astype(int)
        )[:-1]
        ix = self.make(path, first)
        for documents in batches:
            ix.add(*self.part(documents))
            ix.commit()
        return ix

    def measure(self, setting: str, ix: Index, cpu_s: float) -> None:
        """Rows of recall@10 and @100 by exact scores on the codes and by a search as it comes, and of the work."""
        given, info = self.given, ix.info()
        note = f"{info['segments']} segments, {info['centroids']} centroids, {info['bytes_per_vector']:.1f} bytes"
        about = {
            "engine": "flmr",
            "version": __version__,
            "set": given.set,
            "documents": len(ix),
            "vectors": info["vectors"],
            "threads": 1,
            "setting": f"{given.nbits} bits{', kept' * given.keep_vectors}, {given.batches} batches: {setting}",
            "note": note,
        }
        asked = {"queries": given.queries, "num_queries": len(self.queries), "query_rows": len(self.queries[0])}
        for how, params in (("exact", EXACT), ("default", SearchParams(threads=1))):
            ids = [[int(hit.id) for hit in found] for found in ix.search(self.queries, 100, params=params)]
            for k in (10, 100):
                shared = share(recall(ids, self.truth, k))
                append(given.out, self.place, Row(f"growth recall {how}", k=k, **shared, **asked, **about))
        if not given.untimed:
            append(given.out, self.place, Row("growth cpu", unit="s", **spread([cpu_s]), **about))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home() / "data")
    parser.add_argument("--set", default="d5k")
    parser.add_argument("--queries", default="q32")
    parser.add_argument("--num-queries", type=int, default=200)
    parser.add_argument("--nbits", type=int, default=2)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--keep-vectors", action="store_true")
    parser.add_argument("--untimed", action="store_true", help="leave out what depends on how busy the machine is")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/growth.csv"), help="default %(default)s")
    growing = Growing(parser.parse_args())
    topics = by_topic(growing.vectors_TD, growing.data.offsets_N1)
    anyhow = np.random.default_rng(0).permutation(growing.data.documents)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for setting, order, work in (
            ("fresh", topics, growing.make),
            ("grown by topic", topics, growing.grow),
            ("grown in random order", anyhow, growing.grow),
        ):
            start = time.process_time()
            with work(folder / setting.replace(" ", "-"), order) as ix:
                growing.measure(setting, ix, time.process_time() - start)
                if work == growing.grow:
                    start = time.process_time()
                    ix.merge()
                    growing.measure(f"{setting}, merged", ix, time.process_time() - start)


if __name__ == "__main__":
    main()
