"""What flows through flmr: passages, queries, multi-vectors, hits.

Knows shapes and what makes a record valid.  Knows nothing of files, models or indexes, and opens no image.
Every record is frozen and checked on birth.

Shapes: N items, T packed rows of all items, D dimension.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np

from flmr.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

ImageSource: TypeAlias = "str | Path | bytes | Image"

R = TypeVar("R")

MAX_DIM = 8192
MAX_ROWS_PER_ITEM = 65_535


@dataclass(frozen=True)
class Passage:
    """One thing that can be found: an id of the caller's, text, and optionally a title, an image and metadata."""

    id: str
    text: str = ""
    title: str = ""
    image: ImageSource | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)  # mappings have no hash; equality compares it

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InvalidInput(f"a passage's id must be a non-empty string, not {self.id!r}")
        if not isinstance(self.text, str) or not isinstance(self.title, str):
            raise InvalidInput(f"passage {self.id!r}: text and title must be strings")
        if not isinstance(self.meta, Mapping):
            raise InvalidInput(f"passage {self.id!r}: meta must be a mapping, not {type(self.meta).__name__}")

    @property
    def full_text(self) -> str:
        """Title and text as they are encoded: `title + " " + text`, or the text alone where there is no title."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True)
class Query:
    """One question: text, image, or both, and the instruction that tells the encoder what kind of answer is sought.

    regions: parts of the image that are asked about; each is an image of its own beside the whole, in this order.
    """

    text: str = ""
    image: ImageSource | None = None
    instruction: str = ""
    id: str = ""
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        for name in ("text", "instruction", "id"):
            if not isinstance(getattr(self, name), str):
                raise InvalidInput(f"a query's {name} must be a string, not {type(getattr(self, name)).__name__}")
        if not self.text.strip() and self.image is None:
            raise InvalidInput(f"query {self.id!r} has neither text nor image; give at least one")
        if not isinstance(self.regions, tuple) or not all(isinstance(region, Region) for region in self.regions):
            raise InvalidInput(f"query {self.id!r}: regions must be a tuple of flmr.records.Region")
        if self.regions and self.image is None:
            raise InvalidInput(f"query {self.id!r} names regions but has no image; give the image that they are of")


@dataclass(frozen=True)
class Question:
    """A query with what is known about its answer: the passages that hold it and the strings that state it."""

    query: Query
    positive_ids: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """The id of the query."""
        return self.query.id


@dataclass(frozen=True, eq=False)
class MultiVectors:
    """N items of any number of D-dimensional rows each, packed without padding.

    vectors: (T, D) float16 or float32.  offsets: (N+1,) int64, item i is `vectors[offsets[i]:offsets[i+1]]`.
    A slice of items is MultiVectors again; two are equal where their vectors and offsets are.
    Raises InvalidInput on a wrong shape, type or offset.  Values are not scanned here: whoever stores them checks
    that they are finite.
    """

    vectors: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        vectors, offsets = self.vectors, self.offsets
        if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
            raise InvalidInput(f"vectors must be a NumPy array of shape (T, D), not {_describe(vectors)}")
        if vectors.dtype not in (np.float16, np.float32):
            raise InvalidInput(f"vectors must be float16 or float32, not {vectors.dtype}; cast them first")
        if not 1 <= vectors.shape[1] <= MAX_DIM:
            raise InvalidInput(f"vectors have D={vectors.shape[1]}; D must be 1 to {MAX_DIM}")
        if not isinstance(offsets, np.ndarray) or offsets.ndim != 1 or len(offsets) == 0:
            raise InvalidInput(f"offsets must be a NumPy array of shape (N+1,), not {_describe(offsets)}")
        if offsets.dtype != np.int64:
            raise InvalidInput(f"offsets must be int64, not {offsets.dtype}")
        if offsets[0] != 0 or offsets[-1] != len(vectors) or (np.diff(offsets) < 0).any():
            raise InvalidInput(f"offsets must rise from 0 to T={len(vectors)}; they run {offsets[0]} to {offsets[-1]}")

    @classmethod
    def from_list(cls, items: Iterable[Any], dim: int | None = None) -> MultiVectors:
        """Pack a list of (n_i, D) arrays; float16 if every item is float16, else float32.

        dim: D, needed only where the list is empty.  Raises InvalidInput where items disagree in D.
        """
        arrays = [np.asarray(item) for item in items]
        for i, array in enumerate(arrays):
            if array.ndim != 2:
                raise InvalidInput(f"item {i} must have shape (n, D), not {array.shape}")
            if array.dtype.kind not in "fiu":
                raise InvalidInput(f"item {i} must hold numbers, not {array.dtype}")
        dims = {array.shape[1] for array in arrays} | ({dim} if dim is not None else set())
        if len(dims) != 1:
            raise InvalidInput(f"items disagree in D: {sorted(dims)}" if dims else "an empty list needs dim=D")
        dtype = np.float16 if arrays and all(a.dtype == np.float16 for a in arrays) else np.float32
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        vectors = np.empty((int(offsets[-1]), dims.pop()), dtype)
        for i, array in enumerate(arrays):
            vectors[offsets[i] : offsets[i + 1]] = array
        return cls(vectors, offsets)

    @classmethod
    def concat(cls, parts: Sequence[MultiVectors]) -> MultiVectors:
        """Join several multi-vectors of the same D, in order."""
        return cls.from_list([item for part in parts for item in part], dim=parts[0].dim if parts else None)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each item: (N,) int64."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiVectors):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.vectors, other.vectors)

    __hash__ = None  # type: ignore[assignment]  # arrays may change

    def __repr__(self) -> str:
        return f"<MultiVectors: {len(self):,} items, {len(self.vectors):,} rows of D={self.dim}, {self.vectors.dtype}>"

    @overload
    def __getitem__(self, i: SupportsIndex) -> np.ndarray: ...

    @overload
    def __getitem__(self, i: slice) -> MultiVectors: ...

    def __getitem__(self, i: SupportsIndex | slice) -> np.ndarray | MultiVectors:
        if isinstance(i, slice):
            return MultiVectors.from_list([self[n] for n in range(*i.indices(len(self)))], dim=self.dim)
        i = operator.index(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of {len(self)}")
        i %= len(self)
        return self.vectors[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        for i in range(len(self)):
            yield self[i]


@dataclass(frozen=True)
class Hit:
    """One result of a search: rank 1 is the best; the passage is there where the index stores passages."""

    id: str
    score: float
    rank: int
    passage: Passage | None = None


@dataclass(frozen=True)
class Answer:
    """What a reader says to a query: the text, its log-probability where the reader gives one, and the hits it read."""

    text: str
    log_probability: float | None = None
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True)
class Region:
    """A part of an image in fractions of its width and height: left < right, top < bottom, all within 0..1."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        sides = (self.left, self.top, self.right, self.bottom)
        if not all(isinstance(side, Real) for side in sides):
            raise InvalidInput(f"the sides of a region must be numbers, not {sides}")
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise InvalidInput(f"a region must satisfy 0 <= left < right <= 1 and 0 <= top < bottom <= 1, not {self}")

    def inside(self, outer: Region) -> Region:
        """The same part of a part: where this region of the picture cut out by `outer` lies in the whole picture."""
        width, height = outer.right - outer.left, outer.bottom - outer.top
        return Region(
            outer.left + self.left * width,
            outer.top + self.top * height,
            min(1.0, outer.left + self.right * width),
            min(1.0, outer.top + self.bottom * height),
        )


