"""The exact answers of a set that has none, and how they agree with those that are there.

    python -m benchmarks.search_truth --set d1m --queries q32 --count 50
    python -m benchmarks.search_truth --set d5k --queries q32 --check

Every document is scored by MaxSim of its float16 vectors, some at a time, so that memory does not grow with the set.
Writes gt_SET_QUERIES.npz beside the set; --check compares with the one that is there and writes nothing.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.search_data import TRUTH_DEPTH, DataSet, home, read_queries, read_truth, recall
from flmr import MultiVectors, maxsim

DOCUMENTS_AT_ONCE = 5000


def truth(data: DataSet, queries_BQD: np.ndarray, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores of the best of each query, best first, ties to the lower id: (B, 100) both."""
    queries = MultiVectors.from_list(list(queries_BQD))
    best_ids = np.empty((len(queries_BQD), 0), np.int64)
    best_scores = np.empty((len(queries_BQD), 0), np.float32)
    first = 0
    stream = data.stream()
    while documents := list(islice(stream, DOCUMENTS_AT_ONCE)):
        scores_BN = maxsim(queries, MultiVectors.from_list(documents), threads=threads)
        ids = np.concatenate([best_ids, np.broadcast_to(first + np.arange(len(documents)), scores_BN.shape)], axis=1)
        scores = np.concatenate([best_scores, scores_BN], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TRUTH_DEPTH]
        best_ids, best_scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
        first += len(documents)
    return best_ids, best_scores


def main() -> None:
    """Write the answers, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home() / "data")
    parser.add_argument("--set", default="d1m")
    parser.add_argument("--queries", default="q32")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--check", action="store_true", help="compare with the answers that are there")
    options = parser.parse_args()
    data = DataSet.open(options.data, options.set)
    ids, scores = truth(data, read_queries(options.data, options.queries, 0, options.count), options.threads)
    if options.check:
        known = read_truth(options.data, options.set, options.queries)[: len(ids)]
        shares = ", ".join(f"{recall(ids, known[: len(ids)], k):.4f} of the best {k}" for k in (10, TRUTH_DEPTH))
        print(f"{options.set} {options.queries}, {len(known)} queries: {shares} are the same")
    else:
        np.savez(options.data / f"gt_{options.set}_{options.queries}.npz", ids=ids, scores=scores)


if __name__ == "__main__":
    main()
