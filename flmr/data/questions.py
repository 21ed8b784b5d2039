"""Files of questions with what is known of their answers: JSONL or Parquet, also with M2KR's and BEIR's names.

Knows the columns of a question.  Knows nothing of encoders or indexes, and opens no image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flmr.data.fields import take_id, take_image, take_meta, take_regions, take_strings, take_text
from flmr.data.report import ReadReport
from flmr.data.rows import Row, read_records, read_source
from flmr.data.tasks import TaskSplit
from flmr.records import Query, Question

ID = ("id", "_id", "question_id")
TEXT = ("text", "question")
IMAGE = ("image", "img_path")
POSITIVES = ("positive_ids", "pos_item_ids")
ANSWERS = ("answers",)


def read_questions(
    path: str | Path | TaskSplit,
    *,
    strict: bool = False,
    report: ReadReport | None = None,
    image_folder: str | Path | None = None,
) -> Iterator[Question]:
    """The questions of a `.jsonl` (also `.jsonl.gz`) or `.parquet` file, in order, without loading it whole.

    path: also one split of a task, whose files may lie in any published layout.
    Columns: `id` (or `_id`, `question_id`), `text` (or `question`), optional `image` (or `img_path`), `image_regions`
    (a list of [left, top, right, bottom] in fractions of the image), `instruction`, `positive_ids` (or `pos_item_ids`)
    and `answers`, the last two a list or a single value, also inside an object called `metadata`.  All other columns
    are metadata.  Relative image paths start at `image_folder`, by default the file's own folder; no image is opened.
    A bad line is skipped and counted in `report`; with `strict` it raises InvalidRecord with its number and reason.
    """
    if isinstance(path, TaskSplit):
        folder = Path(image_folder) if image_folder is not None else path.image_folder
        return read_source(
            path.questions(), "questions", lambda row: _question(row, folder), strict=strict, report=report
        )
    path = Path(path)
    folder = path.parent if image_folder is None else Path(image_folder)
    return read_records(path, "questions", lambda row: _question(row, folder), strict=strict, report=report)


def matches(question: Question, where: Mapping[str, Any]) -> bool:
    """Whether the question's metadata have, for every key of `where`, its value, or one of them where it is a list."""
    return all(
        question.meta.get(key) in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in where.items()
    )


def _question(row: Row, folder: Path) -> Question:
    row = dict(row)
    query = Query(
        id=take_id(row, ID),
        text=take_text(row, TEXT),
        image=take_image(row, IMAGE, folder),
        instruction=take_text(row, ("instruction",)),
        regions=take_regions(row, ("image_regions",)),
    )
    meta = take_meta(row)
    return Question(query, take_strings(meta, POSITIVES, ids=True), take_strings(meta, ANSWERS), meta)
