"""Is an index what it says it is?  Reads every byte of it.

Knows checksums and what must hold between the files.  Knows nothing of repair.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from flmr.errors import CorruptIndex, FlmrError, NotAnIndex
from flmr.index.format import (
    CODES,
    IDS_OFFSETS,
    IDS_ORDER,
    IDS_RANKS,
    LISTS,
    LISTS_OFFSETS,
    VECTORS,
    codec_name,
    sample_name,
)
from flmr.index.lists import read_lists
from flmr.index.manifest import FileRecord, Manifest, read_manifest, read_segment_file
from flmr.index.segment import Segment
from flmr.index.snapshot import Snapshot, open_snapshot
from flmr.index.store import checksum, file_size

BLOCK = 1 << 20


def verify(folder: Path) -> list[str]:
    """What is wrong with the last commit of an index, one line each; [] when it is sound.

    Raises NotAnIndex where there is none, and StorageError where a file cannot be read.
    """
    problems: list[str] = []
    try:
        manifest = read_manifest(folder)
        while True:
            problems = list(_problems(folder, manifest))
            newer = read_manifest(folder)
            if newer.generation == manifest.generation:  # else a writer may have removed what we were reading
                return problems
            manifest = newer
    except NotAnIndex:
        raise
    except FlmrError as error:
        return [*problems, str(error)]


def _problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Checksums first: only where all of them hold do the contents deserve a look."""
    damaged = False
    for path, record in _files(folder, manifest):
        problem = _file_problem(path, record) if isinstance(record, FileRecord) else record
        if problem:
            damaged = True
            yield problem
    if damaged:
        return
    try:
        snapshot = open_snapshot(folder)
        for view in snapshot.views:
            yield from _segment_problems(view.segment)
        yield from _duplicates(snapshot)
    except FlmrError as error:
        yield str(error)


def _files(folder: Path, manifest: Manifest) -> Iterator[tuple[Path, FileRecord | str]]:
    """Every file of a commit with its record, or with the problem that hides it."""
    for number, codec in manifest.codecs.items():
        for part, record in codec.files.items():
            yield folder / codec_name(int(number), part), record
    if manifest.sample:
        for part, record in manifest.sample.files.items():
            yield folder / sample_name(manifest.sample.generation, part), record
    for segment in manifest.segments:
        if segment.alive_file:
            yield folder / segment.alive_file.name, segment.alive_file.file
        if segment.gains_file:
            yield folder / segment.gains_file.name, segment.gains_file.file
        try:
            content = read_segment_file(folder, segment)
        except FlmrError as error:
            yield folder / segment.name, str(error)
            continue
        for name, record in content.files.items():
            yield folder / segment.name / name, record


def _file_problem(path: Path, record: FileRecord) -> str | None:
    try:
        size = file_size(path)
        if size != record.bytes:
            return f"{path} has {size:,} bytes instead of {record.bytes:,}"
        return None if checksum(path) == record.sha256 else f"{path} is damaged: its checksum does not fit"
    except FlmrError as error:
        return str(error)


def _segment_problems(segment: Segment) -> Iterator[str]:
    """What the arrays of a segment must satisfy between them: a writer's mistake has a fitting checksum too."""
    path, layout = segment.path, segment.layout
    _ = segment.offsets  # raises where they could not be
    ids_offsets = segment.array(IDS_OFFSETS)
    if ids_offsets[0] != 0 or ids_offsets[-1] != layout.ids_bytes or (np.diff(ids_offsets) < 1).any():
        yield f"{path / IDS_OFFSETS} does not rise from 0 to {layout.ids_bytes:,}"
        return
    ids = segment.ids.all()
    order, ranks = segment.array(IDS_ORDER), segment.array(IDS_RANKS)
    ordered = [ids[row] for row in order.tolist()] if (order < len(ids)).all() else []
    if len(ordered) != len(ids) or any(a > b for a, b in pairwise(ordered)):
        yield f"{path / IDS_ORDER} is not the order of the ids"
    elif not np.array_equal(ranks[order], np.arange(len(ids))):
        yield f"{path / IDS_RANKS} is not the inverse of {IDS_ORDER}"
    if layout.centroids:
        yield from _code_problems(segment)
    if segment.has_vectors and not _finite(segment.array(VECTORS)):
        yield f"{path / VECTORS} holds values that are not finite"
    if segment.passages is not None and sum(1 for _ in segment.passages.rows()) != layout.items:
        yield f"{segment.passages.path} has not one row for each item"


def _code_problems(segment: Segment) -> Iterator[str]:
    path, layout = segment.path, segment.layout
    codes = segment.array(CODES)
    if any((codes[i : i + BLOCK] >= layout.centroids).any() for i in range(0, len(codes), BLOCK)):
        yield f"{path / CODES} names centroids that do not exist"
    if layout.list_bytes:
        yield from _list_problems(segment)


def _list_problems(segment: Segment) -> Iterator[str]:
    path, layout = segment.path, segment.layout
    offsets, blob = segment.array(LISTS_OFFSETS), segment.array(LISTS)
    if offsets[0] != 0 or offsets[-1] != layout.list_bytes or (np.diff(offsets) < 0).any():
        yield f"{path / LISTS_OFFSETS} does not rise from 0 to {layout.list_bytes:,}"
        return
    first = 0
    while first < layout.centroids:
        end = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1)
        try:
            items, _ = read_lists(blob, offsets, first, end)
        except CorruptIndex as error:
            yield f"{path / LISTS}: {error}"
            return
        if items.max(initial=-1) >= layout.items:
            yield f"{path / LISTS} names items that do not exist"
            return
        first = end


def _duplicates(snapshot: Snapshot) -> Iterator[str]:
    seen: set[str] = set()
    for view in snapshot.views:
        stored = view.segment.ids.all()
        for row in view.alive_rows.tolist():
            if stored[row] in seen:
                yield f"{view.segment.path}: id {stored[row]!r} is alive twice"
            seen.add(stored[row])


def _finite(values: np.ndarray) -> bool:
    step = max(1, BLOCK // max(1, int(np.prod(values.shape[1:]))))
    return all(np.isfinite(values[i : i + step]).all() for i in range(0, len(values), step))
