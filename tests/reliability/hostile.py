"""Indexes that somebody made on purpose: every checksum is right and the contents are not.

Knows the layout of the files.  A mutant must be refused with an error of flmr's own, or answer; it must never crash,
hang, raise anything else, run code, or read a file that is not its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from reliability.asking import answers
from reliability.attempts import Attempt, run_many
from reliability.samples import MEMORY, Copy, Unsynced, made, pick

from flmr import Index
from flmr.errors import FlmrError
from flmr.index.format import HEADER_BYTES, MANIFEST, PASSAGES, SEGMENT
from flmr.index.manifest import seal
from flmr.index.verify import verify

# What stands where a number, a name or a mapping is expected.
NASTY: tuple[Any, ...] = (
    -1, 0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30), 0.5,
    1e308, True, False, None, "", " 1", "0", "-1", "01", "1e3", "\u0660\u0661\u0662\u0663", "0001", "0001/", "./0001",
    "../0001", "..", ".", "/etc/passwd", "../../../../etc/passwd", "../outside/secret.npy", "0001.alive.1.npy",
    "0001.alive./../../outside/secret.npy", "a\0b", "\ud800", "x" * 5000, [], [[]], [1], [2**70], ["centroids"], {},
    {"bytes": 1}, {"bytes": -1, "sha256": ""},
)  # fmt: skip

# What stands where the passages hold text or JSON.
TEXTS: tuple[str | None, ...] = (
    None, "", "null", "[]", "[1]", "1", '"a"', "{", "{}", '{"n": null}', '{"n": {"n": [1]}}', '{"n": NaN}',
    '{"n": 1e999}', '{"n": "3"}', '{"n": true}', "[" * 100_000, "9" * 5000, "a\0b", "x" * 70_000, "/etc/passwd",
    '{"' + "k" * 300 + '": 1}',
)  # fmt: skip


class Mutant:
    """The files of an index, to be changed in one place, with all records of their size and checksum set right."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.story = ""

    def change(self, rng: np.random.Generator) -> None:
        """One random change."""
        name = pick(rng, sorted(self.files))
        if name == MANIFEST or name.endswith(SEGMENT):
            self._change_json(rng, name)
        elif name.endswith(PASSAGES) and rng.random() < 0.5:
            with suppress(pa.ArrowException, OSError, ValueError):  # where an earlier change left no table
                self.files[name] = _changed_table(rng, self.files[name])
        elif name.endswith(".npy"):
            self.files[name] = self._changed_array(rng, self.files[name])
        else:
            self.files[name] = _changed_bytes(rng, self.files[name])
        self.story += f" {name}"

    def reseal(self) -> None:
        """Make every size and checksum fit again, from the leaves up, as far as the JSON still has places for them."""
        for name in sorted(self.files):
            if name.endswith("/" + SEGMENT):
                self._fill(name, name.removesuffix(SEGMENT))
        manifest = _parsed(self.files[MANIFEST])
        if not isinstance(manifest, dict):
            return
        for segment in _values(manifest.get("segments")):
            _record(segment, "segment_file", self.files.get(f"{_of(segment, 'name')}/{SEGMENT}"))
            for named in (_of(segment, "alive_file"), _of(segment, "gains_file")):
                _record(named, "file", self.files.get(str(_of(named, "name"))))
        codecs = manifest.get("codecs")
        for number, codec in codecs.items() if isinstance(codecs, dict) else ():
            self._fill_parts(codec, f"codec-{number}")
        sample = manifest.get("sample")
        self._fill_parts(sample, f"sample-{_of(sample, 'generation')}")
        self.files[MANIFEST] = _sealed(manifest)

    def _fill_parts(self, node: Any, name: str) -> None:
        files = _of(node, "files")
        for part in files if isinstance(files, dict) else ():
            _record(files, part, self.files.get(f"{name}.{part}.npy"))

    def _fill(self, name: str, folder: str) -> None:
        content = _parsed(self.files[name])
        files = _of(content, "files")
        for part in files if isinstance(files, dict) else ():
            _record(files, part, self.files.get(folder + part))
        self.files[name] = _sealed(content)

    def _change_json(self, rng: np.random.Generator, name: str) -> None:
        content = _parsed(self.files[name])
        places = [(node, key) for node, key in _places(content) if key != "checksum"]
        if not places:
            return
        node, key = places[int(rng.integers(len(places)))]
        value = NASTY[int(rng.integers(len(NASTY)))]
        way = int(rng.integers(6))
        if way == 0 and isinstance(node, dict):
            del node[key]
        elif way == 1 and isinstance(node, dict) and isinstance(value, str | int):
            node[str(value)] = node.pop(key)
        elif way == 2:
            other, another = places[int(rng.integers(len(places)))]
            node[key] = json.loads(json.dumps(other[another]))
        elif way == 3 and isinstance(node[key], int):
            node[key] = node[key] + int(rng.integers(-2, 3))
        elif way == 4 and isinstance(node[key], list):
            node[key] = node[key] * int(rng.integers(0, 4))
        else:
            node[key] = value
        self.files[name] = _sealed(content)
        self.story += f" {key} (way {way}, {str(value)[:30]!r})"

    def _changed_array(self, rng: np.random.Generator, data: bytes) -> bytes:
        way = int(rng.integers(8))
        self.story += f" (way {way})"
        if way == 0:  # pickled objects behind a header that says so
            file = io.BytesIO()
            np.save(file, np.array([_Bomb()], object), allow_pickle=True)
            return file.getvalue()
        if way == 1:
            header = bytearray(data[:HEADER_BYTES])
            header[int(rng.integers(len(header)))] = int(rng.integers(256))
            return bytes(header) + data[HEADER_BYTES:]
        if way == 2:
            return data[: int(rng.integers(len(data) + 1))]
        body = bytearray(data[HEADER_BYTES:])
        if not body:
            return data
        width = int(rng.choice([1, 2, 4, 8]))
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(len(body))) // width * width
            value = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])) if way < 6 else (
                int.from_bytes(body[place : place + width], "little") + int(rng.integers(-3, 4))
            )  # fmt: skip
            body[place : place + width] = (value % 256**width).to_bytes(width, "little")
        return data[:HEADER_BYTES] + bytes(body[: len(data) - HEADER_BYTES])


