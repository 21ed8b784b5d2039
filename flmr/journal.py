"""Encoded passages kept on disk while an index is built, so that an interrupted build encodes nothing twice.

Knows batches of passages and the vectors they became.  Knows nothing of encoders' insides or of the index's files.

A journal is a folder of two files: `vectors.raw`, the rows of all batches one after another in float16, as an index
takes them in, and `journal.jsonl`, a header and one line a batch with its digest, lengths, place and checksum.  Vectors
are written before their line, so a line that can be read vouches for its vectors; what follows the last sound line is
cut off.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flmr.errors import InvalidInput, StorageError
from flmr.ops.arrays import in_memory
from flmr.records import MultiVectors, Passage
from flmr.roles import Encoder

FORMAT = 1


@dataclass(frozen=True)
class Encoded:
    """A batch after encoding: the rows of the passages that could be read, and why the others could not.

    vectors: MultiVectors, or tensors (n, D) that were left on the encoder's device.
    """

    vectors: MultiVectors | Sequence[Any]
    ids: tuple[str, ...]
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    digest: str
    ids: list[str]
    lengths: list[int]
    start: int
    size: int
    crc: int
    unreadable: dict[str, str]


class Journal:
    """Replays the batches of an interrupted build in order, then appends new ones; a context manager.

    What is there is taken up, for its digests say that it is still true; where another encoder or batch size wrote it,
    the journal starts from nothing, or with `resume` raises InvalidInput.
    Raises StorageError where the file system refuses.
    """

    def __init__(self, folder: Path, encoder: Encoder, batch_size: int, *, resume: bool) -> None:
        self.folder = folder
        self._dim = encoder.dim
        header = {
            "format": FORMAT,
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dim": encoder.dim,
            "batch_size": batch_size,
        }
        self._hash_images = encoder.encodes_images
        try:
            self._pending: deque[tuple[int, _Entry]] = deque()
            if (folder / "journal.jsonl").exists() and (resume or _is_of(folder, header)):
                self._pending.extend(_sound_entries(folder, header))
            else:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                (folder / "vectors.raw").touch()
                (folder / "journal.jsonl").write_bytes(_line(header))
            self._log: BinaryIO = (folder / "journal.jsonl").open("r+b")
            self._raw: BinaryIO = (folder / "vectors.raw").open("r+b")
        except OSError as error:
            raise _refused(folder, error) from error
        self._holds_batches = bool(self._pending)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def replay(self, batch: Sequence[Passage]) -> Encoded | None:
        """What the interrupted build made of this batch; None where it never came so far or the batch has changed."""
        if not self._pending:
            return None
        line_start, entry = self._pending[0]
        encoded = self._read(entry) if entry.digest == digest(batch, self._hash_images) else None
        if encoded is None:  # this batch and all that follow are encoded again
            self._pending.clear()
            self._log.truncate(line_start)
            self._raw.truncate(entry.start)
            return None
        self._pending.popleft()
        return encoded

    def append(self, batch: Sequence[Passage], encoded: Encoded) -> None:
        """Keep one encoded batch; raises StorageError where the disk is full."""
        rows = _as_float16(encoded.vectors).tobytes()
        try:
            start = self._raw.seek(0, 2)
            self._raw.write(rows)
            self._raw.flush()
            entry = _Entry(
                digest=digest(batch, self._hash_images),
                ids=list(encoded.ids),
                lengths=[len(item) for item in encoded.vectors],
                start=start,
                size=len(rows),
                crc=zlib.crc32(rows),
                unreadable=encoded.unreadable,
            )
            self._log.seek(0, 2)
            self._log.write(_line(asdict(entry)))
            self._log.flush()
            self._holds_batches = True
        except OSError as error:
            raise _refused(self.folder, error) from error

    def close(self) -> None:
        """Close the files; what was appended stays for a later resume, and a journal without batches goes."""
        for file in (self._raw, self._log):
            try:
                file.close()
            except OSError as error:  # the last buffered bytes did not fit
                raise _refused(self.folder, error) from error
        if not self._holds_batches:
            shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Close and delete: the index is built."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, entry: _Entry) -> Encoded | None:
        self._raw.seek(entry.start)
        rows = self._raw.read(entry.size)
        if len(rows) != entry.size or zlib.crc32(rows) != entry.crc:
            return None
        vectors_TD = np.frombuffer(rows, np.float16).reshape(-1, self._dim)
        offsets = np.concatenate([[0], np.cumsum(entry.lengths)]).astype(np.int64)
        return Encoded(MultiVectors(vectors_TD, offsets), tuple(entry.ids), entry.unreadable)


def _as_float16(vectors: MultiVectors | Sequence[Any]) -> np.ndarray:
    """All rows as an index takes them in, brought down from the encoder's device in one piece."""
    if isinstance(vectors, MultiVectors):
        return vectors.vectors.astype(np.float16)
    if not vectors:
        return np.empty((0, 0), np.float16)
    from flmr.ops.waiting import joined

    rows_TD: np.ndarray = in_memory(joined(vectors))
    return rows_TD


def journal_folder(index: Path) -> Path:
    """Where the journal of an index that is being built stands: beside it."""
    return index.with_name(index.name + ".encoding")


def digest(batch: Iterable[Passage], hash_images: bool) -> str:
    """Changes whenever a passage of the batch does; images count only where the encoder sees them."""
    state = hashlib.blake2b(digest_size=16)
    for passage in batch:
        image = _image_key(passage.image) if hash_images else None
        state.update(_line([passage.id, passage.full_text, image]))
    return state.hexdigest()


def _image_key(image: Any) -> Any:
    if image is None:
        return None
    if isinstance(image, str | Path):
        try:
            found = Path(image).stat()
        except OSError:
            return [str(image), None]
        return [str(image), found.st_size, found.st_mtime_ns]
    content = image if isinstance(image, bytes) else image.tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _is_of(folder: Path, header: dict[str, Any]) -> bool:
    with (folder / "journal.jsonl").open("rb") as log:
        return bool(_parse(log.readline()) == header)


def _sound_entries(folder: Path, header: dict[str, Any]) -> list[tuple[int, _Entry]]:
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    found = _parse(lines[0]) if lines else None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InvalidInput(f"the interrupted build in {folder} cannot be read; start again without resume")
    for key, name in (("fingerprint", "encoder"), ("batch_size", "batch_size")):
        if found[key] != header[key]:
            raise InvalidInput(
                f"the interrupted build in {folder} used {name} {found[name]!r}, not {header[name]!r};"
                " give the same one, or start again without resume"
            )
    entries: list[tuple[int, _Entry]] = []
    place = len(lines[0])
    size = (folder / "vectors.raw").stat().st_size
    for line in lines[1:]:
        fields = _parse(line)
        if not isinstance(fields, dict) or fields["start"] + fields["size"] > size:
            break
        entries.append((place, _Entry(**fields)))
        place += len(line)
    with (folder / "journal.jsonl").open("r+b") as log, (folder / "vectors.raw").open("r+b") as raw:
        log.truncate(place)
        raw.truncate(entries[-1][1].start + entries[-1][1].size if entries else 0)
    return entries


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _refused(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {folder}: {error.strerror or error}; free space there or choose another folder")
