"""What an index may use: memory, disk, permissions, packages."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from index.clustered import clustered_items
from index.listed import lists_from

from flmr import Index
from flmr.errors import StorageError
from flmr.index.format import HEADER_BYTES
from flmr.index.store import Storage, let_go

ITEMS = clustered_items(50, 8)


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


PEAK = """
import resource, sys, tracemalloc
import numpy as np
from flmr import Index
path, limit, keep = sys.argv[1], int(sys.argv[2]), bool(int(sys.argv[3]))
def stream():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        yield rng.standard_normal((60, 128), dtype=np.float32)
list(zip(stream(), range(3)))
Index.create(path + ".warm", [np.ones((5, 128), np.float32)]).close()
tracemalloc.start()
Index.create(path, stream(), memory_limit=limit, keep_vectors=keep, nbits=2).close()
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("keep", [0, 1])
def test_creating_from_a_stream_stays_within_the_memory_limit(tmp_path: Path, keep: int) -> None:
    limit = 8 << 20  # the vectors are 31 MB as float32
    peak = int(run(PEAK, tmp_path / "ix", limit, keep).stdout)
    assert peak < limit, f"{peak / 2**20:.1f} MB"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux what is resident")
def test_pages_that_were_given_back_are_not_resident_and_are_read_again(tmp_path: Path) -> None:
    file = Storage().create(tmp_path / "rows")
    file.append(bytes(HEADER_BYTES))
    file.append(np.arange(1 << 20, dtype="<i8"))
    rows = file.view("<i8", (1 << 20,))
    whole = int(rows.sum())
    assert resident(file.path) >= rows.nbytes
    let_go(rows)
    assert resident(file.path) == 0
    assert int(rows[::-1].sum()) == whole
    let_go(np.arange(3))  # no map: nothing to give back
    file.close()


def resident(path: Path) -> int:
    """Bytes of the maps of a file that lie in memory."""
    held, of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            of_file = line.endswith(str(path))
        elif of_file and name == "Rss:":
            held += int(rest[0]) * 1024
    return held


def test_opening_reads_only_the_small_files(tmp_path: Path) -> None:
    """The big files are cut to holes of the same size behind their headers: open must not notice, verify must."""
    with lists_from(1):
        Index.create(tmp_path / "ix", clustered_items(3000, 32), nbits=4).close()
    for name in ("codes.npy", "residuals.npy", "scales.npy", "lists.npy", "offsets.npy", "ids.utf8"):
        path = tmp_path / "ix" / "0001" / name
        size = path.stat().st_size
        os.truncate(path, 128 if name.endswith(".npy") else 0)
        os.truncate(path, size)
    with Index.open(tmp_path / "ix") as ix:
        assert len(ix) == 3000 and ix.info()["items"] == 3000
        assert len(ix.verify()) == 6


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from flmr import Index
from flmr.errors import StorageError
from flmr.index.format import HEADER_BYTES
from flmr.index.store import Storage, let_go
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
item = [np.random.default_rng(i).standard_normal((50, 64)).astype("f4") for i in range(40)]
Index.create(path, item[:1], nbits=0).close()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with Index.open(path) as ix:
    try:
        ix.add(item[1:])
        ix.commit()
        raise SystemExit("no error")
    except StorageError as error:
        assert "size limit" in str(error), error
    ix.add(item[1:3], ["small", "enough"])
    ix.commit()
    assert ix.ids() == ["0", "small", "enough"], ix.ids()
    assert ix.verify() == []
try:
    Index.create(path.parent / "new", item, nbits=0)
    raise SystemExit("no error")
except StorageError:
    assert not (path.parent / "new").exists()