class _Bomb:
    """Creates a file when it is unpickled, which nothing of flmr may ever do."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("exploded",)


def _changed_table(rng: np.random.Generator, data: bytes) -> bytes:
    """Passages written anew, a sound Parquet file, with other values, groups, rows or columns."""
    table = pa.BufferReader(data)
    columns = pyarrow.parquet.read_table(table).to_pydict()
    name = pick(rng, sorted(columns))
    for _ in range(int(rng.integers(1, 4))):
        value = TEXTS[int(rng.integers(len(TEXTS)))]
        columns[name][int(rng.integers(len(columns[name])))] = value
    way = int(rng.integers(6))
    if way == 0:
        columns = {key: values[: int(rng.integers(len(values)))] for key, values in columns.items()}
        least = min(map(len, columns.values()))
        columns = {key: values[:least] for key, values in columns.items()}
    elif way == 1:
        del columns[name]
    elif way == 2:
        columns = dict(reversed(columns.items()))
    kind = pa.string() if way != 3 else pa.large_binary()
    fields = [pa.field(key, kind, nullable=key != "id" or way == 4) for key in columns]
    if way != 4 and "id" in columns:
        columns["id"] = [value or "" for value in columns["id"]]
    if way == 3:
        columns = {key: [_as_bytes(value) for value in values] for key, values in columns.items()}
    values = columns.values()
    arrays = [pa.array(column, kind) for column in values]
    sink = io.BytesIO()
    rows = int(rng.choice([1, 7, 256]))
    pyarrow.parquet.write_table(
        pa.table(arrays, schema=pa.schema(fields)), sink, row_group_size=rows, store_schema=False
    )
    return sink.getvalue()


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode("utf-8", "replace") if isinstance(value, str) else value  # bytes since an earlier change


def _changed_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(changed) + 1))
        way = int(rng.integers(4))
        if way == 0:
            changed[place : place + 1] = b""
        elif way == 1:
            changed[place:place] = bytes(rng.integers(256, size=int(rng.integers(1, 9)), dtype=np.uint8))
        elif place < len(changed):
            changed[place] = int(rng.integers(256)) if way == 2 else changed[place] ^ 1 << int(rng.integers(8))
    return bytes(changed)


def _parsed(data: bytes) -> Any:
    return json.loads(data)


def _sealed(content: Any) -> bytes:
    """Sealed JSON of whatever the content is, even where that is no mapping."""
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key != "checksum"}
        versions = {key: content.pop(key) for key in ("format", "version") if key in content}
        rest = json.dumps({**versions, **content}, indent=1).encode()[2:] + b"\n"
        return b'{"checksum": "' + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest
    return seal({"content": content})


def _places(node: Any) -> list[tuple[Any, Any]]:
    inner = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in inner] + [place for _, value in inner for place in _places(value)]


def _of(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, dict) else None


def _values(node: Any) -> list[Any]:
    return node if isinstance(node, list) else []


def _record(node: Any, key: str, data: bytes | None) -> None:
    if isinstance(node, dict) and isinstance(node.get(key), dict) and data is not None:
        node[key] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class Watch:
    """Notes, by Python's audit events, what is opened or changed outside of a folder, and whatever loads code."""

    def __init__(self) -> None:
        self.folder = ""
        self.seen: list[str] = []
        installed = map(os.path.realpath, (sys.prefix, sys.base_prefix))
        self._known = (*installed, "/proc/", "/dev/")  # modules are loaded when they are first needed
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"):
            path = arguments[0]
            if not isinstance(path, str | bytes | os.PathLike):
                return
            real = os.path.realpath(os.fsdecode(path))
            if not real.startswith((self.folder, *self._known)):
                self.seen.append(f"{event} {real}")
        elif event.startswith(("pickle.", "subprocess.", "os.system", "os.exec", "socket.", "ctypes.dlopen")):
            self.seen.append(f"{event} {arguments!r}"[:200])


