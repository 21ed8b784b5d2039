"""The files of an index: every name, version and layout of the format in one place.

Knows which file holds which array in which type.  Knows nothing of how they are filled, searched or committed.
docs/format.md says the same in prose.

Shapes: N items of a segment, T their packed rows, D dimension, K centroids, P packed bytes of a residual.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from flmr.ops.sketch import SKETCH_BITS

FORMAT = "flmr-index"
VERSION = 2

MANIFEST = "manifest.json"
MANIFEST_DRAFT = "manifest.json.new"
LOCK = "writer.lock"
SEGMENT = "segment.json"

NBITS = (0, 1, 2, 3, 4, 8)  # 0: flat float16, no codec

IDS = "ids.utf8"  # the ids in UTF-8, one after another
IDS_OFFSETS = "ids-offsets.npy"
IDS_ORDER = "ids-order.npy"  # rows in the order of their ids
IDS_RANKS = "ids-ranks.npy"  # the place of each row in that order
OFFSETS = "offsets.npy"
CODES = "codes.npy"
RESIDUALS = "residuals.npy"
SCALES = "scales.npy"
SKETCHES = "sketches.npy"
SKETCH_SCALES = "sketch-scales.npy"
LISTS = "lists.npy"
LISTS_OFFSETS = "lists-offsets.npy"
VECTORS = "vectors.npy"
PASSAGES = "passages.parquet"

# Files of a segment that is being written; none outlives its commit.
SPOOL_VECTORS = "spool.vectors"
SPOOL_PASSAGES = "spool.passages"

CENTROIDS = "centroids"
CENTROID_SCALES = "centroid-scales"
LEVELS = "levels"
SCALE_TABLE = "scale-table"
ROTATION = "rotation"
PERMUTATION = "permutation"
SAMPLE_ROWS = "rows"
SAMPLE_SCALES = "scales"
SAMPLE_PARTS = (SAMPLE_ROWS, SAMPLE_SCALES)
CODEC_PARTS = (CENTROIDS, CENTROID_SCALES, LEVELS, SCALE_TABLE, ROTATION, PERMUTATION)

_SEGMENT_NAME = re.compile(r"[0-9]{4,9}")
_OWN_ENTRY = re.compile(
    rf"[0-9]{{4,9}}|[0-9]{{4,9}}\.(alive|gains)\.[0-9]+\.npy|codec-[0-9]+\.({'|'.join(CODEC_PARTS)})\.npy"
    rf"|sample-[0-9]+\.({'|'.join(SAMPLE_PARTS)})\.npy"
    r"|manifest\.json(\.new)?|writer\.lock"
)

HEADER_BYTES = 128


@dataclass(frozen=True)
class Array:
    """The type and shape that an array file must have."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def header(self) -> bytes:
        """The `.npy` header, version 1.0, of always 128 bytes, so that it can be written after the rows."""
        text = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {self.shape!r}, }}"
        return (
            b"\x93NUMPY\x01\x00"
            + (HEADER_BYTES - 10).to_bytes(2, "little")
            + text.ljust(HEADER_BYTES - 11).encode()
            + b"\n"
        )

    @property
    def bytes(self) -> int:
        """Size of the file, header included."""
        return HEADER_BYTES + math.prod(self.shape) * self.dtype.itemsize


def array(dtype: str, *shape: int) -> Array:
    """An array file of a little-endian type, such as '<f4'."""
    return Array(np.dtype(dtype), shape)


@dataclass(frozen=True)
class Layout:
    """What fixes the files of a segment: counts, and how vectors are stored.

    centroids: K, 0 where the segment has no codec (flat, or not one row).  list_bytes: of all inverted lists, 0 where
    the segment is too small to have any.  sketched: whether items have a sketch of their mean vector.
    """

    items: int
    vectors: int
    dim: int
    nbits: int
    centroids: int
    list_bytes: int
    ids_bytes: int
    keep_vectors: bool
    passages: bool
    sketched: bool

    @property
    def arrays(self) -> dict[str, Array]:
        """The `.npy` files that the segment must have."""
        files = {
            IDS_OFFSETS: array("<i8", self.items + 1),
            IDS_ORDER: array("<u4", self.items),
            IDS_RANKS: array("<u4", self.items),
            OFFSETS: array("<i8", self.items + 1),
        }
        if self.nbits == 0 or self.keep_vectors:
            files[VECTORS] = array("<f2", self.vectors, self.dim)
        if self.centroids:
            files[CODES] = array("<u2", self.vectors)
            files[RESIDUALS] = array("|u1", self.vectors, packed_bytes(self.dim, self.nbits))
            files[SCALES] = array("|u1", self.vectors)
        if self.sketched:
            files[SKETCHES] = array("|u1", self.items, packed_bytes(self.dim, SKETCH_BITS))
            files[SKETCH_SCALES] = array("|u1", self.items)
        if self.list_bytes:
            files[LISTS] = array("|u1", self.list_bytes)
            files[LISTS_OFFSETS] = array("<i8", self.centroids + 1)
        return files

    @property
    def files(self) -> set[str]:
        """All files that the segment must have besides segment.json."""
        return {IDS, *self.arrays, *((PASSAGES,) if self.passages else ())}


def packed_bytes(dim: int, nbits: int) -> int:
    """P: bytes of one packed residual."""
    return (dim * nbits + 7) // 8


def alive_array(items: int) -> Array:
    """The bitmap of items that are not deleted: bit i % 8 of byte i // 8, little-endian."""
    return array("|u1", (items + 7) // 8)


def segment_name(number: int) -> str:
    """The folder of the segment with this number."""
    return f"{number:04}"


def is_segment_name(name: str) -> bool:
    """Whether a name is one that `segment_name` gives: nothing else is ever opened as a segment's folder."""
    return _SEGMENT_NAME.fullmatch(name) is not None


def alive_name(segment: str, generation: int) -> str:
    """The file of a segment's alive bitmap, new with the generation that deletes."""
    return f"{segment}.alive.{generation}.npy"


def is_alive_name(name: str, segment: str) -> bool:
    """Whether a name is one that `alive_name` gives for this segment: nothing else is ever read as its bitmap."""
    return re.fullmatch(rf"{segment}\.alive\.[0-9]{{1,19}}\.npy", name) is not None


def gains_array(items: int) -> Array:
    """What sample queries gain on items, over their mean vectors and over their rough scores."""
    return array("<f2", 2, items)


def gains_name(segment: str, generation: int) -> str:
    """The file of a segment's gains, new with the generation that measures them."""
    return f"{segment}.gains.{generation}.npy"


def is_gains_name(name: str, segment: str) -> bool:
    """Whether a name is one that `gains_name` gives for this segment: nothing else is ever read as its gains."""
    return re.fullmatch(rf"{segment}\.gains\.[0-9]{{1,19}}\.npy", name) is not None


def sample_name(generation: int, part: str) -> str:
    """The file of a part of the sample queries: one of SAMPLE_PARTS."""
    return f"sample-{generation}.{part}.npy"


def is_codec_number(key: str) -> bool:
    """Whether a key of JSON is the number of a codec as it is written."""
    return re.fullmatch(r"0|[1-9][0-9]{0,18}", key) is not None


def codec_name(codec: int, part: str) -> str:
    """The file of a part of a codec: one of CODEC_PARTS."""
    return f"codec-{codec}.{part}.npy"


def is_own_entry(name: str) -> bool:
    """Whether an entry of an index's folder has a name that only an index gives; others are never removed."""
    return _OWN_ENTRY.fullmatch(name) is not None
