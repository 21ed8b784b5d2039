"""The manifest: what an index consists of at one commit, and the commit itself.

Knows segments, codecs, alive bitmaps and checksums by name.  Knows nothing of what is inside them.
A manifest is a value; replacing manifest.json is the only commit there is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from flmr.errors import CorruptIndex, InvalidInput, NotAnIndex
from flmr.index.format import (
    CODEC_PARTS,
    FORMAT,
    LOCK,
    MANIFEST,
    MANIFEST_DRAFT,
    NBITS,
    SAMPLE_PARTS,
    SEGMENT,
    VERSION,
    Layout,
    is_alive_name,
    is_codec_number,
    is_gains_name,
    is_segment_name,
)
from flmr.index.store import Storage, checksum, file_size, naming, read_bytes
from flmr.records import MAX_DIM

MEASURED_COUNTS = 6  # of a plan: two numbers of results, three recalls (see settings.MEASURED)
_FIRST_LINE = re.compile(rb'\{"checksum": "([0-9a-f]{64})",\n')
RESTORE = "restore it from a copy or rebuild the index"


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Measure a file."""
        return cls(file_size(path), checksum(path))


@dataclass(frozen=True)
class CodecRecord:
    """A codec of the index: its number of centroids, the widths of its rotation's blocks, its files.

    fitted_on: rows of the corpus that it was fitted for, not of the sample.  residual: their mean squared residual.
    """

    centroids: int
    blocks: tuple[int, ...]
    fitted_on: int
    files: Mapping[str, FileRecord]
    residual: float | None = None


@dataclass(frozen=True)
class AliveRecord:
    """The alive bitmap of a segment that has lost items."""

    name: str
    file: FileRecord


@dataclass(frozen=True)
class GainsRecord:
    """What the sample queries gain on the items of a segment, in units of `unit`."""

    name: str
    file: FileRecord
    unit: float


@dataclass(frozen=True)
class SegmentRecord:
    """A segment of the index as one commit sees it: alive counts items that are not deleted.

    codec: the one it was written with, or a later one that has grown from that.
    """

    name: str
    items: int
    vectors: int
    alive: int
    alive_vectors: int
    codec: int | None
    segment_file: FileRecord
    alive_file: AliveRecord | None = None
    gains_file: GainsRecord | None = None


@dataclass(frozen=True)
class SampleRecord:
    """The sample queries of an index: the generation that wrote them, rows of each query, their files."""

    generation: int
    lengths: tuple[int, ...]
    files: Mapping[str, FileRecord]


@dataclass(frozen=True)
class PlanRecord:
    """How many items a search has to look at, for each of `settings.MEASURED`.

    items: of so many it was measured.  likeness: the cosine below which a query is unlike the sample, None where there
    was none and the index's own vectors were asked.  by_means (empty without a sample), rough: the counts.
    """

    items: int
    likeness: float | None
    by_means: tuple[int, ...]
    rough: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """One commit of an index.

    pool: of so many rows of an item one is made.  next_id: the default id of the next item that comes without one.
    """

    dim: int
    nbits: int
    keep_vectors: bool
    seed: int
    pool: int = 1
    generation: int = 0
    codecs: Mapping[str, CodecRecord] = field(default_factory=dict)
    segments: tuple[SegmentRecord, ...] = ()
    next_segment: int = 1
    next_codec: int = 1
    next_id: int = 0
    images_not_stored: int = 0
    encoder: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] | None = None
    sample: SampleRecord | None = None
    plan: PlanRecord | None = None

    @property
    def items(self) -> int:
        """Items that are not deleted."""
        return sum(segment.alive for segment in self.segments)

    @property
    def vectors(self) -> int:
        """Rows of the items that are not deleted."""
        return sum(segment.alive_vectors for segment in self.segments)


@dataclass(frozen=True)
class SegmentFile:
    """What segment.json says: the layout and the files of a segment."""

    layout: Layout
    codec: int | None
    files: Mapping[str, FileRecord]


def write_manifest(storage: Storage, folder: Path, manifest: Manifest) -> None:
    """Commit: replace manifest.json, atomically and durably."""
    storage.replace(folder / MANIFEST, folder / MANIFEST_DRAFT, seal(asdict(manifest)))


def holds_index(folder: Path) -> bool:
    """Whether a manifest stands in a folder; raises StorageError where nobody may look into it."""
    with naming("read", folder):
        return (folder / MANIFEST).exists()