@dataclass(frozen=True)
class Row:
    """Where one row of a multi-vector comes from: a word piece, the whole image, or a region of it.

    kind "text": label is the word piece and span its (start, end) characters in the encoded text, or None for a
    marker such as [CLS].  kind "image": the whole picture (label numbers the row).  kind "region": a patch.
    """

    kind: Literal["text", "image", "region"]
    label: str
    span: tuple[int, int] | None = None
    region: Region | None = None


@dataclass(frozen=True)
class Explanation:
    """Why a passage got its score: its query rows, its passage rows, and the similarity of each pair.

    similarities: (query rows, passage rows) float32; the score is the sum over query rows of the largest of each.
    query_text and passage_text are the strings that the spans of the rows refer to.
    """

    query: Query
    hit: Hit
    query_text: str
    passage_text: str
    query_rows: tuple[Row, ...]
    passage_rows: tuple[Row, ...]
    similarities: np.ndarray

    def __post_init__(self) -> None:
        if self.similarities.shape != (len(self.query_rows), len(self.passage_rows)):
            raise InvalidInput(
                f"similarities have shape {self.similarities.shape} for {len(self.query_rows)} query rows"
                f" and {len(self.passage_rows)} passage rows"
            )


def all_of(kind: type[R], records: Any, what: str) -> list[R]:
    """The records as a list.  Raises InvalidInput where they are no list or one of them is of another kind."""
    if isinstance(records, kind | str) or not isinstance(records, Iterable):
        raise InvalidInput(f"{what} must be a list of flmr.{kind.__name__}, not one {type(records).__name__}")
    listed = list(records)
    for number, record in enumerate(listed, start=1):
        if not isinstance(record, kind):
            raise InvalidInput(f"{what} must be of flmr.{kind.__name__}; number {number} is a {type(record).__name__}")
    return listed


def _describe(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
