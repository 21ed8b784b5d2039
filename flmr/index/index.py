"""An index: opened, searched, added to, deleted from, committed, merged, closed.

Knows the folder and its lifetime.  Knows nothing of models, and leaves the work to the modules beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from flmr.errors import AlreadyExists, CorruptIndex, IndexClosed, InvalidInput, NotAnIndex, StorageError
from flmr.index.check import self_check
from flmr.index.checkpoint import Checkpoint, building_folder
from flmr.index.format import LOCK, NBITS, VERSION, is_own_entry
from flmr.index.lock import WriterLock
from flmr.index.manifest import Manifest, holds_index, plain_json, read_manifest
from flmr.index.merge import merge
from flmr.index.packing import Packing
from flmr.index.sample import make_sample
from flmr.index.searcher import Searcher, as_queries
from flmr.index.settings import SearchParams
from flmr.index.snapshot import Snapshot, open_snapshot
from flmr.index.store import Storage, naming
from flmr.index.verify import verify
from flmr.index.writer import Writer
from flmr.ops.arrays import Device, checked_device
from flmr.progress import reporting
from flmr.records import Hit, MultiVectors, Passage

DEFAULT_MEMORY = 512 << 20
LEAST_MEMORY = 1 << 20
MAX_POOL = 64

Samples = MultiVectors | Sequence[Any]
Progress = bool | Callable[[str, int, "int | None"], None]


class Index:
    """A folder of segments.  `Index.create` and `Index.open` make one; use it as a context manager or close it.

    Reading never locks.  The first change takes the writer's lock, which `close` gives back; what was not committed by
    then is forgotten.  `search` and all that reads answer from the last commit that this Index has seen: its own
    commits, and others' after `refresh`.
    """

    def __init__(self, snapshot: Snapshot, storage: Storage, memory_bytes: int, device: Device = "cpu") -> None:
        self._snapshot: Snapshot | None = snapshot
        self._storage = storage
        self._memory_bytes = memory_bytes
        self._device = device
        self._path = snapshot.folder
        self._writer: Writer | None = None
        self._writing = threading.RLock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        vectors: MultiVectors | Iterable[Any],
        ids: Iterable[str] | None = None,
        passages: Iterable[Passage | None] | None = None,
        *,
        nbits: int = 2,
        keep_vectors: bool = False,
        pool: int = 1,
        seed: int = 0,
        memory_limit: int | None = None,
        device: Device = "cpu",
        overwrite: bool = False,
        resume: bool = False,
        progress: Progress = False,
        encoder: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        sample_queries: Samples | Callable[[], Samples | None] | None = None,
        storage: Storage | None = None,
    ) -> Index:
        """Build an index and commit it.  Everything given is consumed once, in lock-step, in bounded memory.

        vectors: MultiVectors, or an iterable of (n, D) arrays or torch tensors, wherever these lie; none at all is
        legal only as MultiVectors, which know D.
        ids: default to the passages', else to "0", "1", ...  nbits: 1, 2, 3, 4 or 8 a dimension, or 0 for float16.
        keep_vectors: also store float16 vectors and take scores from them.  pool: make one row of every 2, 3, ... of an
        item, those that are most alike, also of what is added later.  memory_limit: bytes for the work, default
        512 MB; ids come on top.  encoder, recipe: written into the manifest.
        device: "cuda" rotates vectors, clusters them and finds their nearest centroids on a CUDA device, where sums are
        rounded in another order: what is stored may differ in the last bit of its float32 numbers, and of two centroids
        that are equally near the other may be chosen.  Tensors in the current CUDA device's memory are worked on there
        and none of their rows is sent again, as far as half of its free memory holds those that wait for the commit.
        sample_queries: 16 or more queries as they will be asked, see `calibrate`, or a function that gives them or None
        once all vectors have been read.
        resume: keep what is computed in `PATH.building` until the index stands, also when this is interrupted, and take
        up what an earlier call has left there: the index is the same as that of an uninterrupted one, whatever changed
        is computed again.  An index that stands already is opened if it has as many items.
        Raises AlreadyExists (overwrite=True replaces an index, which stays whole until the new one is committed),
        InvalidInput, DuplicateId, IndexLocked, StorageError; then nothing is left behind.
        """
        settings = Manifest(
            dim=0,
            nbits=_checked_nbits(nbits),
            keep_vectors=_checked_flag("keep_vectors", keep_vectors),
            pool=_checked_pool(pool),
            seed=_checked_seed(seed),
            encoder=plain_json(encoder, "encoder"),
            recipe=plain_json(recipe, "recipe"),
        )
        memory_bytes, device = _checked_memory(memory_limit), checked_device(device)
        overwrite, resume = _checked_flag("overwrite", overwrite), _checked_flag("resume", resume)
        storage = storage or Storage()
        folder = _absolute(path)
        if resume and not overwrite and holds_index(folder):
            return cls._standing(folder, vectors, memory_limit, device, storage)
        with naming("create", folder):
            made = _claim(storage, folder, overwrite)
        try:
            lock = WriterLock(folder / LOCK)
        except BaseException:
            _unmake(storage, made)
            raise
        try:
            if not overwrite and holds_index(folder):  # made by another process since it was looked for
                raise AlreadyExists(f"{folder} holds an index: open it, or replace it with overwrite=True")
            base = Snapshot(folder, _succeed(settings, folder), (), {})
            with Checkpoint(building_folder(folder)) if resume else nullcontext() as checkpoint:
                writer = Writer(storage, folder, lock, base, memory_bytes, Packing(checkpoint), device)
                try:
                    with reporting(progress) as report:
                        writer.add(vectors, ids, passages, update=False, report=report, whole=True)
                        if not writer.dim:
                            raise InvalidInput(
                                "there is nothing to index: give at least one item, or empty MultiVectors of D"
                            )
                        sample = sample_queries() if callable(sample_queries) else sample_queries
                        if sample is not None:
                            writer.use_sample(make_sample(as_queries(sample, writer.dim)))
                        writer.commit(report, force=True)
                except BaseException:
                    writer.abandon()
                    raise
                if checkpoint:
                    checkpoint.remove()
        except BaseException:
            if made and not holds_index(folder):
                _unmake(storage, made)
            lock.release()
            raise
        index = cls(writer.base, storage, memory_bytes, device)
        index._writer = writer
        return index

    @classmethod
    def _standing(cls, folder: Path, vectors: Any, memory_limit: int | None, device: Device, storage: Storage) -> Index:
        """The index that an earlier call has finished; raises AlreadyExists where it is not of these vectors."""
        index = cls.open(folder, memory_limit=memory_limit, device=device, storage=storage)
        if isinstance(vectors, Sized) and len(vectors) != len(index):
            found = len(index)
            index.close()
            raise AlreadyExists(
                f"{folder} holds an index of {found:,} items, not of {len(vectors):,}: open it, or replace it with"
                " overwrite=True"
            )
        return index

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        memory_limit: int | None = None,
        device: Device = "cpu",
        storage: Storage | None = None,
    ) -> Index:
        """Map the last commit.  Reads the small JSON files and the sizes of the others, not their contents.

        memory_limit, device: of what is added later, see `create`.
        Raises NotAnIndex, or CorruptIndex where a file is missing, cut or not what the manifest says.
        """
        memory_bytes, device = _checked_memory(memory_limit), checked_device(device)
        return cls(open_snapshot(_absolute(path)), storage or Storage(), memory_bytes, device)

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self._path

    @property
    def dim(self) -> int:
        """D."""
        return self._open().manifest.dim

    @property
    def device(self) -> Device:
        """Where what is added is clustered, see `create`."""
        return self._device

    @property
    def generation(self) -> int:
        """The number of the commit that is seen."""
        return self._open().manifest.generation

    @property
    def encoder(self) -> dict[str, Any] | None:
        """What `create` was told of the encoder."""
        return self.searcher().encoder

    @property
    def recipe(self) -> dict[str, Any] | None:
        """What `create` was told of the recipe."""
        recipe = self._open().manifest.recipe
        return dict(recipe) if recipe is not None else None

    def __len__(self) -> int:
        return self._open().manifest.items

    def __contains__(self, item_id: object) -> bool:
        return item_id in self.searcher()

    def __repr__(self) -> str:
        snapshot = self._snapshot
        state = "closed" if snapshot is None else f"{snapshot.manifest.items:,} items of D={snapshot.manifest.dim}"
        return f"<Index {self._path}: {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"an Index cannot be pickled: open it where it is needed, Index.open({str(self._path)!r})")

    def __enter__(self) -> Index:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self,
        vectors: MultiVectors | Iterable[Any],
        ids: Iterable[str] | None = None,
        passages: Iterable[Passage | None] | None = None,
        *,
        progress: Progress = False,
    ) -> None:
        """Add items, visible after `commit`.  Raises DuplicateId, InvalidInput, IndexLocked; then nothing is added."""
        with self._as_writer() as writer, reporting(progress) as report:
            writer.add(vectors, ids, passages, update=False, report=report)

    def update(
        self,
        vectors: MultiVectors | Iterable[Any],
        ids: Iterable[str] | None = None,
        passages: Iterable[Passage | None] | None = None,
        *,
        progress: Progress = False,
    ) -> None:
        """Replace items of these ids, visible after `commit`; where no passages are given, the stored ones stay.

        Raises UnknownId where one is not there, InvalidInput, IndexLocked; then nothing is replaced.
        """
        with self._as_writer() as writer, reporting(progress) as report:
            writer.add(vectors, ids, passages, update=True, report=report)

    def delete(self, ids: str | Iterable[str]) -> None:
        """Delete items, visible after `commit`.  Raises UnknownId, DuplicateId or IndexLocked, deleting none."""
        if not isinstance(ids, Iterable):
            raise InvalidInput(f"ids must be a list of strings, not {type(ids).__name__}")
        with self._as_writer() as writer:
            writer.delete([ids] if isinstance(ids, str) else ids)

    def commit(self, *, progress: Progress = False) -> None:
        """Make all that was added and deleted visible, atomically and durably; does nothing where there is nothing.

        Raises StorageError; then the index is as it was, and the work still waits for another commit, unless the
        device refused to make rows durable: then every further commit says that they must be added again.
        """
        self._open()
        with self._writing:
            if self._writer is not None and self._writer.lock.held:
                with self._adopting(self._writer), reporting(progress) as report:
                    self._writer.commit(report)

    def merge(self, *, progress: Progress = False) -> None:
        """Compact all segments into one and give back the space of deleted items; commits, also what was waiting."""
        with self._as_writer() as writer, reporting(progress) as report:
            merge(writer, report)

    def calibrate(self, sample_queries: Samples | None = None, *, progress: Progress = False) -> None:
        """Measure on the index itself how many items a search has to look at, and commit that, after what was waiting.

        sample_queries: queries as they will be asked, (n, D) each; 16 of them are kept, evenly spread.  What all of
        them gain on an item is then known for each item, also for those that are added later, and searches for queries
        that are like them look at a few hundred items in place of thousands.  None: those that the index has, or else
        its own vectors.  Results change only by which items are looked at, never by their scores.
        Raises InvalidInput, IndexLocked or StorageError; then the index is as it was.
        """
        with self._as_writer() as writer, reporting(progress) as report:
            sample = None if sample_queries is None else make_sample(as_queries(sample_queries, writer.dim))
            writer.commit(report)
            if sample is not None:
                writer.use_sample(sample)
            writer.calibrate(report)

    def refresh(self) -> bool:
        """See the last commit of any process; returns whether it is a newer one."""
        with self._writing:
            old = self._open()
            self._snapshot = open_snapshot(self._path, old)
            return self._snapshot.manifest.generation != old.manifest.generation

    def close(self) -> None:
        """Give back the writer's lock and the maps, forgetting what was not committed; closing twice is fine.

        Searchers that were taken from it go on working.
        """
        with self._writing:
            writer, self._writer, self._snapshot = self._writer, None, None
            if writer is not None and writer.lock.held:
                writer.abandon()
                writer.lock.release()

    def searcher(self) -> Searcher:
        """An immutable, thread-safe snapshot of the last commit that this Index has seen."""
        return Searcher(self._open())

    def search(
        self,
        queries: MultiVectors | np.ndarray | Sequence[Any],
        k: int = 10,
        *,
        params: SearchParams | None = None,
        where: Mapping[str, Any] | None = None,
        only_ids: Iterable[str] | None = None,
        exclude_ids: Iterable[str] | None = None,
        passages: bool = True,
    ) -> list[list[Hit]]:
        """The best k items of each query: see `Searcher.search`."""
        return self.searcher().search(
            queries, k, params=params, where=where, only_ids=only_ids, exclude_ids=exclude_ids, passages=passages
        )

    def ids(self) -> list[str]:
        """The ids of all items."""
        return self.searcher().ids()

    def passage(self, item_id: str) -> Passage | None:
        """The passage stored with an item, or None where none was.  Raises UnknownId."""
        return self.searcher().passage(item_id)

    def passages(self, item_ids: Iterable[str]) -> list[Passage | None]:
        """The passages stored with many items, in the order given.  Raises UnknownId."""
        return self.searcher().passages(item_ids)

    def vectors(self, item_id: str) -> np.ndarray:
        """An item's vectors as they are stored, decompressed: (n, D) float32.  Raises UnknownId."""
        return self.searcher().vectors(item_id)

    def self_check(
        self, n: int = 200, k: int = 10, *, params: SearchParams | None = None, seed: int = 0
    ) -> dict[str, float]:
        """Recall of a search against the exact one on vectors of its own: {"recall@10": ..., "recall@100": ...}."""
        return self_check(self.searcher(), n=n, k=k, params=params, seed=seed)

    def verify(self) -> list[str]:
        """What is wrong with the last commit on disk, every byte read; [] when it is sound."""
        self._open()
        return verify(self._path)

    def info(self) -> dict[str, Any]:
        """Counts and sizes of the last commit that this Index has seen."""
        snapshot = self._open()
        manifest = snapshot.manifest
        codecs = sum(file.bytes for codec in manifest.codecs.values() for file in codec.files.values())
        alive = sum(view.record.alive_file.file.bytes for view in snapshot.views if view.record.alive_file)
        files = [view.record.gains_file.file for view in snapshot.views if view.record.gains_file]
        files += manifest.sample.files.values() if manifest.sample else ()
        size = sum(view.segment.bytes for view in snapshot.views) + codecs + alive + sum(file.bytes for file in files)
        deleted = sum(view.record.items - view.record.alive for view in snapshot.views)
        return {
            "path": str(self._path),
            "format_version": VERSION,
            "generation": manifest.generation,
            "items": manifest.items,
            "deleted_items": deleted,
            "vectors": manifest.vectors,
            "dim": manifest.dim,
            "nbits": manifest.nbits,
            "keep_vectors": manifest.keep_vectors,
            "pool": manifest.pool,
            "segments": len(manifest.segments),
            "centroids": max((codec.centroids for codec in manifest.codecs.values()), default=0),
            "bytes": size,
            "bytes_per_vector": size / max(1, sum(view.record.vectors for view in snapshot.views)),
            "sample_queries": len(manifest.sample.lengths) if manifest.sample else 0,
            "images_not_stored": manifest.images_not_stored,
            "encoder": self.encoder,
            "recipe": self.recipe,
            "seed": manifest.seed,
        }

    def _open(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            raise IndexClosed(f"the index {self._path} was closed: open it again with Index.open")
        return snapshot

    @contextmanager
    def _as_writer(self) -> Iterator[Writer]:
        """The writer, made and locked on first use, on top of the last commit of any process."""
        with self._writing:
            snapshot = self._open()
            if self._writer is None or not self._writer.lock.held:
                lock = WriterLock(self._path / LOCK)
                try:
                    base = open_snapshot(self._path, snapshot)
                    self._writer = Writer(
                        self._storage, self._path, lock, base, self._memory_bytes, device=self._device
                    )
                except BaseException:
                    lock.release()
                    raise
            self._writer.lock.check()
            with self._adopting(self._writer):
                yield self._writer

    @contextmanager
    def _adopting(self, writer: Writer) -> Iterator[None]:
        """See what the writer has committed, also where it failed afterwards."""
        try:
            yield
        finally:
            self._snapshot = writer.base


def _claim(storage: Storage, folder: Path, overwrite: bool) -> list[Path]:
    """Make the folder of a new index; returns the folders that were made.  Raises AlreadyExists, StorageError."""
    if not folder.exists():
        made = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
        try:
            storage.make_folder(folder)
        except BaseException:
            _unmake(storage, [path for path in made if path.exists()])
            raise
        return made
    if not folder.is_dir():
        raise AlreadyExists(f"{folder} is a file: choose another path for the index")
    if holds_index(folder):
        if not overwrite:
            raise AlreadyExists(f"{folder} holds an index: open it, or replace it with overwrite=True")
    elif foreign := sorted(entry.name for entry in folder.iterdir() if not is_own_entry(entry.name)):
        raise AlreadyExists(f"{folder} holds other files ({foreign[0]!r}, ...): choose a new or empty folder")
    return []


def _unmake(storage: Storage, made: list[Path]) -> None:
    """Remove the folders that `_claim` made, as far as the disk allows."""
    try:
        for folder in reversed(made):
            if folder.exists():
                storage.remove(folder)
    except StorageError:
        return


def _succeed(settings: Manifest, folder: Path) -> Manifest:
    """The manifest before the first commit of a new index: numbers go on from an index that is to be replaced."""
    try:
        old = read_manifest(folder)
    except (NotAnIndex, CorruptIndex):
        old = settings
    segments = [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]
    codecs = [int(entry.name[6:].split(".")[0]) for entry in folder.glob("codec-*.*.npy")]
    return replace(
        settings,
        generation=old.generation,
        next_segment=max([old.next_segment, *(number + 1 for number in segments)]),
        next_codec=max([old.next_codec, *(number + 1 for number in codecs)]),
    )


def _absolute(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise InvalidInput(f"an index's path must be a string or Path, not {path!r}")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~name of nobody
        raise InvalidInput(f"the path {str(path)!r} cannot be read ({error}): write it in full") from None


def _checked_nbits(nbits: Any) -> int:
    if isinstance(nbits, bool) or nbits not in NBITS:
        raise InvalidInput(f"nbits must be one of {', '.join(map(str, NBITS))}, not {nbits!r}")
    return int(nbits)


def _checked_pool(pool: int) -> int:
    if isinstance(pool, bool) or not isinstance(pool, int) or not 1 <= pool <= MAX_POOL:
        raise InvalidInput(f"pool must be a whole number from 1 (every row is kept) to {MAX_POOL}, not {pool!r}")
    return pool


def _checked_flag(name: str, flag: Any) -> bool:
    if not isinstance(flag, bool | np.bool_):  # "no" would count as yes, and replace an index
        raise InvalidInput(f"{name} must be True or False, not {flag!r}")
    return bool(flag)


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInput(f"seed must be a whole number from 0, not {seed!r}")
    return int(seed)


def _checked_memory(memory_limit: Any) -> int:
    if memory_limit is None:
        return DEFAULT_MEMORY
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, int) or memory_limit < LEAST_MEMORY:
        raise InvalidInput(f"memory_limit is in bytes and at least {LEAST_MEMORY:,}, not {memory_limit!r}")
    return memory_limit
