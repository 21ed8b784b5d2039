"""Answers against annotators: exact match and the VQA score, after the customary normalisation.

Knows strings.  Knows no passage and no ranking.
Source: Antol et al., "VQA: visual question answering", ICCV 2015 (the measure and what it forgives).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ARTICLES = {"a", "an", "the"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(NUMBERS)}}
NEGATED: tuple[str, ...] = (
    "ai",
    "are",
    "ca",
    "could",
    "did",
    "do",
    "does",
    "had",
    "has",
    "have",
    "is",
    "might",
    "must",
    "need",
)
NEGATED += ("should", "was", "were", "wo", "would")
CONTRACTIONS = {f"{verb}nt": f"{verb}n't" for verb in NEGATED} | {
    "im": "i'm", "ive": "i've", "hes": "he's", "shes": "she's", "thats": "that's", "theyre": "they're",
    "theyve": "they've", "weve": "we've", "whats": "what's", "wheres": "where's", "whos": "who's", "youre": "you're",
    "youve": "you've", "lets": "let's", "theres": "there's",
}  # fmt: skip


def normalise_answer(text: str) -> str:
    """Lower case, digits for number words, no articles, no marks but decimal points and apostrophes.

    A mark between two letters becomes a space ("red/green", "t-shirt"); elsewhere it is dropped.
    """
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower().replace("’", "'"))
    text = re.sub(r"(?<=\w)[^\w\s.']+(?=\w)", " ", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w\s.']", "", text)
    words = [CONTRACTIONS.get(word, DIGITS.get(word, word)) for word in text.split()]
    return " ".join(word for word in words if word not in ARTICLES)


def exact_match(answer: str, answers: Sequence[str]) -> float:
    """1 if the answer equals any of the annotators', all normalised, else 0."""
    return float(normalise_answer(answer) in {normalise_answer(given) for given in answers})


def vqa_score(answer: str, answers: Sequence[str]) -> float:
    """Mean over the annotators, each left out once, of min(1, how many others gave this answer / 3).

    With ten annotators, of whom three give the answer: .9; four: 1.  A single annotator has no others and is compared
    with himself: then it is the exact match.
    """
    if len(answers) == 1:
        return exact_match(answer, answers)
    said, given = normalise_answer(answer), [normalise_answer(other) for other in answers]
    same = given.count(said)
    return sum(min(1.0, (same - (other == said)) / 3) for other in given) / len(given) if given else 0.0
