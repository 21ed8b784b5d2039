"""Files of passages: JSONL or Parquet, under the column names of this project, M2KR and BEIR, or ColBERT's TSV.

Knows the columns of a passage.  Knows nothing of encoders or indexes, and opens no image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flmr.data.fields import take_id, take_image, take_meta, take_text
from flmr.data.report import ReadReport
from flmr.data.rows import Row, Source, read_records, read_source, suffix
from flmr.data.tables import collection_rows
from flmr.data.tasks import TaskSplit
from flmr.errors import InvalidRecord
from flmr.records import Passage

ID = ("id", "_id", "passage_id")
TEXT = ("text", "passage_content")
IMAGE = ("image", "img_path")


def read_passages(
    path: str | Path | TaskSplit,
    *,
    strict: bool = False,
    report: ReadReport | None = None,
    image_folder: str | Path | None = None,
) -> Iterator[Passage]:
    """The passages of a `.jsonl` (also `.jsonl.gz`) or `.parquet` file, in order, without loading it whole.

    path: also one split of a task, whose files may lie in any published layout, or a ColBERT `collection.tsv` (id,
    text and perhaps title between tabs, no header).
    Columns: `id` (or `_id`, `passage_id`; whole numbers become their digits), `text` (or `passage_content`), optional
    `title` and `image` (or `img_path`); of two names for one field the first listed counts.  All other columns are
    metadata, and so are the keys of an object called `metadata`.  Relative image paths start at `image_folder`, by
    default the file's own folder; no image is opened.
    A bad line is skipped and counted in `report`; with `strict` it raises InvalidRecord with its number and reason.
    """
    if isinstance(path, TaskSplit):
        folder = Path(image_folder) if image_folder is not None else path.image_folder
        return read_source(path.passages(), "passages", lambda row: _passage(row, folder), strict=strict, report=report)
    path = Path(path)
    folder = path.parent if image_folder is None else Path(image_folder)

    def make(row: Row) -> Passage:
        return _passage(row, folder)

    if suffix(path) == ".tsv":
        source = Source(collection_rows(path), str(path))
        return read_source(source, "passages", make, strict=strict, report=report)
    return read_records(path, "passages", make, strict=strict, report=report)


def _passage(row: Row, folder: Path) -> Passage:
    row = dict(row)
    if not any(name in row for name in (*TEXT, *IMAGE)):
        raise InvalidRecord("neither text nor image; give the key text (or passage_content) or image")
    return Passage(
        id=take_id(row, ID),
        text=take_text(row, TEXT),
        title=take_text(row, ("title",)),
        image=take_image(row, IMAGE, folder),
        meta=take_meta(row),
    )