def read_manifest(folder: Path) -> Manifest:
    """The last committed manifest; raises NotAnIndex, StorageError, or CorruptIndex where it is damaged."""
    path = folder / MANIFEST
    with naming("read", path):
        if not folder.exists():
            raise NotAnIndex(f"{folder} does not exist; create an index there with Index.create or `flmr index`")
        if not folder.is_dir() or not path.exists():
            unfinished = folder.is_dir() and (folder / LOCK).exists()
            why = "its creation was not finished: create it again" if unfinished else f"it has no {MANIFEST}"
            raise NotAnIndex(f"{folder} is not an flmr index: {why}")
    manifest = _load(Manifest, unseal(read_bytes(path), path), path)
    if manifest.nbits not in NBITS or not 1 <= manifest.dim <= MAX_DIM or min(manifest.generation, manifest.pool) < 1:
        raise CorruptIndex(f"{path} holds values out of range: {RESTORE}")
    for number, codec in manifest.codecs.items():
        if not is_codec_number(number) or not codec.files.keys() <= set(CODEC_PARTS):
            raise CorruptIndex(f"{path} names a codec {number!r} that cannot be: {RESTORE}")
    if manifest.sample is not None and not manifest.sample.files.keys() <= set(SAMPLE_PARTS):
        raise CorruptIndex(f"{path} names sample queries that cannot be: {RESTORE}")
    if manifest.plan is not None and not _is_plan(manifest.plan):
        raise CorruptIndex(f"{path} holds a plan out of range: {RESTORE}")
    for segment in manifest.segments:
        if not is_segment_name(segment.name) or segment.alive > segment.items:
            raise CorruptIndex(f"{path} names a segment {segment.name!r} that cannot be: {RESTORE}")
        if segment.alive_file is not None and not is_alive_name(segment.alive_file.name, segment.name):
            raise CorruptIndex(f"{path} names {segment.alive_file.name!r} as an alive bitmap: {RESTORE}")
        if segment.gains_file is not None and not is_gains_name(segment.gains_file.name, segment.name):
            raise CorruptIndex(f"{path} names {segment.gains_file.name!r} as gains: {RESTORE}")
        if segment.codec is not None and str(segment.codec) not in manifest.codecs:
            raise CorruptIndex(
                f"{path}: segment {segment.name} needs codec {segment.codec}, which is not there: {RESTORE}"
            )
    return manifest


def write_segment_file(storage: Storage, folder: Path, segment: SegmentFile) -> FileRecord:
    """Write segment.json, the last file of a segment; returns what the manifest says of it."""
    storage.write(folder / SEGMENT, seal(asdict(segment)))
    return FileRecord.of(folder / SEGMENT)


def read_segment_file(folder: Path, record: SegmentRecord) -> SegmentFile:
    """segment.json of a segment, checked against the manifest."""
    path = folder / record.name / SEGMENT
    if path.parent.is_symlink():
        raise CorruptIndex(f"{path.parent} is a link, and an index holds none: copy what it names (cp -rL)")
    data = read_bytes(path)
    if FileRecord(len(data), hashlib.sha256(data).hexdigest()) != record.segment_file:
        raise CorruptIndex(f"{path} is not the file that the manifest names: {RESTORE}")
    segment = _load(SegmentFile, unseal(data, path), path)
    layout = segment.layout
    grown = None not in (segment.codec, record.codec) and segment.codec < record.codec  # type: ignore[operator]
    if (layout.items, layout.vectors) != (record.items, record.vectors) or not (grown or segment.codec == record.codec):
        raise CorruptIndex(f"{path} and the manifest disagree: {RESTORE}")
    if set(segment.files) != layout.files:
        raise CorruptIndex(f"{path} names other files than a segment has: {RESTORE}")
    return segment


def seal(content: dict[str, Any]) -> bytes:
    """JSON whose first line holds the SHA-256 of all that follows it."""
    content = {"format": FORMAT, "version": VERSION, **content}
    rest = json.dumps(content, indent=1, allow_nan=False).encode()[2:] + b"\n"
    return b'{"checksum": "' + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest


def unseal(data: bytes, path: Path) -> dict[str, Any]:
    """The content of sealed JSON; raises CorruptIndex if a byte of it changed, NotAnIndex if it is of another kind."""
    first = _FIRST_LINE.match(data)
    if not first or hashlib.sha256(data[first.end() :]).hexdigest().encode() != first[1]:
        if first is None and not data.startswith(b'{"checksum'):
            raise CorruptIndex(f"{path} is not a file of an flmr index, or its beginning is damaged: {RESTORE}")
        raise CorruptIndex(f"{path} is damaged (its checksum does not fit): {RESTORE}")
    try:
        content: dict[str, Any] = json.loads(data)
    except (ValueError, RecursionError) as error:  # a right checksum, so that somebody made it this way
        raise CorruptIndex(f"{path} cannot be read as JSON ({error}): {RESTORE}") from error
    content.pop("checksum", None)
    if content.pop("format", None) != FORMAT:
        raise NotAnIndex(f"{path} is not a file of an flmr index")
    version = content.pop("version", None)
    if version != VERSION:
        remedy = "build it anew" if isinstance(version, int) and version < VERSION else "use a newer flmr"
        raise NotAnIndex(f"{path} has format version {version}, but this flmr reads version {VERSION}: {remedy}")
    return content


