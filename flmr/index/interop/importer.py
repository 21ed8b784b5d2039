"""An index of another engine, taken over: its vectors as it would score them, stored in this format.

Knows which importer reads which folder, and where ids and passages come from.  Knows no layout itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import replace
from pathlib import Path

from flmr.errors import InvalidInput, NotAnIndex
from flmr.index.format import MANIFEST
from flmr.index.index import Index, Progress
from flmr.index.interop import colbert, exported, fast_plaid, pylate
from flmr.index.interop.foreign import Foreign
from flmr.index.store import naming
from flmr.records import MultiVectors, Passage

# In the order in which a folder is tried: PyLate's holds the files of another engine.
KINDS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Foreign]]] = {
    exported.PARQUET: (exported.looks_like_parquet, exported.open_parquet),
    exported.NPY: (exported.looks_like_npy, exported.open_npy),
    pylate.KIND: (pylate.looks_like_pylate, pylate.open_pylate),
    fast_plaid.KIND: (fast_plaid.looks_like_fast_plaid, fast_plaid.open_fast_plaid),
    colbert.KIND: (colbert.looks_like_colbert, colbert.open_colbert),
}


def import_index(
    source: str | Path | Foreign,
    path: str | Path,
    *,
    kind: str | None = None,
    nbits: int = 8,
    ids: Iterable[str] | None = None,
    passages: Iterable[Passage | None] | None = None,
    seed: int = 0,
    memory_limit: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = False,
) -> Index:
    """Make an index at `path` of one that colbert-ai, fast-plaid or PyLate wrote, or that `export_index` did.

    source: its folder or file, or what `open_foreign` gave.  kind: see `open_foreign`.  ids: one an item in its order;
    default the source's own, else "0", "1", ...  passages: one an item; default the source's own, where it has any.
    nbits: 8 by default, so that next to nothing is lost a second time; 0 keeps float16.  The rest: see `Index.create`.
    Raises NotAnIndex, CorruptIndex where the source is damaged, and what `Index.create` raises; then nothing is made.
    """
    foreign = source if isinstance(source, Foreign) else open_foreign(source, kind)
    if isinstance(ids, Sized) and len(ids) != len(foreign):
        raise InvalidInput(f"{len(ids):,} ids were given for {len(foreign):,} items: give one for each")
    if ids is None and foreign.ids is not None:
        ids = foreign.ids()
    if ids is None and passages is None:
        ids = map(str, range(len(foreign)))
    if passages is None and foreign.passages is not None:
        ids = list(ids or ())
        passages = _under(ids, foreign.passages())
    return Index.create(
        path,
        foreign if len(foreign) else MultiVectors.from_list([], dim=foreign.dim),
        ids,
        passages,
        nbits=nbits,
        seed=seed,
        memory_limit=memory_limit,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )


def open_foreign(source: str | Path, kind: str | None = None) -> Foreign:
    """Open an index that another program wrote, without reading its vectors.

    kind: "colbert", "fast-plaid", "pylate", or "parquet" or "npy" as `export_index` writes them; default what it is.
    Raises NotAnIndex where it is none of these, CorruptIndex where it is damaged.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"kind {kind!r} is not known; it is one of {', '.join(KINDS)}")
    path = Path(source).absolute()
    with naming("read", path):
        if not path.exists():
            raise NotAnIndex(f"{path} does not exist; check the path")
        if kind is None:
            kind = next((name for name, (looks_like, _) in KINDS.items() if looks_like(path)), None)
        if kind is None and (path / MANIFEST).exists():
            raise NotAnIndex(f"{path} is an index of flmr already: open it as it is")
    if kind is None:
        raise NotAnIndex(
            f"{path} is no index that can be imported ({', '.join(KINDS)}); name the folder with its files"
        )
    return KINDS[kind][1](path)


def read_ids(path: str | Path) -> list[str]:
    """The ids of a text file, one a line in UTF-8; raises InvalidInput or StorageError."""
    path = Path(path)
    try:
        with naming("read", path):
            return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8, one id a line") from error


def _under(ids: Iterable[str], passages: Iterable[Passage | None]) -> Iterator[Passage | None]:
    """The passages under the ids of their items."""
    for item_id, passage in zip(ids, passages, strict=False):  # the index says where one of them is longer
        yield None if passage is None else replace(passage, id=item_id)
