"""An index of another engine, imported: does it rank as that engine does?

    ENVIRONMENT/bin/python -m benchmarks.interop write ENGINE OUT --set d5k --documents 2000
    python -m benchmarks.interop compare OUT/ENGINE... [--nbits 8,0]

`write` runs where the engine is installed (benchmarks/README.md; PyLate: indexes/README.md): it makes OUT/ENGINE of the
first documents of a set and keeps in OUT/ENGINE.json what the engine answers, at its default setting and at one so wide
that it scores every document, and what MaxSim says of its own decompressed vectors where it hands them out.  `compare`
imports each index, asks the same queries exactly, and says which share of the engine's best ten is found, in rows.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_data import DataSet, read_queries

K = 10
Answers = dict[str, list[list[str]]]  # setting -> best ids of each query


def main() -> None:
    """Write one engine's index and answers, or compare what was written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("write")
    write.add_argument("engine", choices=ENGINES)
    write.add_argument("out", type=Path)
    write.add_argument("--data", type=Path, default=Path("~/.cache/flmr-bench/data").expanduser())
    write.add_argument("--set", default="d5k")
    write.add_argument("--documents", type=int, default=2000)
    write.add_argument("--queries", default="q32,q320")
    write.add_argument("--count", type=int, default=100)
    write.add_argument("--nbits", type=int, default=4)
    compare = verbs.add_parser("compare")
    compare.add_argument("out", type=Path, nargs="+")
    compare.add_argument("--nbits", default="8,0")
    compare.add_argument("--out", dest="rows", type=Path, default=Path("benchmarks/results/interop.jsonl"))
    options = parser.parse_args()
    if options.verb == "write":
        _write(options)
    else:
        for out in options.out:
            _compare(out, [int(nbits) for nbits in options.nbits.split(",")], options.rows)


def _write(options: argparse.Namespace) -> None:
    data = DataSet.open(options.data, options.set)
    data = replace(data, offsets_N1=data.offsets_N1[: options.documents + 1])
    queries = {name: read_queries(options.data, name, 0, options.count) for name in options.queries.split(",")}
    answers = ENGINES[options.engine](options.out / options.engine, data, queries, options.nbits)
    package = options.engine.removesuffix("-plaid-former").removesuffix("-voyager")
    document = {
        "engine": f"{options.engine} {importlib.metadata.version(package)}",
        "data": str(options.data),
        "count": options.count,
        "answers": answers,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.engine}.json").write_text(json.dumps(document))


def _compare(out: Path, all_nbits: list[int], rows: Path) -> None:
    from benchmarks.search_rows import birthplace
    from flmr.index import SearchParams, import_index
    from flmr.index.interop import open_foreign

    foreign, document = open_foreign(out), json.loads(out.with_suffix(".json").read_text())
    place = asdict(birthplace(f"python -m {__spec__.name} {shlex.join(sys.argv[1:])}"))
    for nbits in all_nbits:
        with tempfile.TemporaryDirectory() as folder, import_index(foreign, f"{folder}/index", nbits=nbits) as index:
            for name, by_setting in document["answers"].items():
                queries = read_queries(Path(document["data"]), name, 0, document["count"])
                hits = index.search(list(queries), K, params=SearchParams(exact=True, threads=1))
                found = [[hit.id for hit in one] for one in hits]
                row = {
                    "engine": document["engine"],
                    "source_nbits": foreign.nbits,
                    "items": len(index),
                    "vectors": index.info()["vectors"],
                    "nbits": nbits,
                    "queries": f"{len(queries)} x {name}",
                    **{f"overlap@10 {setting}": _overlap(found, ids) for setting, ids in by_setting.items()},
                }
                print(row, flush=True)
                with rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**place, **row}) + "\n")


def _overlap(found: list[list[str]], wanted: list[list[str]]) -> float:
    return round(float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)])), 4)


def _colbert_ai(folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int) -> dict[str, Answers]:
    from benchmarks.engines.colbert_ai import Engine

    engine = Engine(folder, 1, nbits)
    engine.build(data)
    engine.open()
    scorer = engine._scorer
    rows = data.num_vectors
    stored = type(scorer.embeddings)(scorer.embeddings.codes[:rows], scorer.embeddings.residuals[:rows])
    own_TD = scorer.codec.decompress(stored).numpy()
    wide = {
        "ncells": len(scorer.codec.centroids),
        "centroid_score_threshold": -1.0,
        "ndocs": 4 * data.documents,
    }
    return {
        name: {
            "default": _texts(engine.search(queries_BQD, K, **engine.settings(K)["default"])),
            "widest": _texts(engine.search(queries_BQD, K, **wide)),
            "its vectors": _exact(own_TD, data.offsets_N1, queries_BQD),
        }
        for name, queries_BQD in queries.items()
    }


