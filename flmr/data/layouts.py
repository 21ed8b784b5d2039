"""How published data sets lie on disk: which files hold what, and how a row of them becomes a question or a passage.

Knows files, columns and joins; each function is one data set's questions or passages in one of its splits.  Knows
nothing of instructions, measures or records.  A row that lacks what it should have raises InvalidRecord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from flmr.data.qrels import read_qrels
from flmr.data.rows import Place, Raw, Row, Source, parsed
from flmr.data.tables import find_files, parsed_rows, table_rows
from flmr.errors import InvalidRecord

T = TypeVar("T")

# What an encoder of 512 tokens reads of an article of Wikipedia: English has some four characters to a token.  Kept
# whole, pseudo recall would find answers in words that no encoder has seen.
ARTICLE_CHARACTERS = 2000
# Their own names of the splits that we call valid and test.
COCO = {"train": "train", "test": "val"}
VAL = {"train": "train", "valid": "val", "test": "test"}
DEV = {"train": "train", "valid": "dev.small"}
KVQA_SPLITS = {"train": 1, "test": 2, "valid": 3}
TYPE_NAMES = {str: "text", list: "a list", int: "a whole number"}


# --- M2KR (Lin et al., ACL 2024): Parquet, SUBSET_data/SPLIT and SUBSET_passages/SPLIT_passages ----------------------


def m2kr_questions(subset: str, columns: tuple[str, ...], folder: Path, split: str, images: Path) -> Source:
    """Questions under the names that `read_questions` knows; the positives' texts are left to the passages."""

    def shape(row: Row) -> Iterable[Row]:
        return ({name: value for name, value in row.items() if name != "pos_item_contents"},)

    return _source(folder, f"{subset}_data/{split}", columns, shape)


def m2kr_passages(subset: str, folder: Path, split: str) -> Source:
    """Passages under the names that `read_passages` knows."""
    return _source(folder, f"{subset}_passages/{split}_passages", ("passage_id", "passage_content"))


# --- OK-VQA (Marino et al., CVPR 2019) with the Google-Search corpus (Luo et al., EMNLP 2021) ------------------------


def okvqa_questions(folder: Path, split: str, images: Path) -> Source:
    """Questions with the ten annotators' answers; the corpus has no judgments, so there are no positives."""
    coco = f"{COCO[split]}2014"
    annotations = table_rows(folder, f"mscoco_{coco}_annotations", ("question_id", "answers"), under="annotations")
    answers = {row["question_id"]: row["answers"] for _, row in parsed_rows(annotations)}

    def shape(row: Row) -> Iterable[Row]:
        question = _get(row, "question_id", int)
        if question not in answers:
            raise InvalidRecord(f"question {question} has no annotation in mscoco_{coco}_annotations")
        image = f"{coco}/COCO_{coco}_{_get(row, 'image_id', int):012d}.jpg"
        given = [_get(answer, "answer", str) for answer in _objects(answers[question], "answers")]
        yield {"id": question, "text": _get(row, "question", str), "image": image, "answers": given}

    stem = f"OpenEnded_mscoco_{coco}_questions"
    return _source(folder, stem, ("question_id", "image_id", "question"), shape, under="questions")


def okvqa_passages(folder: Path, split: str) -> Source:
    """The snippets found for the questions of train, or of train and test together."""

    def shape(row: Row) -> Iterable[Row]:
        yield {"id": _text(row, "kid"), "text": _text(row, "text")}

    return _source(folder, f"okvqa_{'train' if split == 'train' else 'full'}_corpus", ("kid", "text"), shape)


# --- InfoSeek (Chen et al., EMNLP 2023) and OVEN (Hu et al., ICCV 2023) over six million articles --------------------


def infoseek_questions(folder: Path, split: str, images: Path) -> Source:
    """Questions about an entity in a picture; the entity's article is the positive."""
    linked = table_rows(folder, f"infoseek_{VAL[split]}_withkb", ("data_id", "entity_id"))
    entity_of = {row["data_id"]: row["entity_id"] for _, row in parsed_rows(linked)}

    def shape(row: Row) -> Iterable[Row]:
        name = _get(row, "data_id", str)
        answers = [*_get(row, "answer", list), *(row.get("answer_eval") or [])]
        yield {
            "id": name,
            "text": _get(row, "question", str),
            "image": _oven_image(images, _get(row, "image_id", str)),
            "answers": [answer for answer in answers if not isinstance(answer, dict)],  # a dict is a range of numbers
            "positive_ids": entity_of.get(name),
        }

    return _source(folder, f"infoseek_{VAL[split]}", ("data_id", "image_id", "question", "answer"), shape)


