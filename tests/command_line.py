"""The command line as tests run it: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from conftest import ROOT

from flmr.cli import main

TEXTS = {
    "rose": "a rose is a red flower",
    "sky": "the sky is blue",
    "leaf": "a leaf is green",
    "snow": "snow is white and cold",
}

Ask = Callable[..., dict[str, Any]]
Mistake = Callable[..., str]


def flmr(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def run_flmr(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flmr", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        check=False,
    )
