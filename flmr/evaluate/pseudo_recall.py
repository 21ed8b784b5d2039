"""Pseudo recall@K: does any of the first K passages contain an answer, whether or not it is about the question?

Knows texts and answer strings.  Knows no judgments.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from flmr.errors import InvalidInput
from flmr.evaluate.chance import hit_chance
from flmr.evaluate.run import Run

Answers = Mapping[str, Sequence[str]]
PassageText = Mapping[str, str] | Callable[[str], str]

# Characters searched for the chance level, some seconds of work; beyond it a sample of the passages is searched.
MAX_SEARCHED = 4_000_000_000
SEPARATOR = "\0"


def usable_answers(answers: Answers) -> dict[str, tuple[str, ...]]:
    """The answers of each question, trimmed and lower-cased, without blank ones and without questions that have none.

    Raises InvalidInput where a string stands in place of a list of them.
    """
    for question, given in answers.items():
        if isinstance(given, str):
            raise InvalidInput(f"the answers to {question!r} must be a list of strings, not the string {given!r}")
    cleaned = {q: tuple(sorted({a.strip().lower() for a in given} - {""})) for q, given in answers.items()}
    return {question: given for question, given in cleaned.items() if given}


def pseudo_recall(run: Run, answers: Answers, passage_text: PassageText, k: int) -> dict[str, float]:
    """1 if the text of any of the first k passages contains any answer as a substring, both lower-cased, else 0.

    Measured over the questions with an answer; no ranking counts as a miss.  This is the PRRecall@K of the FLMR and
    PreFLMR papers (pseudo relevance, after Luo et al., EMNLP 2021).  One difference to the published scripts: there
    an empty answer is contained in every text and counts as found; here blank answers never match.
    Raises InvalidInput where a passage of the run has no text.
    """
    lowered: dict[str, str] = {}

    def text_of(passage: str) -> str:
        if passage not in lowered:
            lowered[passage] = _text(passage_text, passage).lower()
        return lowered[passage]

    return {
        question: float(any(a in text_of(passage) for passage, _ in run.get(question, ())[:k] for a in given))
        for question, given in usable_answers(answers).items()
    }


def pseudo_recall_chance(
    answers: Answers, texts: Mapping[str, str], ks: Sequence[int], *, seed: int = 0
) -> tuple[list[float], int]:
    """What a random order of all the texts reaches at each k, on average over the questions; how many were searched.

    The passages that contain an answer are counted in all the texts, or, where that is much work, in a random sample of
    them and scaled up.
    """
    wanted = usable_answers(answers)
    if not wanted or not texts:
        return [0.0 for _ in ks], len(texts)
    distinct = set(wanted.values())
    searched = list(texts.values())
    work = sum(map(len, searched)) * sum(map(len, distinct))
    if work > MAX_SEARCHED:
        searched = random.Random(seed).sample(searched, max(1, int(len(searched) * MAX_SEARCHED / work)))
    lowered = [text.lower() for text in searched]
    joined = SEPARATOR.join(lowered)
    starts = [0, *accumulate(len(text) + len(SEPARATOR) for text in lowered)]
    scale = len(texts) / len(searched)
    counts = {given: round(_num_containing(given, joined, starts) * scale) for given in distinct}
    levels = [sum(hit_chance(counts[given], len(texts), k) for given in wanted.values()) / len(wanted) for k in ks]
    return levels, len(searched)


def _num_containing(answers: Sequence[str], joined: str, starts: Sequence[int]) -> int:
    """How many of the joined texts contain any of the answers; starts: where each text begins, then the end."""
    rows: set[int] = set()
    for answer in answers:
        at = joined.find(answer)
        while at >= 0:
            row = bisect.bisect_right(starts, at) - 1
            rows.add(row)
            at = joined.find(answer, starts[row + 1])
    return len(rows)


def _text(passage_text: PassageText, passage: str) -> str:
    try:
        text = passage_text[passage] if isinstance(passage_text, Mapping) else passage_text(passage)
    except KeyError:
        raise InvalidInput(
            f"passage {passage!r} of the run has no text; give the texts of the indexed passages"
        ) from None
    if not isinstance(text, str):
        raise InvalidInput(f"the text of passage {passage!r} is {type(text).__name__}, not a string")
    return text