def _fast_plaid(folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int) -> dict[str, Answers]:
    import torch
    from fast_plaid.search import FastPlaid

    torch.set_num_threads(1)
    index = FastPlaid(index=str(folder), device="cpu")
    documents = [torch.from_numpy(document) for document in data.documents_of(range(data.documents))]
    index.create(documents_embeddings=documents, nbits=nbits)
    wide = {"n_ivf_probe": len(np.load(folder / "centroids.npy")), "n_full_scores": 4 * data.documents}

    def search(queries_BQD: np.ndarray, **parameters: int) -> list[list[str]]:
        found = index.search(torch.from_numpy(queries_BQD), top_k=K, show_progress=False, **parameters)
        return _texts([[item for item, _ in one] for one in found])

    return {name: {"default": search(q_BQD), "widest": search(q_BQD, **wide)} for name, q_BQD in queries.items()}


def _pylate(folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int) -> dict[str, Answers]:
    return _pylate_plaid(folder, data, queries, nbits, use_fast=True)


def _pylate_former(folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int) -> dict[str, Answers]:
    return _pylate_plaid(folder, data, queries, nbits)  # of a PyLate before 1.3, which knows no other


def _pylate_plaid(
    folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int, **options: Any
) -> dict[str, Answers]:
    """Documents have ids of their own, and every tenth is removed again, where that does not fail within PyLate."""
    import torch
    from pylate import indexes

    torch.set_num_threads(1)
    place = {"index_folder": str(folder.parent), "index_name": folder.name, "nbits": nbits, **options}
    if options:
        place["device"] = "cpu"
    index = indexes.PLAID(override=True, **place)
    documents = [document.astype(np.float32) for document in data.documents_of(range(data.documents))]
    ids = [f"document {number}" for number in range(len(documents))]
    index.add_documents(documents_ids=ids, documents_embeddings=documents)
    if options:
        index.remove_documents(ids[::10])
    asked = {"default": index}
    if options:
        lists = len(np.load(folder / "fast_plaid_index" / "centroids.npy"))
        asked["widest"] = indexes.PLAID(**place, n_ivf_probe=lists, n_full_scores=4 * data.documents)
    else:
        lists = len(torch.load(folder / "centroids.pt", weights_only=True))
        wide = {"ncells": lists, "centroid_score_threshold": -1.0, "ndocs": 4 * data.documents}
        asked["widest"] = indexes.PLAID(**place, **wide)
    return {
        name: {
            setting: [[hit["id"] for hit in hits] for hits in one(queries_BQD, k=K)] for setting, one in asked.items()
        }
        for name, queries_BQD in queries.items()
    }


def _pylate_voyager(folder: Path, data: DataSet, queries: dict[str, np.ndarray], nbits: int) -> dict[str, Answers]:
    """Its graph finds rows, not documents: what can be compared is MaxSim of the vectors that it hands out."""
    from pylate import indexes

    index = indexes.Voyager(index_folder=str(folder.parent), index_name=folder.name, override=True)
    ids = [f"document {number}" for number in range(data.documents)]
    documents = [document.astype(np.float32) for document in data.documents_of(range(data.documents))]
    index.add_documents(documents_ids=ids, documents_embeddings=documents)
    own = [np.array(document, np.float32) for document in index.get_documents_embeddings([ids])[0]]
    own_TD = np.concatenate(own)
    return {
        name: {
            "its vectors": [
                [ids[int(number)] for number in one] for one in _exact(own_TD, data.offsets_N1, queries_BQD)
            ]
        }
        for name, queries_BQD in queries.items()
    }


def _exact(vectors_TD: np.ndarray, offsets_N1: np.ndarray, queries_BQD: np.ndarray) -> list[list[str]]:
    """The best of all items by MaxSim in float32."""
    best = []
    for query_QD in queries_BQD:
        scores_N = np.maximum.reduceat(query_QD @ vectors_TD.T, offsets_N1[:-1], axis=1).sum(axis=0)
        best.append(np.argsort(-scores_N, kind="stable")[:K].tolist())
    return _texts(best)


def _texts(ids: list[list[int]]) -> list[list[str]]:
    return [[str(number) for number in one] for one in ids]


ENGINES: dict[str, Callable[[Path, DataSet, dict[str, np.ndarray], int], dict[str, Answers]]] = {
    "colbert-ai": _colbert_ai,
    "fast-plaid": _fast_plaid,
    "pylate": _pylate,
    "pylate-plaid-former": _pylate_former,
    "pylate-voyager": _pylate_voyager,
}

if __name__ == "__main__":
    main()