def _ask(folder: Path, watch: Watch, *, writing: bool) -> str:
    """Ask everything of the index in the folder; the kind of outcome.  Raises what is no error of flmr's own."""
    watch.folder, watch.seen = os.path.realpath(folder), []
    try:
        problems = verify(folder)
        with Index.open(folder, storage=Unsynced()) as ix:
            answers(ix)
            if writing:
                _write(ix)
        return "reported" if problems else "answered"
    except FlmrError:
        return "refused"
    finally:
        watch.folder = ""


def _write(ix: Index) -> None:
    """Everything that a writer may do on top of it."""
    rows = np.ones((2, ix.dim), np.float32)
    for change in (
        lambda: ix.add([rows], ["new"]),
        lambda: ix.update([rows], ["p5"]),
        lambda: ix.delete("p6"),
        ix.commit,
        ix.merge,
    ):
        try:
            change()
        except FlmrError:
            continue


def campaign(*, seconds: float | None = None, count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Mutants for so long or so many; each failure names the attempt that `mutate` makes again."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        sound = made(Path(scratch))

        def start() -> Attempt:
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # infinite centroids overflow, and a warning opens its source
            watch, copy = Watch(), Copy(Path(scratch) / "mutant")
            os.chdir(scratch)
            return lambda number: _attempt(copy, mutate(sound, seed, number), watch, writing=number % 4 == 0)

        return run_many(start, seconds=seconds, count=count)


def _attempt(copy: Copy, mutant: Mutant, watch: Watch, *, writing: bool) -> tuple[str, str | None]:
    copy.hold(mutant.files)
    try:
        outcome = _ask(copy.folder, watch, writing=writing)
        trouble = "; ".join(watch.seen[:3])
        if Path("exploded").exists():
            trouble = "a pickle was loaded"
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        outcome, trouble = "failed", f"{type(error).__name__}: {str(error)[:200]} ({at.filename}:{at.lineno})"
    if writing:
        copy.forget()
    return outcome, f"{mutant.story}: {trouble}" if trouble else None


def mutate(sound: dict[str, dict[str, bytes]], seed: int, number: int) -> Mutant:
    """The mutant of this number: a sample with one to three changes, most of them resealed."""
    rng = np.random.default_rng((seed, number))
    mutant = Mutant(sound[pick(rng, sorted(sound))])
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        mutant.change(rng)
    if rng.random() < 0.95:
        mutant.reseal()
    return mutant