def oven_questions(folder: Path, split: str, images: Path) -> Source:
    """Which entity does the picture show or the question ask for?  Its article is the positive, its name an answer."""
    columns = ("data_id", "image_id", "question", "entity_id", "entity_text")

    def shape(row: Row) -> Iterable[Row]:
        yield {
            "id": _get(row, "data_id", str),
            "text": _get(row, "question", str),
            "image": _oven_image(images, _get(row, "image_id", str)),
            "answers": [_get(row, "entity_text", str)],
            "positive_ids": [_get(row, "entity_id", str)],
        }

    stems = _there(folder, f"oven_entity_{VAL[split]}", f"oven_query_{VAL[split]}")
    rows = chain.from_iterable(table_rows(folder, stem, columns) for stem in stems)
    return Source(rows, f"{folder}/oven_*_{VAL[split]}", shape)


def wiki6m_passages(folder: Path, split: str) -> Source:
    """The beginning of every article, as much as an encoder reads."""

    def shape(row: Row) -> Iterable[Row]:
        text = _text(row, "wikipedia_content")
        if len(text) > ARTICLE_CHARACTERS:
            text = text[:ARTICLE_CHARACTERS].rpartition(" ")[0]
        yield {"id": _text(row, "wikidata_id"), "title": _text(row, "wikipedia_title"), "text": text}

    return _source(folder, "Wiki6M_ver_1_0", ("wikidata_id", "wikipedia_title", "wikipedia_content"), shape)


def _oven_image(images: Path, image_id: str) -> str:
    """All pictures in one folder, or in numbered ones as they are packed."""
    names = [f"{image_id}{ending}" for ending in (".jpg", ".JPEG", ".png")]
    parts = [f"{image_id.removeprefix('oven_')[:2]}/{name}" for name in names]
    return next((name for name in (*names, *parts) if (images / name).exists()), names[0])


# --- Encyclopedic VQA (Mensink et al., ICCV 2023) over the sections of two million articles --------------------------


def evqa_questions(folder: Path, split: str, images: Path) -> Source:
    """One question for each picture of a row; the section that holds the evidence is the positive.

    The files have no ids: a question is called by split, row and picture.
    """
    columns = ("question", "answer", "dataset_image_ids", "dataset_name", "wikipedia_url", "evidence_section_id")

    def shape(row: Row) -> Iterable[Row]:
        urls, sections = (_text(row, name).split("|") for name in ("wikipedia_url", "evidence_section_id"))
        positives = [f"{url}#{section}" for url, section in zip(urls, sections, strict=False) if section.strip()]
        for image_id in dict.fromkeys(_text(row, "dataset_image_ids").split("|")):
            yield {
                "id": f"{split}-{row['row']}-{image_id}",
                "text": _text(row, "question"),
                "image": _evqa_image(_text(row, "dataset_name"), image_id),
                "answers": _text(row, "answer").replace("&&", "|").split("|"),
                "positive_ids": positives,
                "question_type": row.get("question_type", ""),
            }

    rows = _numbered(table_rows(folder, VAL[split], columns))
    return Source(rows, f"{folder}/{VAL[split]}", shape)


def evqa_passages(folder: Path, split: str) -> Source:
    """The sections of every article that are not empty."""

    def shape(row: Row) -> Iterable[Row]:
        title, names, texts = _text(row, "title"), _get(row, "section_titles", list), _get(row, "section_texts", list)
        if len(names) != len(texts):
            raise InvalidRecord(f"{len(names)} section_titles have {len(texts)} section_texts")
        for number, (name, text) in enumerate(zip(names, texts, strict=True)):
            if not isinstance(text, str):
                raise InvalidRecord(f"section_texts must hold text, not {text!r}")
            if text.strip():
                full = text if name == title else f"{name}: {text}"
                yield {"id": f"{row['url']}#{number}", "title": title, "text": full}

    return _source(folder, "encyclopedic_kb_wiki", ("title", "section_titles", "section_texts"), shape, key="url")


def _evqa_image(data_set: str, image_id: str) -> str:
    if data_set == "landmarks":
        return f"google-landmark/train/{'/'.join(image_id[:3])}/{image_id}.jpg"
    return f"inat/{image_id}.jpg"


# --- KVQA (Shah et al., AAAI 2019): people in pictures ---------------------------------------------------------------


def kvqa_questions(folder: Path, split: str, images: Path) -> Source:
    """Every question of a picture; its caption from Wikipedia is the positive."""

    def shape(row: Row) -> Iterable[Row]:
        if not _in_kvqa_split(row, split):
            return
        asked, answers = _get(row, "Questions", list), _get(row, "Answers", list)
        if len(asked) != len(answers):
            raise InvalidRecord(f"{len(asked)} Questions have {len(answers)} Answers")
        for number, (text, answer) in enumerate(zip(asked, answers, strict=True)):
            yield {
                "id": f"{row['image_key']}_{number}",
                "text": text,
                "image": _get(row, "imgPath", str),
                "answers": [answer],
                "positive_ids": [row["image_key"]],
            }

    columns = ("imgPath", "Questions", "Answers", "split")
    return _source(folder, "dataset", columns, shape, key="image_key")


