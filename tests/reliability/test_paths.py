"""No name, link or file type in an index leads a reader or a writer out of its folder, into a hang or into a pickle."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reliability.hostile import Mutant, _parsed, _sealed
from reliability.samples import Copy, compressed, contents

from flmr import Index
from flmr.errors import CorruptIndex, FlmrError, StorageError
from flmr.index import manifest as manifests
from flmr.index.format import MANIFEST
from flmr.index.verify import verify

SECRET = b"\x93NUMPY secret"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("paths") / "ix"
    compressed(path)
    return contents(path)


@pytest.fixture
def copy(files: dict[str, bytes], tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.npy").write_bytes(SECRET)
    held = Copy(tmp_path / "ix")
    held.hold(files)
    return held.folder


def refused(path: Path) -> str:
    """The words with which an index is refused, by open and by verify alike."""
    with pytest.raises(FlmrError) as raised:
        Index.open(path)
    with suppress(FlmrError):
        assert verify(path)
    return str(raised.value)


def rewritten(path: Path, change: Any) -> None:
    """Change the manifest, with a right checksum."""
    content = _parsed((path / MANIFEST).read_bytes())
    change(content)
    (path / MANIFEST).write_bytes(_sealed(content))


@pytest.mark.parametrize(
    "name",
    ["../outside", "..", ".", "", "/etc", "0001/..", "./0001", "0001\0", "\u0660\u0660\u0660\u0661", 1, None, ["0001"]],
)
def test_a_segment_has_no_other_name_than_its_number(copy: Path, name: object) -> None:
    rewritten(copy, lambda content: content["segments"][0].update(name=name))
    assert "manifest.json" in refused(copy)


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret.npy",
        "/etc/passwd",
        "0001.alive./../../outside/secret.npy",
        "0002.alive.2.npy",
        "0001.alive.-1.npy",
        "",
        7,
    ],
)
def test_an_alive_bitmap_has_no_other_name_than_its_segment_gives(copy: Path, name: object) -> None:
    rewritten(copy, lambda content: content["segments"][0]["alive_file"].update(name=name))
    assert "alive" in refused(copy) or "name" in refused(copy)


@pytest.mark.parametrize("number", ["../1", "-1", " 1", "1_0", "\u0661", "01", "1e3", "x" * 300])
def test_a_codec_has_no_other_name_than_its_number(copy: Path, number: str) -> None:
    def change(content: Any) -> None:
        content["codecs"][number] = next(iter(content["codecs"].values()))

    rewritten(copy, change)
    assert "codec" in refused(copy)


@pytest.mark.parametrize("part", ["x/../../outside/secret", "../secret", "", "weights"])
def test_a_codec_has_no_other_parts_than_the_format_knows(copy: Path, part: str) -> None:
    def change(content: Any) -> None:
        files = next(iter(content["codecs"].values()))["files"]
        files[part] = files["levels"]

    rewritten(copy, change)
    assert "codec" in refused(copy)


def test_a_segment_names_no_other_files_than_it_has(files: dict[str, bytes], tmp_path: Path) -> None:
    mutant = Mutant(files)
    content = _parsed(mutant.files["0001/segment.json"])
    content["files"]["../../outside/secret.npy"] = content["files"]["codes.npy"]
    mutant.files["0001/segment.json"] = _sealed(content)
    mutant.reseal()
    Copy(tmp_path / "ix").hold(mutant.files)
    assert "names other files" in refused(tmp_path / "ix")


def test_every_file_that_is_a_link_is_refused(files: dict[str, bytes], copy: Path, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / "outside" / "same").write_bytes(files[name])  # even where it leads to the right bytes
        (copy / name).unlink()
        (copy / name).symlink_to(tmp_path / "outside" / "same")
        assert "link" in refused(copy), name
        (copy / name).unlink()
        (copy / name).write_bytes(files[name])
    assert verify(copy) == []


def test_a_segment_that_is_a_link_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "0001", tmp_path / "outside" / "0001")
    (copy / "0001").symlink_to(tmp_path / "outside" / "0001")
    assert "link" in refused(copy)


def test_an_index_whose_own_folder_is_a_link_opens(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    with Index.open(tmp_path / "link") as ix:
        assert ix.verify() == []
        ix.delete("p7")
        ix.commit()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_waited_for(files: dict[str, bytes], copy: Path, make: Any) -> None:
    for name in files:
        (copy / name).unlink()
        make(copy / name)
        assert refused(copy)
        (copy / name).unlink() if make is os.mkfifo else (copy / name).rmdir()
        (copy / name).write_bytes(files[name])


@pytest.mark.parametrize("name", ["writer.lock", "manifest.json.new", "0003"])
def test_a_writer_follows_no_link_that_was_planted(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(tmp_path / "outside" if name == "0003" else tmp_path / "outside" / "secret.npy")
    with Index.open(copy) as ix:
        try:
            ix.add([np.ones((1, 8), np.float32)], ["new"])
            ix.commit()
        except StorageError as error:
            assert name == "writer.lock" and "link" in str(error)
    assert (tmp_path / "outside" / "secret.npy").read_bytes() == SECRET
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret.npy"]
    assert verify(copy) == []


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def test_an_array_of_objects_is_refused_and_never_unpickled(files: dict[str, bytes], tmp_path: Path) -> None:
    trapped = io.BytesIO()
    np.save(trapped, np.array([Trap(str(tmp_path / "sprung"))], object), allow_pickle=True)
    for number, name in enumerate(name for name in files if name.endswith(".npy")):
        mutant = Mutant(files)
        mutant.files[name] = trapped.getvalue()
        mutant.reseal()
        Copy(tmp_path / f"ix-{number}").hold(mutant.files)
        assert refused(tmp_path / f"ix-{number}")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [
        b'{"checksum": "%s",\n' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"checksum": "%s",\n"dim": ' + b"9" * 10_000 + b"}",
        b'{"checksum": "%s",\n"dim": NaN}',
        b'{"checksum": "%s",\n"dim": 8}',
        b'{"checksum": "%s",\n"format": "flmr-index", "version": 1e999}',
        b'{"checksum": "%s",\n\xff\xfe}',
        b'{"checksum": "%s",\n"checksum": 1}',
    ],
)
def test_json_that_cannot_be_a_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    import hashlib

    (tmp_path / "ix").mkdir()
    _, rest = content.split(b"\n", 1)
    (tmp_path / "ix" / MANIFEST).write_bytes(content.replace(b"%s", hashlib.sha256(rest).hexdigest().encode()))
    assert MANIFEST in refused(tmp_path / "ix")


def test_every_field_of_the_json_files_has_its_type_checked() -> None:
    """A field of a new type must say what it may be, or be built by a function that does."""
    import dataclasses

    built = {"Mapping[str, FileRecord]", "Mapping[str, CodecRecord]", "tuple[SegmentRecord, ...]"}
    built |= {
        "FileRecord",
        "AliveRecord | None",
        "GainsRecord | None",
        "SampleRecord | None",
        "PlanRecord | None",
        "Layout",
    }
    for kind in manifests._BUILD:
        for field in dataclasses.fields(kind):
            assert field.type in manifests._PLAIN or field.type in built, (kind.__name__, field.name, field.type)


def test_a_size_that_overflows_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    """2**61 offsets of 8 bytes are 2**64 bytes, which is 0 to a machine word."""
    for number, (key, value) in enumerate(
        [("items", 2**61 - 1), ("vectors", 2**63), ("entries", 2**62), ("ids_bytes", 2**64)]
    ):
        mutant = Mutant(files)
        content = _parsed(mutant.files["0001/segment.json"])
        content["layout"][key] = value
        mutant.files["0001/segment.json"] = _sealed(content)
        manifest = _parsed(mutant.files[MANIFEST])
        if key in manifest["segments"][0]:
            manifest["segments"][0][key] = value
        mutant.files[MANIFEST] = _sealed(manifest)
        mutant.reseal()
        Copy(tmp_path / f"ix-{number}").hold(mutant.files)
        with pytest.raises(CorruptIndex):
            Index.open(tmp_path / f"ix-{number}")
