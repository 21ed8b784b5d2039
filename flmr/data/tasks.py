"""The retrieval tasks of the field: where their data are, how they are asked, and what they are measured by.

Knows a row of a table for each task; how its files lie is in flmr.data.layouts.  Knows nothing of encoders or indexes.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from flmr.data import layouts
from flmr.data.rows import Row, Source
from flmr.errors import InvalidInput

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Task:
    """One task.

    about: what is asked and what is sought.  measure: the one that it is published with, by its name in flmr.evaluate
    (m2kr/cc3m, for training only, has none and takes the commonest).
    instructions: what a question without an instruction of its own is asked with.  questions, passages: how they are
    read, from a folder and in a split; splits, passage_splits: those that are published.  images: folders in which the
    pictures are looked for, below that of the data, where none is named.
    """

    name: str
    about: str
    measure: str
    instructions: tuple[str, ...]
    questions: Callable[[Path, str, Path], Source]
    passages: Callable[[Path, str], Source]
    splits: tuple[str, ...]
    passage_splits: tuple[str, ...]
    images: tuple[str, ...] = ("images",)

    @property
    def default_split(self) -> str:
        """The split that the task is measured on."""
        return self.splits[-1]

    @property
    def ks(self) -> tuple[int, ...]:
        """The cut-offs to report, that of the published measure among them."""
        return tuple(sorted({1, 5, 10, 100, int(self.measure.rpartition("@")[2])}))

    def instruction(self, question_id: str) -> str:
        """One of the instructions, for the same question always the same."""
        return self.instructions[zlib.crc32(question_id.encode()) % len(self.instructions)]


@dataclass(frozen=True)
class TaskSplit:
    """One split of a task in a folder: what `read_passages` and `read_questions` take in the place of a file.

    images: where relative image paths start; by default the first of the task's own folders that is there, else the
    folder of the data.  Raises InvalidInput where the task has no such split.
    """

    task: Task
    folder: Path
    split: str = ""
    images: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        object.__setattr__(self, "images", None if self.images is None else Path(self.images))
        object.__setattr__(self, "split", self.split or self.task.default_split)
        if self.split not in {*self.task.splits, *self.task.passage_splits}:
            raise InvalidInput(self._no_split("", self.task.splits))

    def __str__(self) -> str:
        return f"{self.task.name} {self.split} in {str(self.folder)!r}"

    @cached_property
    def image_folder(self) -> Path:
        """Where relative image paths start."""
        there = (self.folder / name for name in self.task.images if (self.folder / name).is_dir())
        return self.images or next(there, self.folder)

    def questions(self) -> Source:
        """The rows of its questions, each with an instruction; raises InvalidInput where the split has none."""
        if self.split not in self.task.splits:
            raise InvalidInput(self._no_split(" of questions", self.task.splits))
        source = self.task.questions(self.folder, self.split, self.image_folder)

        def instructed(row: Row) -> Iterable[Row]:
            for shaped in source.shape(row):
                name = shaped.get("id", shaped.get("question_id"))
                yield {**shaped, "instruction": shaped.get("instruction") or self.task.instruction(str(name))}

        return Source(source.rows, source.name, instructed, source.distinct)

    def passages(self) -> Source:
        """The rows of its passages; raises InvalidInput where the split has none."""
        if self.split not in self.task.passage_splits:
            raise InvalidInput(self._no_split(" of passages", self.task.passage_splits))
        return self.task.passages(self.folder, self.split)

    def _no_split(self, of: str, known: Iterable[str]) -> str:
        return f"task {self.task.name!r} has no split {self.split!r}{of}; it has {', '.join(known)}"


def find_task(name: str) -> Task:
    """The task of a name; raises InvalidInput with the nearest name where there is none."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name.lower(), TASKS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TASKS)}"
    raise InvalidInput(f"task {name!r} is not known; {hint}")


# Of our own wording.  They are kept short: a query has 32 tokens for instruction and question together.
FIND_TEXT_OF_IMAGE = ("Find the text that this image was chosen for", "Which text does this image illustrate")
FIND_CAPTION = ("Find the caption of this image", "Which caption was written for this image")
FIND_PEOPLE = ("Find the text that names the people in this image", "Who is in this image? Find their caption")
FIND_WEB = ("Find web passages in which the question is answered", "Which web passages hold the answer")
FIND_ENTITY = (
    "Find the article about what the question picks out of the image",
    "Which article is the image's subject in",
)
FIND_REPLY = (
    "Find the text that replies to the request about the image",
    "Which text fulfils what is asked of the image",
)
FIND_KNOWLEDGE = (
    "With the image, find passages that help to answer the question",
    "Which passages know what is asked about the image",
)
FIND_FACT = (
    "Find the article that answers the question about the thing in the image",
    "Which article states what is asked about the thing in the image",
)

