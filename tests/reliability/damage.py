"""Files that a failing disk has changed: bits flipped, ends cut off, blocks lost or misplaced.

Knows bytes, nothing of the format.  What was damaged must be refused when the index is opened or reported by `verify`;
and searched all the same, without `verify`, it may give errors and wrong answers but never end the process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401  # here, so that the children need not
from reliability.asking import answers
from reliability.attempts import Attempt, run_many
from reliability.samples import MEMORY, Copy, made, pick

from flmr import Index
from flmr.errors import FlmrError
from flmr.index.verify import verify

QUESTIONS = 10
ASKED = 3  # of them, of each damaged index: which ones changes from attempt to attempt
SECTOR = 512

WAYS = ("flip", "flip", "flip", "flips", "cut", "extend", "sector", "move", "byte", "empty")


def damaged(rng: np.random.Generator, way: str, data: bytes) -> bytes:
    """The data with one thing wrong; the same data where that thing cannot go wrong with it."""
    changed = bytearray(data)
    if way == "extend":
        return data + bytes(rng.integers(256, size=int(rng.integers(1, 64)), dtype=np.uint8))
    if not data:
        return data
    place = int(rng.integers(len(data)))
    if way in ("flip", "flips"):
        for _ in range(1 if way == "flip" else int(rng.integers(2, 33))):
            changed[place] ^= 1 << int(rng.integers(8))
            place = int(rng.integers(len(data)))
    elif way == "cut":
        del changed[place:]
    elif way == "sector":
        start = place // SECTOR * SECTOR
        changed[start : start + SECTOR] = bytes(len(changed[start : start + SECTOR]))
    elif way == "move":
        size = min(SECTOR, len(data) // 2)
        other = int(rng.integers(len(data) - size + 1))
        changed[place : place + size] = data[other : other + len(changed[place : place + size])]
    elif way == "byte":
        changed[place] = int(rng.integers(256))
    else:
        changed = bytearray(len(data))
    return bytes(changed)


def campaign(*, seconds: float | None = None, count: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Damaged copies for so long or so many; each failure names what was done to which file."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        sound = made(Path(scratch))

        def start() -> Attempt:
            copies, right = {}, {}
            for name, files in sound.items():
                copies[name] = Copy(Path(scratch) / f"damaged-{name}")
                copies[name].hold(files)
                with Index.open(copies[name].folder) as ix:
                    right[name] = answers(ix)

            def attempt(number: int) -> tuple[str, str | None]:
                rng = np.random.default_rng((seed, number))
                sample = pick(rng, sorted(sound))
                return _attempt(rng, sample, copies[sample], sound[sample], right[sample])

            return attempt

        return run_many(start, seconds=seconds, count=count)


def _attempt(
    rng: np.random.Generator, sample: str, copy: Copy, files: dict[str, bytes], right: list[object]
) -> tuple[str, str | None]:
    name, way = pick(rng, sorted(files)), pick(rng, list(WAYS))
    changed = damaged(rng, way, files[name])
    if changed == files[name]:
        return "nothing to damage", None
    chosen = rng.choice(QUESTIONS, ASKED, replace=False).tolist()
    opened_before = len(changed) == len(files[name]) and rng.random() < 0.25
    held = Index.open(copy.folder) if opened_before else None
    copy.hold({**files, name: changed})
    try:
        outcome = _outcome(copy.folder, chosen, right)
        if held is not None:
            answers(held, chosen)  # of maps that were made before the damage
        return outcome, f"{sample}/{name}, {way}: not noticed" if outcome == "unnoticed" else None
    except Exception as error:
        return "failed", f"{sample}/{name}, {way}: {type(error).__name__}: {error}"
    finally:
        if held is not None:
            held.close()
        copy.hold(files)


def _outcome(folder: Path, chosen: list[int], right: list[object]) -> str:
    try:
        with Index.open(folder) as ix:
            given = answers(ix, chosen)  # before verify: whoever never calls it must be no worse off than this
            if not verify(folder):
                return "unnoticed"
    except FlmrError:
        return "refused at open"
    same = all(answer == right[number] for number, answer in zip(chosen, given, strict=True))
    if same:
        return "reported, answers right"
    errors = sum(isinstance(answer, str) for answer in given)
    return "reported, an error before" if errors else "reported, a wrong answer before"
