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
TOGETHER = 16  # so many ids are looked up faster together than one by one
COMPARED_BYTES = 1 << 20  # of ids that are looked up together


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

    def find(self, item_ids: Sequence[str], alive_N: np.ndarray | None) -> dict[str, int]:
        """The row of each id that has one that is alive (None: all are)."""
        if len(item_ids) < TOGETHER:
            each = {item_id: self.rows(item_id) for item_id in item_ids}
            alive = {
                item_id: [row for row in rows if alive_N is None or alive_N[row]] for item_id, rows in each.items()
            }
            return {item_id: rows[0] for item_id, rows in alive.items() if rows}
        wanted = sorted(set(item_ids), key=len)  # so that a long id makes few others long
        found: dict[str, int] = {}
        first = 0
        while first < len(wanted):
            encoded: list[bytes] = []
            width = 1
            for item_id in wanted[first:]:
                data = item_id.encode("utf-8", "surrogatepass")
                if encoded and (len(encoded) + 1) * max(width, len(data) + 1) > COMPARED_BYTES:
                    break
                encoded.append(data)
                width = max(width, len(data) + 1)
            places, rows = self._find_together(encoded, width, alive_N)
            found.update(
                {wanted[first + place]: row for place, row in zip(places.tolist(), rows.tolist(), strict=True)}
            )
            first += len(encoded)
        return found

    def mask(self, item_ids: Set[str]) -> np.ndarray:
        """Which rows have one of these ids: (N,) bool."""
        mask_N = np.zeros(len(self), bool)
        if len(item_ids) * BISECTION_COST > len(self):
            mask_N[:] = np.fromiter(map(item_ids.__contains__, self.all()), bool, len(self))
        else:
            mask_N[[row for item_id in item_ids for row in self.rows(item_id)]] = True
        return mask_N

    def _find_together(
        self, wanted: list[bytes], width: int, alive_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bisection of `rows` for many ids in step: which of them are there and alive, and their rows."""
        joined = np.frombuffer(b"".join(wanted), np.uint8)
        ends = np.cumsum([len(item) for item in wanted])
        wanted_BW = _columns(joined, np.concatenate(([0], ends[:-1])), ends, width)
        low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(self), np.int64)
        while (open_B := np.flatnonzero(low < high)).size:
            middle = (low[open_B] + high[open_B]) // 2
            before = self._compared(middle, wanted_BW[open_B]) < 0
            low[open_B[before]] = middle[before] + 1
            high[open_B[~before]] = middle[~before]
        places, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        left = np.arange(len(wanted))
        while left.size:  # an id may have rows that were deleted before they were committed, and one that lives
            left = left[low[left] < len(self)]
            left = left[self._compared(low[left], wanted_BW[left]) == 0]
            here = self.order_N[low[left]].astype(np.int64)
            lives = np.ones(len(left), bool) if alive_N is None else alive_N[here]
            places.append(left[lives])
            rows.append(here[lives])
            left = left[~lives]
            low[left] += 1
        return np.concatenate(places), np.concatenate(rows)

    def _compared(self, places: np.ndarray, wanted_BW: np.ndarray) -> np.ndarray:
        """Below 0 where the id at a place of the order comes before the one that is wanted, 0 where it is it: int."""
        rows = self.order_N[places].astype(np.int64)
        if len(rows) and int(rows.max()) >= len(self):
            raise CorruptIndex(f"the order of the ids names row {int(rows.max())} of {len(self)}: {RESTORE}")
        starts, ends = self.offsets_N1[rows], self.offsets_N1[rows + 1]
        if (starts < 0).any() or (ends < starts).any() or (ends > len(self.blob)).any():
            raise CorruptIndex(f"the offsets of the ids do not rise: {RESTORE}")
        stored_BW = _columns(self.blob, starts, ends, wanted_BW.shape[1])
        differ = (stored_BW != wanted_BW).argmax(axis=1)[:, None]
        signs: np.ndarray = np.take_along_axis(stored_BW, differ, 1) - np.take_along_axis(wanted_BW, differ, 1)
        return signs[:, 0]

    def _bytes(self, row: int) -> bytes:
        if not 0 <= row < len(self):
            raise CorruptIndex(f"the order of the ids names row {row} of {len(self)}: {RESTORE}")
        return self.blob[int(self.offsets_N1[row]) : int(self.offsets_N1[row + 1])].tobytes()


def _columns(blob: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> np.ndarray:
    """The first `width` bytes of some strings, each plus 1, then 0: (B, width) int16, which compares as they do."""
    if not len(blob):
        return np.zeros((len(starts), width), np.int16)
    places = starts[:, None] + np.arange(width)
    inside = places < ends[:, None]
    columns_BW: np.ndarray = np.where(inside, blob[np.where(inside, places, 0)].astype(np.int16) + 1, 0)
    return columns_BW.astype(np.int16)


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