PICTURE = ("question_id", "img_path", "pos_item_ids")
WORDS = ("question_id", "question", "pos_item_ids")
BOTH = ("question_id", "question", "img_path", "pos_item_ids")
ANSWERED = (*BOTH, "answers")
ALL, NO_VALID, TEST, TRAIN = SPLITS, ("train", "test"), ("test",), ("train",)


def _m2kr(
    name: str,
    subset: str,
    about: str,
    measure: str,
    instructions: tuple[str, ...],
    columns: tuple[str, ...],
    splits: tuple[str, ...],
    passage_splits: tuple[str, ...] = ALL,
    pictures: tuple[str, ...] = (),
) -> Task:
    return Task(
        f"m2kr/{name}",
        about,
        measure,
        instructions,
        partial(layouts.m2kr_questions, subset, columns),
        partial(layouts.m2kr_passages, subset),
        splits,
        passage_splits,
        (*(f"images/{folder}" for folder in (subset, *pictures)), "images"),
    )


# Sizes and measures: docs/Datasets.md of the FLMR repository and the PreFLMR paper (Lin et al., ACL 2024).
_TASKS = (
    _m2kr("wit", "WIT", "picture -> its section", "strict_recall@10", FIND_TEXT_OF_IMAGE, PICTURE, ALL),
    _m2kr(
        "iglue",
        "IGLUE",
        "picture -> its text",
        "strict_recall@1",
        FIND_TEXT_OF_IMAGE,
        PICTURE,
        TEST,
        ("valid", "test"),
        ("WIT",),
    ),
    _m2kr("kvqa", "KVQA", "picture of people -> its caption", "strict_recall@5", FIND_PEOPLE, PICTURE, ALL),
    _m2kr("cc3m", "CC", "picture -> its caption", "strict_recall@5", FIND_CAPTION, PICTURE, TRAIN, TRAIN, ("CC3M",)),
    _m2kr("msmarco", "MSMARCO", "question -> web passage", "strict_recall@5", FIND_WEB, WORDS, ALL),
    _m2kr("oven", "OVEN", "picture and question -> article", "strict_recall@5", FIND_ENTITY, BOTH, ALL),
    _m2kr(
        "llava", "LLaVA", "picture and request -> reply", "strict_recall@1", FIND_REPLY, BOTH, NO_VALID, ALL, ("LLAVA",)
    ),
    _m2kr("okvqa", "OKVQA", "picture and question -> snippet", "strict_recall@5", FIND_KNOWLEDGE, ANSWERED, ALL),
    _m2kr("infoseek", "Infoseek", "picture and question -> article", "strict_recall@5", FIND_FACT, ANSWERED, NO_VALID),
    _m2kr("evqa", "EVQA", "picture and question -> section", "strict_recall@5", FIND_FACT, ANSWERED, ALL),
    Task(
        "okvqa",
        "OK-VQA over the Google-Search corpus: picture and question -> snippet",
        "pseudo_recall@5",
        FIND_KNOWLEDGE,
        layouts.okvqa_questions,
        layouts.okvqa_passages,
        NO_VALID,
        NO_VALID,
    ),
    Task(
        "infoseek",
        "InfoSeek over six million articles: picture and question -> article",
        "strict_recall@5",
        FIND_FACT,
        layouts.infoseek_questions,
        layouts.wiki6m_passages,
        ("train", "valid"),
        ("train", "valid"),
        ("infoseek_images", "oven_images", "images"),
    ),
    Task(
        "oven",
        "OVEN over six million articles: picture and question -> article",
        "strict_recall@5",
        FIND_ENTITY,
        layouts.oven_questions,
        layouts.wiki6m_passages,
        ("train", "valid"),
        ("train", "valid"),
        ("oven_images", "images"),
    ),
    Task(
        "evqa",
        "Encyclopedic VQA over sections of articles: picture and question -> section",
        "strict_recall@5",
        FIND_FACT,
        layouts.evqa_questions,
        layouts.evqa_passages,
        ALL,
        ALL,
    ),
    Task(
        "kvqa",
        "KVQA: picture of people and question -> the picture's caption",
        "strict_recall@5",
        FIND_PEOPLE,
        layouts.kvqa_questions,
        layouts.kvqa_passages,
        ALL,
        ALL,
    ),
    Task(
        "wit",
        "WIT, its English rows: picture -> section",
        "strict_recall@10",
        FIND_TEXT_OF_IMAGE,
        layouts.wit_questions,
        layouts.wit_passages,
        ALL,
        ALL,
    ),
    Task(
        "msmarco",
        "MS MARCO passages: question -> passage",
        "strict_recall@5",
        FIND_WEB,
        layouts.msmarco_questions,
        layouts.msmarco_passages,
        ("train", "valid"),
        ("train", "valid"),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
