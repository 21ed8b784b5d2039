"""Runs: what a system returned for each question, best first, and their TREC files.

Knows the order of a ranking and the TREC format.  Knows nothing of judgments or measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from flmr.errors import InvalidInput, InvalidRecord, StorageError

# {question id: [(passage id, score), ...]}, best first: the order of the list is the ranking, also among equal scores.
Ranking: TypeAlias = Sequence[tuple[str, float]]
Run: TypeAlias = Mapping[str, Ranking]


def check_run(run: Run) -> None:
    """Raise InvalidInput unless each ranking is best first, without NaN, and names no passage twice."""
    for question, ranking in run.items():
        seen: set[str] = set()
        last = math.inf
        for rank, (passage, score) in enumerate(ranking, start=1):
            if passage in seen:
                raise InvalidInput(f"the ranking of {question!r} holds {passage!r} twice; keep its best rank only")
            if not score <= last:  # also false for NaN
                raise InvalidInput(f"the ranking of {question!r} is not best first at rank {rank}; sort it by score")
            seen.add(passage)
            last = score


def write_run(run: Run, path: str | Path, *, tag: str = "flmr") -> None:
    """Write a run in the TREC format: `question Q0 passage rank score tag`, one hit a line, ranks from 1.

    Scores are written with all their digits, and are read back bit by bit.  Equal scores keep their order through the
    rank; tools that re-sort by score alone (trec_eval) may order them otherwise.  A question without hits has no line.
    The file appears whole or not at all.  Raises InvalidInput where an id or the tag holds blanks or a score is not
    finite, StorageError where the file cannot be written.
    """
    check_run(run)
    _check_word(tag, "the tag")
    rows = []
    for question, ranking in run.items():
        _check_word(question, "question id")
        for rank, (passage, score) in enumerate(ranking, start=1):
            _check_word(passage, "passage id")
            if not math.isfinite(score):
                raise InvalidInput(f"{passage!r} has score {score} for {question!r}; TREC runs hold finite scores")
            rows.append(f"{question} Q0 {passage} {rank} {float(score)!r} {tag}\n")
    path = Path(path)
    try:
        part = path.with_name(f"{path.name}.part")
        part.write_text("".join(rows), encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"run {str(path)!r} cannot be written: {error.strerror or error}") from None


def read_run(path: str | Path) -> dict[str, list[tuple[str, float]]]:
    """Read a TREC run: hits by falling score, equal scores by their rank, then by their place in the file.

    Raises InvalidRecord with the line number where a line is not a hit, or a passage stands twice in one ranking.
    """
    path = Path(path)
    ranked: dict[str, list[tuple[float, int, str]]] = {}
    lines_of: dict[tuple[str, str], int] = {}
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRecord(f"run {str(path)!r} cannot be read: {error.strerror or error}") from None
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            question, passage, rank, score = _hit(line)
            first = lines_of.setdefault((question, passage), number)
            if first != number:
                raise InvalidRecord(f"passage {passage!r} of question {question!r} stands on line {first} already")
        except InvalidRecord as error:
            raise InvalidRecord(f"run {str(path)!r}, line {number}: {error}") from None
        ranked.setdefault(question, []).append((-score, rank, passage))
    return {
        question: [(passage, -negated) for negated, _, passage in sorted(hits, key=lambda hit: hit[:2])]
        for question, hits in ranked.items()
    }


def _hit(line: bytes) -> tuple[str, str, int, float]:
    """Question, passage, rank and score of one line."""
    try:
        parts = line.decode("utf-8").split()
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"not UTF-8 (byte {error.start + 1} of the line)") from None
    if len(parts) != 6:
        raise InvalidRecord(f"{len(parts)} columns; a TREC run has 6: question Q0 passage rank score tag")
    question, _, passage, rank, score, _ = parts
    try:
        values = int(rank), float(score)
    except ValueError:
        raise InvalidRecord(f"rank {rank!r} or score {score!r} is not a number") from None
    if not math.isfinite(values[1]):
        raise InvalidRecord(f"the score must be finite, not {score!r}")
    return question, passage, *values


def _check_word(text: str, what: str) -> None:
    if text.split() != [text]:
        raise InvalidInput(
            f"{what} {text!r} is empty or holds blanks, which TREC files cannot; rename it before writing"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} {text!r} holds half of a surrogate pair, which no file can; rename it") from None
