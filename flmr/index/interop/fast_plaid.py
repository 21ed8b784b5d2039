"""Index folders of fast-plaid.

Knows their files: `metadata.json`, `centroids.npy` and `bucket_weights.npy` of the codec, `doclens.N.json` of each
chunk, and its codes and residuals either as `N.codes.npy` and `N.residuals.npy` or as rows of `merged_codes.npy` and
`merged_residuals.npy`; and `metadata.db`, which has the metadata of the items where any was given.  Items are numbered
from 0.  Where both forms of a chunk are there, its own files are the newer, as for fast-plaid itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flmr.errors import CorruptIndex
from flmr.index.interop.files import map_npy, read_lengths, read_object, whole
from flmr.index.interop.foreign import Foreign
from flmr.index.interop.plaid import Chunk, checked_chunk, checked_codec, decoded_items, no_rows
from flmr.index.manifest import RESTORE
from flmr.index.store import file_size
from flmr.records import Passage

KIND = "fast-plaid"
METADATA = "metadata.json"
CENTROIDS = "centroids.npy"
WEIGHTS = "bucket_weights.npy"
DATABASE = "metadata.db"


def looks_like_fast_plaid(folder: Path) -> bool:
    """Whether a folder has the files that only such an index has."""
    return (folder / CENTROIDS).exists() or (folder / WEIGHTS).exists()


def open_fast_plaid(folder: Path) -> Foreign:
    """Open a folder of fast-plaid; raises CorruptIndex where a file is missing, cut or fits no other."""
    metadata = read_object(folder / METADATA)
    codec = checked_codec(
        map_npy(folder / CENTROIDS, ndim=2),
        map_npy(folder / WEIGHTS, ndim=1),
        whole(metadata, "nbits", folder / METADATA),
        folder,
    )
    count = whole(metadata, "num_chunks", folder / METADATA)
    if (folder / f"doclens.{count}.json").exists():
        raise CorruptIndex(f"{folder} has more chunks than the {count} that {METADATA} says: {RESTORE}")
    lengths = [read_lengths(folder / f"doclens.{number}.json") for number in range(count)]
    codes, residuals = _Rows(folder, "codes", 1, lengths), _Rows(folder, "residuals", 2, lengths)
    chunks: list[Chunk] = []
    for number, lengths_N in enumerate(lengths):
        arrays = (codes.of(number), residuals.of(number)) if lengths_N.any() else no_rows(codec)
        chunks.append(checked_chunk(folder / f"{number}.codes.npy", lengths_N, *arrays, codec))
    items = sum(map(len, lengths))
    if "num_documents" in metadata and whole(metadata, "num_documents", folder / METADATA) != items:
        raise CorruptIndex(
            f"{folder / METADATA} says num_documents {metadata['num_documents']:,} but its doclens name {items:,}:"
            f" {RESTORE}"
        )
    database = _Database(folder / DATABASE, items) if (folder / DATABASE).exists() else None
    return Foreign(
        KIND,
        folder,
        codec.dim,
        codec.nbits,
        items,
        lambda: decoded_items(codec, chunks),
        passages=database.passages if database else None,
    )


class _Rows:
    """The codes, or the residuals, of each chunk: in a file of its own, or a part of the merged one."""

    def __init__(self, folder: Path, name: str, ndim: int, lengths: list[np.ndarray]) -> None:
        self._folder, self._name, self._ndim = folder, name, ndim
        path = folder / f"merged_{name}.manifest.json"
        manifest = read_object(path) if path.exists() else {}
        counts = [  # in the merged file: what its manifest says, else what each chunk has
            whole(manifest[key], "rows", path) if (key := f"{number}.{name}.npy") in manifest else int(lengths_N.sum())
            for number, lengths_N in enumerate(lengths)
        ]
        self._offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self._merged: np.ndarray | None = None

    def of(self, number: int) -> np.ndarray:
        """Those of one chunk."""
        own = self._folder / f"{number}.{self._name}.npy"
        if own.exists() or own.is_symlink():
            return map_npy(own, ndim=self._ndim)
        if self._merged is None:
            self._merged = map_npy(self._folder / f"merged_{self._name}.npy", ndim=self._ndim)
        return self._merged[self._offsets[number] : self._offsets[number + 1]]


class _Database:
    """The metadata of each item, as passages without a text; columns called text and title become those."""

    def __init__(self, path: Path, items: int) -> None:
        self._path = path
        file_size(path)  # refuses a link
        with self._reading() as database:
            count = database.execute("SELECT COUNT(*) FROM METADATA").fetchone()[0]
        if count != items:
            raise CorruptIndex(f"{path} has {count:,} rows for {items:,} items: {RESTORE}")

    def passages(self) -> Iterator[Passage]:
        """They, in order; raises CorruptIndex where rows are not numbered as the items are."""
        with self._reading() as database:
            for number, row in enumerate(database.execute("SELECT * FROM METADATA ORDER BY _subset_")):
                values: dict[str, Any] = {key: row[key] for key in row.keys() if row[key] is not None}  # noqa: SIM118
                if values.pop("_subset_", None) != number:
                    raise CorruptIndex(f"{self._path} does not number its rows from 0 on: {RESTORE}")
                own = {key: values.pop(key) for key in ("text", "title") if isinstance(values.get(key), str)}
                yield Passage(str(number), meta=values, **own)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as database:
                database.row_factory = sqlite3.Row
                yield database
        except sqlite3.Error as error:
            raise CorruptIndex(f"{self._path} cannot be read ({error}): {RESTORE}") from error
