"""Who acts on the records: an encoder turns them into multi-vectors, a reranker reorders hits, a reader answers.

Knows the methods that each role promises.  Knows no implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from flmr.records import Answer, Hit, MultiVectors, Passage, Query, Row


@runtime_checkable
class Encoder(Protocol):
    """Turns queries and passages into multi-vectors of one dimension.

    name: what `flmr.load_encoder` loads it by.
    encodes_images: whether a passage's image takes part in its vectors (else it is never opened).
    """

    name: str
    dim: int
    encodes_images: bool

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same input would give other vectors; may cost a pass over the weights."""
        ...

    def encode_queries(self, queries: Sequence[Query]) -> MultiVectors:
        """One item per query, rows in the order of `explain_query`; raises UnreadableImage naming the query."""
        ...

    def encode_passages(self, passages: Sequence[Passage]) -> MultiVectors:
        """One item per passage, rows in the order of `explain_passage`."""
        ...

    def explain_query(self, query: Query) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text that was encoded, where each row comes from, and the rows: (n, D) float32."""
        ...

    def explain_passage(self, passage: Passage) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text that was encoded, where each row comes from, and the rows: (n, D) float32."""
        ...


@runtime_checkable
class DeviceEncoder(Protocol):
    """What an encoder may offer besides: passages' rows that stay on its device, for an index that is built there."""

    def encode_passages_on_device(self, passages: Sequence[Passage]) -> Sequence[Any]:
        """As `encode_passages`, a torch tensor (n, D) for each passage, all on one device."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders the hits of one query."""

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, best first, ranks renumbered from 1."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Answers a query from passages."""

    def answer(self, query: Query, hits: Sequence[Hit]) -> Answer:
        """The answer and the hits that were read."""
        ...
