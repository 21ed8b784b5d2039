"""The ids of a segment: from row to id and back, without loading them.

Knows UTF-8, offsets and the sorted order.  Knows nothing of what the ids name.

Shapes: N items.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flmr.errors import CorruptIndex, InvalidInput
from flmr.index.manifest import RESTORE

MAX_ID_BYTES = 65_535
BISECTION_COST = 64  # looking up one id costs about as much as reading so many


@dataclass(frozen=True)
class Ids:
    """blob: (bytes,) uint8; offsets_N1: int64; order_N: uint32 rows by their id's UTF-8 bytes; ranks_N: its inverse.

    UTF-8 sorts as the strings do, code point by code point.
    """

    blob: np.ndarray
    offsets_N1: np.ndarray
    order_N: np.ndarray
    ranks_N: np.ndarray

    def __len__(self) -> int:
        return len(self.order_N)

    def __getitem__(self, row: int) -> str:
        try:
            return self._bytes(row).decode()
        except UnicodeDecodeError as error:
            raise CorruptIndex(f"the id of row {row} is damaged: {RESTORE}") from error

    def all(self) -> list[str]:
        """The ids of all rows, in order."""
        blob, offsets = self.blob.tobytes(), self.offsets_N1.tolist()
        try:
            return [blob[first:end].decode() for first, end in pairwise(offsets)]
        except UnicodeDecodeError as error:
            raise CorruptIndex(f"an id is damaged: {RESTORE}") from error

    def rows(self, item_id: str) -> list[int]:
        """The rows of an id: none, one, or several where items that were deleted before the commit had it too."""
        wanted = item_id.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(int(self.order_N[middle])) < wanted:
                low = middle + 1
            else:
                high = middle
        found = []
        while low < len(self) and self._bytes(row := int(self.order_N[low])) == wanted:
            found.append(row)
            low += 1
        return found

    def mask(self, item_ids: Set[str]) -> np.ndarray:
        """Which rows have one of these ids: (N,) bool."""
        mask_N = np.zeros(len(self), bool)
        if len(item_ids) * BISECTION_COST > len(self):
            mask_N[:] = np.fromiter(map(item_ids.__contains__, self.all()), bool, len(self))
        else:
            mask_N[[row for item_id in item_ids for row in self.rows(item_id)]] = True
        return mask_N

    def _bytes(self, row: int) -> bytes:
        if not 0 <= row < len(self):
            raise CorruptIndex(f"the order of the ids names row {row} of {len(self)}: {RESTORE}")
        return self.blob[int(self.offsets_N1[row]) : int(self.offsets_N1[row + 1])].tobytes()


def encode_ids(ids: Sequence[str]) -> Ids:
    """The arrays of a list of ids."""
    encoded = [item_id.encode() for item_id in ids]
    offsets_N1 = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets_N1[1:])
    order_N = np.array(sorted(range(len(ids)), key=encoded.__getitem__), np.uint32)
    ranks_N = np.empty(len(ids), np.uint32)
    ranks_N[order_N] = np.arange(len(ids), dtype=np.uint32)
    return Ids(np.frombuffer(b"".join(encoded), np.uint8), offsets_N1, order_N, ranks_N)


def checked_id(item_id: object) -> str:
    """The id itself; raises InvalidInput where it is no string that can be stored."""
    if not isinstance(item_id, str) or not item_id:
        raise InvalidInput(f"an id must be a non-empty string, not {item_id!r}; convert it with str()")
    try:
        size = len(item_id.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"id {item_id!r} cannot be written as UTF-8 (it holds half a surrogate pair)") from error
    if size > MAX_ID_BYTES:
        raise InvalidInput(f"id {item_id[:40]!r}... has {size:,} bytes; ids have at most {MAX_ID_BYTES:,}")
    return item_id
