"""A memory cgroup: the processes in it may hold so many bytes, and the pages of files that they bring in are counted.

Knows versions 1 and 2 and where this process may make one.  Knows no index.
"""

from __future__ import annotations

import os
from pathlib import Path


class NoCgroup(Exception):
    """This process may not make a memory cgroup."""


class Cgroup:
    """A new memory cgroup: what enters it may hold so many bytes, pages of files among them."""

    def __init__(self, limit: int) -> None:
        self._path, self._first = _place()
        try:
            self._path.mkdir()
            self._write("memory.limit_in_bytes" if self._first else "memory.max", limit)
            if not self._first and (self._path / "memory.swap.max").exists():
                self._write("memory.swap.max", 0)
        except OSError as error:
            raise NoCgroup(f"cannot make the memory cgroup {self._path}: {error}; run as root") from error

    def enter(self) -> None:
        """Move the calling process into it; what it holds already is counted where it was."""
        self._write("cgroup.procs", 0)

    def peak(self) -> int:
        """The most bytes that it ever held."""
        return int((self._path / ("memory.max_usage_in_bytes" if self._first else "memory.peak")).read_text())

    def met(self) -> int:
        """How often it had no room left, so that something had to go."""
        if self._first:
            return int((self._path / "memory.failcnt").read_text())
        return int(dict(line.split() for line in (self._path / "memory.events").read_text().splitlines())["max"])

    def close(self) -> None:
        """Remove it; its processes must have ended."""
        self._path.rmdir()

    def _write(self, name: str, value: int) -> None:
        (self._path / name).write_text(str(value))


def _place() -> tuple[Path, bool]:
    """Where a cgroup may be made, and whether it is of version 1."""
    own = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    name = f"flmr-memory-{os.getpid()}"
    for controllers, path in own:
        for _, mount, kind, options, *_ in mounts:
            folder = Path(mount) / path.lstrip("/")
            if kind == "cgroup" and "memory" in controllers.split(",") and "memory" in options.split(","):
                return folder / name, True
            # In version 2 a cgroup that holds processes has no parts of its own: beside it, then.
            beside = folder if path == "/" else folder.parent
            if kind == "cgroup2" and controllers == "" and _controls_memory(beside):
                return beside / name, False
    raise NoCgroup("no memory cgroup is mounted where this process could make its own")


def _controls_memory(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    return control.exists() and "memory" in control.read_text().split()
