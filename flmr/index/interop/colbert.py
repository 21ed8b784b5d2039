"""Index folders of colbert-ai, and of PyLate's former backend, which writes the same.

Knows their files: `metadata.json` with the config, `centroids.pt` and `buckets.pt` of the codec, and for each chunk
`N.codes.pt`, `N.residuals.pt`, `doclens.N.json` and `N.metadata.json`.  Items are numbered from 0 through all chunks
(pids); one that was removed keeps its number and has no rows.  Knows nothing of the texts, which are not in the folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.interop.files import read_lengths, read_object, whole
from flmr.index.interop.foreign import Foreign
from flmr.index.interop.plaid import Chunk, PlaidCodec, checked_chunk, checked_codec, decoded_items
from flmr.index.interop.torch_file import read_tensor, read_tensors
from flmr.index.manifest import RESTORE

KIND = "colbert"
METADATA = "metadata.json"
CENTROIDS = "centroids.pt"
BUCKETS = "buckets.pt"


def looks_like_colbert(folder: Path) -> bool:
    """Whether a folder has the files that only such an index has."""
    return (folder / CENTROIDS).exists() or (folder / BUCKETS).exists()


def open_colbert(folder: Path) -> Foreign:
    """Open a folder of colbert-ai; raises CorruptIndex where a file is missing, cut or fits no other."""
    metadata = read_object(folder / METADATA)
    codec = _codec(folder, metadata)
    count = whole(metadata, "num_chunks", folder / METADATA)
    if (folder / f"doclens.{count}.json").exists():
        raise CorruptIndex(f"{folder} has more chunks than the {count} that {METADATA} says: {RESTORE}")
    chunks: list[Chunk] = []
    items = 0
    for number in range(count):
        chunks.append(_chunk(folder, number, items, codec))
        items += len(chunks[-1].lengths_N)
    return Foreign(KIND, folder, codec.dim, codec.nbits, items, lambda: decoded_items(codec, chunks))


def lengths(folder: Path) -> np.ndarray:
    """How many rows each item has: (N,) int64; none where it was removed."""
    count = whole(read_object(folder / METADATA), "num_chunks", folder / METADATA)
    return np.concatenate([np.empty(0, np.int64), *(read_lengths(folder / f"doclens.{n}.json") for n in range(count))])


def _codec(folder: Path, metadata: dict[str, object]) -> PlaidCodec:
    nbits = whole(metadata.get("config"), "nbits", folder / METADATA)
    dim = whole(metadata.get("config"), "dim", folder / METADATA)
    centroids_KD = read_tensor(folder / CENTROIDS, ndim=2)
    buckets = read_tensors(folder / BUCKETS)  # cutoffs and weights: decoding needs the weights
    if not (isinstance(buckets, tuple) and len(buckets) == 2 and getattr(buckets[1], "ndim", 0) == 1):
        raise CorruptIndex(f"{folder / BUCKETS} does not hold cutoffs and weights: {RESTORE}")
    if centroids_KD.shape[1] != dim:
        raise CorruptIndex(f"{folder} has centroids {centroids_KD.shape} but dim {dim} in {METADATA}: {RESTORE}")
    return checked_codec(centroids_KD, buckets[1], nbits, folder)


def _chunk(folder: Path, number: int, first_item: int, codec: PlaidCodec) -> Chunk:
    path = folder / f"{number}.metadata.json"
    metadata, lengths_N = read_object(path), read_lengths(folder / f"doclens.{number}.json")
    for key, found in (
        ("passage_offset", first_item),
        ("num_passages", len(lengths_N)),
        ("num_embeddings", int(lengths_N.sum())),
    ):
        if whole(metadata, key, path) != found:
            raise CorruptIndex(f"{path} says {key} {metadata[key]:,} but its doclens make {found:,}: {RESTORE}")
    codes_T = read_tensor(folder / f"{number}.codes.pt", ndim=1)
    residuals_TP = read_tensor(folder / f"{number}.residuals.pt", ndim=2)
    return checked_chunk(folder / f"{number}.codes.pt", lengths_N, codes_T, residuals_TP, codec)