def plain_json(value: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """A mapping as JSON gives it back; raises InvalidInput naming it if it cannot be written as JSON."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be a mapping, not {type(value).__name__}")
    try:
        loaded: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{name} cannot be written as JSON ({error}); use strings, numbers, lists and mappings"
        ) from error
    return loaded


Record = TypeVar("Record")


def _load(kind: type[Record], content: Any, path: Path) -> Record:
    """A record from JSON; raises CorruptIndex where a key or a type is not the record's."""
    try:
        content = {**_LATER.get(kind, {}), **content}
        if {f.name for f in fields(kind)} != set(content):  # type: ignore[arg-type]
            raise ValueError(f"keys {sorted(content)}")
        for f in fields(kind):  # type: ignore[arg-type]
            if f.type in _PLAIN and not _PLAIN[str(f.type)](content[f.name]):
                raise ValueError(f"{f.name} is {str(content[f.name])[:40]!r}")
        return _BUILD[kind](content, path)  # type: ignore[no-any-return]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CorruptIndex(f"{path} does not hold a {kind.__name__} ({error}): {RESTORE}") from error


def _is_plan(plan: PlanRecord) -> bool:
    counts = {len(plan.rough), len(plan.by_means) or MEASURED_COUNTS}
    return counts == {MEASURED_COUNTS} and plan.items > 0 and min(*plan.rough, *plan.by_means) > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# Keys that indexes of this format version have had only since some day, and what their absence means.
_LATER: Mapping[type, Mapping[str, Any]] = {
    CodecRecord: {"residual": None},
    Layout: {"sketched": False},
    SegmentRecord: {"gains_file": None},
    Manifest: {"sample": None, "plan": None},
}

# What a field of this type may be in JSON; fields of other types are built by `_BUILD`.
_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "int | None": lambda value: value is None or _is_count(value),
    "float | None": lambda value: value is None or (isinstance(value, int | float) and 0 <= value < float("inf")),
    "float": lambda value: isinstance(value, int | float) and 0 <= value < float("inf"),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "tuple[int, ...]": lambda value: isinstance(value, list) and all(map(_is_count, value)),
    "Mapping[str, Any] | None": lambda value: value is None or isinstance(value, dict),
}


def _files(content: dict[str, Any], path: Path) -> dict[str, FileRecord]:
    return {name: _load(FileRecord, file, path) for name, file in content.items()}


def _codec(content: dict[str, Any], path: Path) -> CodecRecord:
    return CodecRecord(**{**content, "blocks": tuple(content["blocks"]), "files": _files(content["files"], path)})


def _segment(content: dict[str, Any], path: Path) -> SegmentRecord:
    alive = content["alive_file"]
    gains = content["gains_file"]
    parts = {
        "segment_file": _load(FileRecord, content["segment_file"], path),
        "alive_file": None if alive is None else _load(AliveRecord, alive, path),
        "gains_file": None if gains is None else _load(GainsRecord, gains, path),
    }
    return SegmentRecord(**{**content, **parts})


def _manifest(content: dict[str, Any], path: Path) -> Manifest:
    parts = {
        "codecs": {number: _load(CodecRecord, codec, path) for number, codec in content["codecs"].items()},
        "segments": tuple(_load(SegmentRecord, segment, path) for segment in content["segments"]),
        "sample": None if content["sample"] is None else _load(SampleRecord, content["sample"], path),
        "plan": None if content["plan"] is None else _load(PlanRecord, content["plan"], path),
    }
    return Manifest(**{**content, **parts})


_BUILD: Mapping[type, Any] = {
    FileRecord: lambda content, path: FileRecord(**content),
    Layout: lambda content, path: Layout(**content),
    AliveRecord: lambda content, path: AliveRecord(content["name"], _load(FileRecord, content["file"], path)),
    GainsRecord: lambda content, path: GainsRecord(
        content["name"], _load(FileRecord, content["file"], path), content["unit"]
    ),
    SampleRecord: lambda content, path: SampleRecord(
        content["generation"], tuple(content["lengths"]), _files(content["files"], path)
    ),
    PlanRecord: lambda content, path: PlanRecord(
        **{**content, "by_means": tuple(content["by_means"]), "rough": tuple(content["rough"])}
    ),
    CodecRecord: _codec,
    SegmentRecord: _segment,
    Manifest: _manifest,
    SegmentFile: lambda content, path: SegmentFile(
        _load(Layout, content["layout"], path), content["codec"], _files(content["files"], path)
    ),
}
