"""Work in forked children, which may crash, hang or be killed without harm to whoever watches.

Knows processes, signals and time.  Knows nothing of indexes.  The watcher must have no threads of its own and open no
index, so that every child begins in the state in which a fresh process would, without paying for its imports.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.002


@dataclass(frozen=True)
class Ended:
    """How a child ended.  value: what its task returned; error: its traceback; signal: what killed it."""

    value: Any = None
    error: str | None = None
    signal: int | None = None
    hung: bool = False
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether it returned."""
        return self.error is None and self.signal is None and not self.hung

    @property
    def why(self) -> str:
        """What happened, in words."""
        if self.hung:
            return f"hung for {self.seconds:.0f} s"
        if self.signal is not None:
            return f"was killed by signal {self.signal} ({signal.Signals(self.signal).name})"
        return self.error or "returned"


def run(task: Callable[[], Any], *, patience_s: float = 60.0) -> Ended:
    """The task in a child; what it returns must be JSON."""
    return Child(task).wait(patience_s)


class Child:
    """A forked child at work."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self._end, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._end)
            _work(task, writing)
        os.close(writing)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, patience_s: float, progress: Callable[[], object] = lambda: None) -> Ended:
        """Until it ends, or is killed because what `progress` returns has not changed for so long.

        Time is counted in looks of the watcher: a machine that stops everybody for a minute makes no child look hung.
        """
        os.set_blocking(self._end, False)
        data, gave_up = b"", False
        last, looks = progress(), 0
        while True:
            try:
                block = os.read(self._end, 1 << 16)
            except BlockingIOError:
                block = None
            if block == b"":
                break
            data += block or b""
            if block is None:
                now = progress()
                last, looks = now, looks + 1 if now == last else 0
                if looks * _POLL_S > patience_s:
                    gave_up = True
                    self.kill()
                    break
                time.sleep(_POLL_S)
        os.close(self._end)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        seconds = time.monotonic() - self.started
        if gave_up:
            return Ended(hung=True, seconds=seconds)
        if code < 0:
            return Ended(signal=-code, seconds=seconds)
        if code != 0:
            return Ended(error=data.decode(errors="replace") or f"ended with status {code}", seconds=seconds)
        return Ended(value=json.loads(data), seconds=seconds)


def _work(task: Callable[[], Any], writing: int) -> None:
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no child outlives a watcher that is stopped
        data = json.dumps(task()).encode()
        status = 0
    except BaseException:
        data = traceback.format_exc().encode()
    try:
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(status)