def kvqa_passages(folder: Path, split: str) -> Source:
    """The captions of the split's pictures."""

    def shape(row: Row) -> Iterable[Row]:
        if _in_kvqa_split(row, split):
            yield {"id": row["image_key"], "text": _get(row, "wikiCap", str)}

    return _source(folder, "dataset", ("wikiCap", "split"), shape, key="image_key")


def _in_kvqa_split(row: Row, split: str) -> bool:
    """Whether the first of the five splits that each picture is labelled with is this one."""
    return bool(_get(row, "split", list)[:1] == [KVQA_SPLITS[split]])


# --- WIT (Srinivasan et al., SIGIR 2021): pictures and sections of Wikipedia, the English rows -----------------------

WIT_COLUMNS = (
    "language",
    "page_url",
    "image_url",
    "page_title",
    "section_title",
    "context_page_description",
    "context_section_description",
)


def wit_questions(folder: Path, split: str, images: Path) -> Source:
    """Each picture asks for the section that it stands in; its file is called as at the end of its address."""

    def shape(row: Row) -> Iterable[Row]:
        for passage in _wit_section(row):
            name = _text(row, "image_url").rpartition("/")[2]
            yield {"id": f"{passage['id']}@{name}", "image": name, "positive_ids": [passage["id"]]}

    return _source(folder, f"wit_v1.{VAL[split]}.all", WIT_COLUMNS, shape)


def wit_passages(folder: Path, split: str) -> Source:
    """Sections; one with several pictures stands in several rows and is taken once."""
    rows = table_rows(folder, f"wit_v1.{VAL[split]}.all", WIT_COLUMNS)
    return Source(rows, f"{folder}/wit_v1.{VAL[split]}.all", _wit_section, distinct=False)


def _wit_section(row: Row) -> Iterator[Row]:
    if _text(row, "language") != "en":
        return
    text = _text(row, "context_section_description") or _text(row, "context_page_description")
    if not text:
        raise InvalidRecord("neither context_section_description nor context_page_description holds a text")
    section = _text(row, "section_title").replace(" ", "_")
    yield {"id": f"{_text(row, 'page_url')}#{section}", "title": _text(row, "page_title"), "text": text}


# --- MS MARCO passages (Bajaj et al., 2016) --------------------------------------------------------------------------


def msmarco_questions(folder: Path, split: str, images: Path) -> Source:
    """Questions in words alone, with their judged passages."""
    qrels = read_qrels(find_files(folder, f"qrels.{DEV[split]}")[0])

    def shape(row: Row) -> Iterable[Row]:
        name = _text(row, "qid")
        positives = [passage for passage, grade in qrels.get(name, {}).items() if grade > 0]
        yield {"id": name, "text": _text(row, "query"), "positive_ids": positives}

    return _source(folder, f"queries.{DEV[split]}", ("qid", "query"), shape, header=("qid", "query"))


def msmarco_passages(folder: Path, split: str) -> Source:
    """The whole collection, whatever the split."""

    def shape(row: Row) -> Iterable[Row]:
        yield {"id": _text(row, "pid"), "text": _text(row, "passage")}

    return _source(folder, "collection", ("pid", "passage"), shape, header=("pid", "passage"))


# --- what the layouts share ------------------------------------------------------------------------------------------


def _as_it_is(row: Row) -> Iterable[Row]:
    return (row,)


def _source(
    folder: Path, stem: str, columns: tuple[str, ...], shape: Callable[[Row], Iterable[Row]] = _as_it_is, **how: Any
) -> Source:
    return Source(table_rows(folder, stem, columns, **how), f"{folder}/{stem}", shape)


def _numbered(rows: Iterable[tuple[Place, Raw]]) -> Iterator[tuple[Place, Raw]]:
    """Rows with their number in the file as a column `row`."""
    for place, row in rows:
        try:
            yield place, {**parsed(row), "row": place.number}
        except InvalidRecord as error:
            yield place, error


def _there(folder: Path, *stems: str) -> list[str]:
    """Those of the tables that the folder holds; raises InvalidRecord where it holds none."""
    found, errors = [], []
    for stem in stems:
        try:
            find_files(folder, stem)
            found.append(stem)
        except InvalidRecord as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _get(row: Row, name: str, kind: type[T]) -> T:
    """The value of a column; raises InvalidRecord where it is missing or of another type."""
    value = row.get(name)
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    found = repr(value) if name in row else "missing"
    raise InvalidRecord(f"{name} must be {TYPE_NAMES[kind]}, not {found if len(found) <= 60 else found[:57] + '...'}")


def _text(row: Row, name: str) -> str:
    """A column as text: a number as its digits, null as the empty one."""
    value = row.get(name)
    if value is None and name in row:
        return ""
    return str(value) if type(value) is int else _get(row, name, str)


def _objects(values: Any, name: str) -> list[Row]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidRecord(f"{name} must be a list of objects")
    return values
