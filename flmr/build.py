"""From passages to vectors: reading, batching, encoding, and the account of what could not be used.

Knows readers and encoders, and the recipe of an index.  Knows nothing of how an index stores or searches vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from flmr.data import ReadReport, TaskSplit, find_task, read_passages
from flmr.errors import FlmrError, InvalidInput, InvalidRecipe, UnreadableImage
from flmr.journal import Encoded, Journal
from flmr.ops.arrays import Device
from flmr.progress import Report
from flmr.recipe import load_recipe
from flmr.records import MultiVectors, Passage
from flmr.roles import DeviceEncoder, Encoder

DEFAULT_ENCODER = "LinWeizheDragon/PreFLMR_ViT-L"
DEFAULT_BATCH = 128  # passages handed to the encoder at once, which cuts them to what its device holds
DEFAULT_KS = (5, 10, 100)

T = TypeVar("T")


@dataclass(frozen=True)
class QuestionSet:
    """A table `[evaluate.NAME]` of an index recipe: the questions that measure the index.

    They come from the file `questions`, or from a `split` of a published `task` whose files lie in the folder `root`;
    with both, the file's questions are asked and measured as the task's.
    qrels: judgments; without them the questions' own positive ids.  where: metadata that a question must have, a value
    or a list of them.  images: where relative image paths start, by default the folder of the questions.  ks: cut-offs,
    by default those of the task, or 5, 10 and 100.  by: a key of the questions' metadata to report by as well.
    """

    questions: Path | None = None
    qrels: Path | None = None
    task: str = ""
    root: Path | None = None
    split: str = ""
    where: dict[str, Any] = field(default_factory=dict)
    images: Path | None = None
    ks: tuple[int, ...] = ()
    by: str | None = None

    def __post_init__(self) -> None:
        if self.questions is None and not self.task:
            raise InvalidRecipe("a question set names the file of its questions, or a task")
        _check_task(self.task, self.root, self.split)

    @property
    def source(self) -> Path | TaskSplit:
        """What `read_questions` is given; raises InvalidInput where a task's folder is not known."""
        return self.questions if self.questions is not None else _task_split(self.task, self.root, self.split)

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The ks to measure at."""
        return self.ks or (find_task(self.task).ks if self.task else DEFAULT_KS)


@dataclass(frozen=True)
class IndexRecipe:
    """How an index is built: which passages, which encoder, how many bits.

    The passages come from a file, or from a `split` of a published `task` whose files lie in the folder `root`.
    encoder is a name that `flmr.load_encoder` knows; checkpoint is a folder, relative to the recipe; at most one of
    them is given.  images: where relative image paths of the passages start, by default their file's folder.
    pool: one row is stored for every 2, 3, ... of a passage.  pool_visual: one is asked with for every 2, 3, ... of a
    question's pictures, whenever the index is opened.
    """

    passages: Path | None = None
    task: str = ""
    root: Path | None = None
    split: str = ""
    images: Path | None = None
    encoder: str | None = None
    checkpoint: Path | None = None
    nbits: int = 2
    batch_size: int = DEFAULT_BATCH
    keep_vectors: bool = False
    pool: int = 1
    pool_visual: int = 1
    seed: int = 0
    evaluate: dict[str, QuestionSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.passages is None) == (not self.task):
            raise InvalidRecipe("a recipe names the file of its passages, or a task: one of the two")
        if self.encoder is not None and self.checkpoint is not None:
            raise InvalidRecipe("a recipe names an encoder or a checkpoint, not both")
        _check_task(self.task, self.root, self.split)

    @property
    def source(self) -> Path | TaskSplit:
        """What `read_passages` is given; raises InvalidInput where a task's folder is not known."""
        return self.passages if self.passages is not None else _task_split(self.task, self.root, self.split)

    @property
    def encoder_name(self) -> str:
        """What `load_encoder` is given."""
        return str(self.checkpoint) if self.checkpoint is not None else self.encoder or DEFAULT_ENCODER

    @property
    def question_sets(self) -> dict[str, QuestionSet]:
        """The [evaluate.NAME] tables, those of a task in the recipe's folders; without any the task's own questions."""
        if not self.evaluate and self.task:
            return {self.task: QuestionSet(task=self.task, root=self.root, split=self.split, images=self.images)}
        return {
            name: replace(table, root=table.root or self.root, images=table.images or self.images)
            if table.task and table.questions is None
            else table
            for name, table in self.evaluate.items()
        }


def _check_task(task: str, root: Path | None, split: str) -> None:
    """Raise InvalidInput where there is no such task or split; InvalidRecipe where there is none to have them."""
    if task:
        TaskSplit(find_task(task), root or Path(), split)
    elif root is not None or split:
        raise InvalidRecipe("root and split belong to a task; name it")


def _task_split(task: str, root: Path | None, split: str) -> TaskSplit:
    if root is None:
        raise InvalidInput(
            f"task {task!r} needs the folder that holds its files; give root (--data on the command line)"
        )
    return TaskSplit(find_task(task), root, split)


