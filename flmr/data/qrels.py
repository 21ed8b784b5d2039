"""Judgments: which passages are relevant to which question, and how much.

Knows TREC qrels and BEIR's tab-separated ones.  Knows nothing of runs or measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flmr.data.report import ReadReport, Skipped
from flmr.data.rows import check_readable, finish, lines
from flmr.errors import InvalidRecord
from flmr.records import Question

Qrels = dict[str, dict[str, int]]

# BEIR calls its columns query-id, corpus-id, score; others write the same with other signs.
HEADERS = ({"query-id", "query_id", "qid"}, {"corpus-id", "corpus_id", "passage_id", "docid", "doc_id"})


def read_qrels(path: str | Path, *, strict: bool = False, report: ReadReport | None = None) -> Qrels:
    """Grades by question and passage id: `{question: {passage: grade}}`.

    path: a TREC file (question, iteration, passage, grade, between blanks), a BEIR file (question, passage, grade,
    between tabs, with or without its header), or a folder, whose `*.tsv` files are read together.  A grade above 0 is
    relevant; zero and negative grades are kept.
    A bad line, or a second judgment of one pair, is skipped and counted in `report`; with `strict` it
    raises InvalidRecord.
    """
    path = Path(path)
    qrels: Qrels = {}
    if path.is_dir():
        files = sorted(path.glob("*.tsv"))
        if not files:
            raise InvalidRecord(f"folder {str(path)!r} holds no .tsv file; name the qrels file itself")
    else:
        files = [path]
    judged_at: dict[tuple[str, str], str] = {}
    for file in files:
        _read_file(file, qrels, judged_at, strict, report)
    return qrels


def qrels_of(questions: Iterable[Question]) -> Qrels:
    """The judgments that questions carry themselves: grade 1 for each of their positive ids."""
    return {question.id: dict.fromkeys(question.positive_ids, 1) for question in questions}


def _read_file(
    path: Path, qrels: Qrels, judged_at: dict[tuple[str, str], str], strict: bool, report: ReadReport | None
) -> None:
    check_readable(path)
    counts = ReadReport() if report is None else report
    read_before, skipped_before = counts.read, len(counts.skipped)
    for number, line in lines(path):
        try:
            judgment = _judgment(line, first=number == 1)
            if judgment is None:
                continue
            question, passage, grade = judgment
            where = f"line {number} of {path.name!r}"
            if judged_at.setdefault((question, passage), where) != where:
                raise InvalidRecord(
                    f"{question!r} and {passage!r} are judged on {judged_at[question, passage]} already"
                )
        except InvalidRecord as error:
            if strict:
                raise InvalidRecord(f"{str(path)!r}, line {number}: {error}") from None
            counts.skipped.append(Skipped(number, str(error)))
            continue
        counts.read += 1
        qrels.setdefault(question, {})[passage] = grade
    finish(str(path), "judgments", counts, read_before, skipped_before, heard=report is not None)


def _judgment(line: bytes, *, first: bool) -> tuple[str, str, int] | None:
    """Question, passage and grade of one line; None for the header."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"not UTF-8 (byte {error.start + 1} of the line)") from None
    parts = [part.strip() for part in text.split("\t")] if "\t" in text else text.split()
    if first and len(parts) >= 2 and parts[0].lower() in HEADERS[0] and parts[1].lower() in HEADERS[1]:
        return None
    if len(parts) == 3:
        question, passage, grade = parts
    elif len(parts) == 4:
        question, _, passage, grade = parts
    else:
        raise InvalidRecord(
            f"{len(parts)} columns; TREC qrels have 4 (question 0 passage grade), BEIR's have 3, by tabs"
        )
    if not question or not passage:
        raise InvalidRecord("an empty id")
    try:
        return question, passage, int(grade)
    except ValueError:
        raise InvalidRecord(f"the grade must be a whole number, not {grade!r}") from None