"""


def test_a_file_that_may_not_grow_is_a_clear_error_and_the_writer_goes_on(tmp_path: Path) -> None:
    run(FULL, tmp_path / "ix")


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    (tmp_path / "small").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path / "small")], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        path = tmp_path / "small" / "ix"
        Index.create(path, ITEMS, nbits=2).close()
        wide = [np.random.default_rng(i).standard_normal((30, 8)).astype(np.float32) for i in range(1500)]
        with Index.open(path) as ix, pytest.raises(StorageError, match=r"the disk is full: free some space"):
            ix.add(wide, [f"w{i}" for i in range(len(wide))])
            ix.commit()
        with Index.open(path) as ix:
            assert len(ix) == len(ITEMS) and ix.verify() == []
            ix.delete("0")
            ix.commit()
            assert len(ix) == len(ITEMS) - 1
        with pytest.raises(StorageError, match="the disk is full"):
            Index.create(tmp_path / "small" / "new", wide, nbits=0)
        assert not (tmp_path / "small" / "new").exists()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=False)


READ_ONLY = """
import os, sys
from pathlib import Path
import numpy as np
from flmr import Index
from flmr.errors import StorageError
from flmr.index.format import HEADER_BYTES
from flmr.index.store import Storage, let_go
path = Path(sys.argv[1])
with Index.open(path) as ix:  # imports what is imported late, which another user may not be allowed to read
    ix.search(np.ones((1, 8)), 5)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Index.open(path) as ix:
    before = len(ix.search(np.ones((1, 8)), 5)[0])
    assert before == 5 and ix.verify() == []
    for change in (lambda: ix.add([np.ones((1, 8))], ["x"]), lambda: ix.delete("0"), ix.merge):
        try:
            change()
            raise SystemExit("no error")
        except StorageError as error:
            assert "permission" in str(error) and str(path) in str(error), error
    assert len(ix.search(np.ones((1, 8)), 5)[0]) == before
try:
    Index.create(path.parent / "new", [np.ones((1, 8))])
    raise SystemExit("no error")
except StorageError as error:
    assert "permission" in str(error), error
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users can reach: those of pytest are closed to them again by every run of it that begins."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        finally:
            for inner, _, _ in os.walk(folder):
                Path(inner).chmod(0o755)


def test_a_read_only_index_is_searched_and_refuses_changes_by_name(reachable: Path) -> None:
    Index.create(reachable / "ix", ITEMS).close()
    for folder, _, files in os.walk(reachable):
        for name in files:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)
    run(READ_ONLY, reachable / "ix")


CLOSED = """
import os, sys
from pathlib import Path
import numpy as np
from flmr import Index, Retriever
from flmr.errors import StorageError
from flmr.index.format import HEADER_BYTES
from flmr.index.store import Storage, let_go
closed, warm = Path(sys.argv[1]), Path(sys.argv[2])
with Index.open(warm) as ix:  # imports what is imported late, which another user may not be allowed to read
    ix.search(np.ones((1, 8)), 5)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
items = [np.ones((1, 8))]
for path in (closed / "ix", closed):
    for way in (
        Index.open,
        lambda path: Index.create(path, items),
        lambda path: Index.create(path, items, overwrite=True),
        lambda path: Index.create(path, items, resume=True),
        lambda path: Retriever.build([], path, None),
    ):
        try:
            way(path)
        except StorageError as error:
            assert "no permission" in str(error) and str(path) in str(error), error
            assert way != Index.open or "read access" in str(error), error
        else:
            raise SystemExit(f"no error for {path}")
"""


def test_a_path_that_nobody_may_look_into_is_refused_by_name(reachable: Path) -> None:
    reachable.chmod(0o755)
    Index.create(reachable / "warm", ITEMS).close()
    (reachable / "closed").mkdir(mode=0)
    run(CLOSED, reachable / "closed", reachable / "warm")
    with pytest.raises(StorageError, match="too long: choose a shorter one"):
        Index.open(reachable / ("x" * 300))
    with pytest.raises(StorageError, match="too long: choose a shorter one"):
        Index.create(reachable / ("x" * 300), ITEMS)


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "PIL", "bitarray", "typer", "rich", "tokenizers"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import flmr.index, numpy as np
from flmr import Index, Passage
with Index.create(sys.argv[1], [np.ones((2, 4))], passages=[Passage("a", "text")], progress=False) as ix:
    assert ix.search(np.ones((1, 4)))[0][0].passage.text == "text"
"""


def test_the_engine_needs_numpy_and_pyarrow_alone(tmp_path: Path) -> None:
    run(WITHOUT, tmp_path / "ix")