def index_recipe(
    source: Path,
    *,
    task: str | None = None,
    split: str | None = None,
    encoder: str | None = None,
    nbits: int | None = None,
    pool: int | None = None,
    pool_visual: int | None = None,
    batch_size: int | None = None,
    images: Path | None = None,
) -> IndexRecipe:
    """The recipe of a TOML file, of a passage file alone, or of a task in a folder; what is given here overrides.

    Raises InvalidInput where a task is named beside a file.
    """
    if source.suffix == ".toml" and (task or split):
        raise InvalidInput("a recipe names its task and split itself; leave out --task and --split")
    if split and not task:
        raise InvalidInput("--split is one of a task; name the task")
    if source.is_dir() and not task:
        raise InvalidInput(
            f"{str(source)!r} is a folder; name a file of passages in it, or the --task whose data it is"
        )
    if source.suffix == ".toml":
        recipe = load_recipe(source, IndexRecipe)
    elif task:
        recipe = IndexRecipe(task=task, root=source, split=split or "")
    else:
        recipe = IndexRecipe(passages=source)
    given: dict[str, Any] = {
        "encoder": encoder,
        "nbits": nbits,
        "pool": pool,
        "pool_visual": pool_visual,
        "batch_size": batch_size,
        "images": images,
    }
    if encoder is not None:
        recipe = replace(recipe, checkpoint=None)
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


@dataclass
class Account:
    """What became of the passages: filled while they are read and encoded.

    lines: which lines of a file were read and which refused.  unreadable: passage id -> why its image was refused.
    """

    encoded: int = 0
    lines: ReadReport = field(default_factory=ReadReport)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Lines and passages that were left out."""
        return len(self.lines.skipped) + len(self.unreadable)


def open_passages(
    passages: Iterable[Passage] | str | Path | TaskSplit,
    *,
    strict: bool,
    account: Account,
    image_folder: str | Path | None = None,
) -> tuple[Iterable[Passage], int | None]:
    """The passages of a file, a task or an iterable, and how many there are where that is known beforehand."""
    if isinstance(passages, TaskSplit):
        return read_passages(passages, strict=strict, report=account.lines, image_folder=image_folder), None
    if isinstance(passages, str | Path):
        path = Path(passages)
        return read_passages(path, strict=strict, report=account.lines, image_folder=image_folder), count_records(path)
    if isinstance(passages, Passage) or not isinstance(passages, Iterable):
        kind = type(passages).__name__
        raise InvalidInput(f"passages must be a file or a list of flmr.Passage, not one {kind}")
    return map(_a_passage, passages), len(passages) if isinstance(passages, Sized) else None


def _a_passage(passage: Any) -> Passage:
    if not isinstance(passage, Passage):
        raise InvalidInput(f"a passage must be a flmr.Passage, such as Passage(id, text), not {type(passage).__name__}")
    return passage


def encode_stream(
    passages: Iterable[Passage],
    encoder: Encoder,
    *,
    batch_size: int,
    strict: bool,
    account: Account,
    report: Report,
    total: int | None = None,
    journal: Journal | None = None,
    device: Device = "cpu",
) -> Iterator[tuple[Passage, Any]]:
    """Each passage with its rows (n, D), encoded batch by batch; at most one batch is held in memory.

    device: with "cuda" rows are tensors where the encoder can leave them on its device.
    A passage whose image cannot be read is left out and entered in the account; strict raises UnreadableImage instead.
    """
    seen = 0
    for batch in batches(passages, batch_size):
        encoded = journal.replay(batch) if journal else None
        if encoded is None:
            encoded = encode_batch(batch, encoder, strict=strict, device=device)
            if journal:
                journal.append(batch, encoded)
        account.unreadable.update(encoded.unreadable)
        account.encoded += len(encoded.ids)
        seen += len(batch)
        report("encode", seen, total)
        kept = [passage for passage in batch if passage.id not in encoded.unreadable]
        yield from zip(kept, encoded.vectors, strict=True)


def encode_batch(batch: list[Passage], encoder: Encoder, *, strict: bool, device: Device = "cpu") -> Encoded:
    """Encode passages together, or one by one where an image among them cannot be read."""
    left_there = device == "cuda" and isinstance(encoder, DeviceEncoder)
    encode: Callable[[list[Passage]], Any] = (
        encoder.encode_passages_on_device if left_there else encoder.encode_passages  # type: ignore[attr-defined]
    )
    try:
        return Encoded(encode(batch), tuple(p.id for p in batch))
    except UnreadableImage:
        pass
    vectors: list[Any] = []
    ids: list[str] = []
    unreadable: dict[str, str] = {}
    for passage in batch:
        try:
            vectors.append(encode([passage])[0])
            ids.append(passage.id)
        except UnreadableImage as error:
            if strict:
                raise named(error, f"passage {passage.id!r}") from None
            unreadable[passage.id] = str(error)
    packed = vectors if left_there else MultiVectors.from_list(vectors, dim=encoder.dim)
    return Encoded(packed, tuple(ids), unreadable)


def named(error: FlmrError, name: str) -> FlmrError:
    """The same kind of error with the name of the thing in front, unless the message has it already."""
    return error if name in str(error) else type(error)(f"{name}: {error}")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter.  Raises InvalidInput where a list would have none."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InvalidInput(f"batch_size must be a whole number from 1, not {size!r}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def count_records(path: Path) -> int | None:
    """Records of a JSONL or Parquet file, for progress; None where it cannot be told cheaply."""
    try:
        if path.suffix == ".gz":
            return None
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return int(pq.read_metadata(path).num_rows)
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except (OSError, ValueError):
        return None  # the reader says what is wrong
