"""What another engine's index holds, as this one takes it: items of vectors in order, their ids, perhaps passages.

Knows the form that every importer gives.  Knows no engine's files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flmr.records import Passage


@dataclass(frozen=True)
class Foreign:
    """An index that another program wrote, opened.  Iterating gives its items, each (n, D), in bounded memory.

    nbits: bits a dimension it was stored with, 0 for whole vectors.  ids: None where its items are only numbered.
    left_out: items that it holds but would not find any more, which are not taken over.
    """

    kind: str
    path: Path
    dim: int
    nbits: int
    items: int
    vectors: Callable[[], Iterator[np.ndarray]]
    ids: Callable[[], Iterable[str]] | None = None
    passages: Callable[[], Iterator[Passage | None]] | None = None
    left_out: int = 0

    def __len__(self) -> int:
        return self.items

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.vectors()

    def facts(self) -> dict[str, Any]:
        """What it is, in words and numbers."""
        return {"kind": self.kind, "source": str(self.path), "source_nbits": self.nbits, "left_out": self.left_out}
