"""Index folders as colbert-ai, fast-plaid and PyLate lay them out, written from vectors, and what they decode to."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from index.clustered import clustered_items

from flmr.index.interop.plaid import PlaidCodec, decode_reference

DIM = 16


@dataclass(frozen=True)
class Coded:
    """Items as a PLAID codec stores them.  chunks: how many items each has.  items: what they decode to."""

    codec: PlaidCodec
    lengths: list[int]
    codes: np.ndarray
    residuals: np.ndarray
    chunks: tuple[int, ...]
    items: list[np.ndarray]

    def parts(self) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
        """Lengths, codes and residuals of each chunk."""
        parts, first, row = [], 0, 0
        for count in self.chunks:
            lengths = self.lengths[first : first + count]
            end = row + sum(lengths)
            parts.append((lengths, self.codes[row:end], self.residuals[row:end]))
            first, row = first + count, end
        return parts


def coded(nbits: int = 2, chunks: Sequence[int] = (9, 6), *, empty: Sequence[int] = (3,), seed: int = 0) -> Coded:
    """Some clustered items, coded; those at the places of `empty` have no rows."""
    items = clustered_items(sum(chunks), DIM, seed=seed, rows=(1, 6))
    items = [item[:0] if place in empty else item for place, item in enumerate(items)]
    vectors_TD = np.concatenate(items)
    rng = np.random.default_rng(seed)
    centroids_KD = vectors_TD[rng.permutation(len(vectors_TD))[:12]].astype(np.float16).astype(np.float32)
    codes_T = (vectors_TD @ centroids_KD.T).argmax(axis=1)
    left_TD = vectors_TD - centroids_KD[codes_T]
    weights = np.quantile(left_TD, (np.arange(1 << nbits) + 0.5) / (1 << nbits)).astype(np.float32)
    buckets_TD = np.abs(left_TD[:, :, None] - weights).argmin(axis=2)
    bits = (buckets_TD[:, :, None] >> np.arange(nbits)) & 1
    residuals_TP = np.packbits(bits.reshape(len(vectors_TD), -1).astype(np.uint8), axis=1)
    codec = PlaidCodec(centroids_KD, weights, nbits)
    lengths = [len(item) for item in items]
    decoded = np.split(decode_reference(codec, codes_T, residuals_TP), np.cumsum(lengths)[:-1])
    return Coded(codec, lengths, codes_T, residuals_TP, tuple(chunks), decoded)


def write_colbert(folder: Path, stored: Coded) -> Path:
    """A folder of colbert-ai."""
    folder.mkdir(parents=True, exist_ok=True)
    codec, first = stored.codec, 0
    torch.save(torch.from_numpy(codec.centroids_KD).half(), folder / "centroids.pt")
    cutoffs = torch.from_numpy((codec.weights[1:] + codec.weights[:-1]) / 2)
    torch.save((cutoffs, torch.from_numpy(codec.weights)), folder / "buckets.pt")
    torch.save(torch.tensor([0.1]), folder / "avg_residual.pt")
    for number, (lengths, codes, residuals) in enumerate(stored.parts()):
        # As its updater does: a part of a longer tensor, saved with all of it.
        torch.save(torch.from_numpy(np.concatenate([[7], codes]).astype(np.int32))[1:], folder / f"{number}.codes.pt")
        torch.save(torch.from_numpy(residuals), folder / f"{number}.residuals.pt")
        write_json(folder / f"doclens.{number}.json", lengths)
        counts = {"passage_offset": first, "num_passages": len(lengths), "num_embeddings": len(codes)}
        write_json(folder / f"{number}.metadata.json", counts)
        first += len(lengths)
    config = {"dim": DIM, "nbits": codec.nbits, "checkpoint": "colbert-ir/colbertv2.0"}
    document = {"config": config, "num_chunks": len(stored.chunks), "num_embeddings": len(stored.codes)}
    write_json(folder / "metadata.json", document)
    return folder


def write_fast_plaid(folder: Path, stored: Coded, *, merged: Sequence[int] = (), manifest: bool = True) -> Path:
    """A folder of fast-plaid; the chunks of `merged` have no files of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "centroids.npy", stored.codec.centroids_KD)
    np.save(folder / "bucket_weights.npy", stored.codec.weights)
    parts = stored.parts()
    for name, place in (("codes", 1), ("residuals", 2)):
        # A chunk that has its own file again is stale here, and padding follows.
        rows = [part[place] if number in merged else part[place] * 0 for number, part in enumerate(parts)]
        if merged:
            np.save(folder / f"merged_{name}.npy", np.concatenate([*rows, rows[0][:2]]))
            entries = {f"{n}.{name}.npy": {"rows": len(part), "merged": True} for n, part in enumerate(rows)}
            if manifest:
                write_json(folder / f"merged_{name}.manifest.json", entries)
        for number, part in enumerate(parts):
            if number not in merged:
                np.save(folder / f"{number}.{name}.npy", part[place])
    for number, (lengths, codes, _) in enumerate(parts):
        write_json(folder / f"doclens.{number}.json", lengths)
        write_json(folder / f"{number}.metadata.json", {"num_documents": len(lengths), "num_embeddings": len(codes)})
    counts = {"nbits": stored.codec.nbits, "num_chunks": len(parts), "num_documents": len(stored.lengths)}
    write_json(folder / "metadata.json", counts)
    return folder


def write_metadata_database(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """The database that fast-plaid keeps beside an index whose items have metadata: year, title."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute('CREATE TABLE METADATA ("_subset_" INTEGER PRIMARY KEY, "year" INTEGER, "title" TEXT)')
        database.executemany("INSERT INTO METADATA VALUES (?, ?, ?)", rows)


def write_pylate(folder: Path, stored: Coded, ids: dict[int, Any]) -> Path:
    """A folder of PyLate over fast-plaid."""
    write_fast_plaid(folder / "fast_plaid_index", stored)
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps(ids))
    (folder / "documents_ids_to_plaid_ids.pkl").write_bytes(pickle.dumps({value: key for key, value in ids.items()}))
    return folder


def write_former_pylate(folder: Path, stored: Coded, ids: dict[int, Any]) -> Path:
    """A folder of PyLate before 1.3: one of colbert-ai, and ids in SQLite."""
    write_colbert(folder, stored)
    with closing(sqlite3.connect(folder / "plaid_ids_to_documents_ids.sqlite")) as database, database:
        database.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        database.executemany("INSERT INTO unnamed VALUES (?, ?)", [(k, pickle.dumps(v, 5)) for k, v in ids.items()])
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
