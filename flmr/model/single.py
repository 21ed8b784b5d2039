"""CLIP or SigLIP in the encoder's role: one vector for each query and each passage.

Knows which of text and picture a record is encoded by: a passage by its picture where it has one (its text is then what
a reader gets), else by its text; a query by its text, its picture, or the mean of both.  Instructions are for models
that were trained with them, and are left out.  Knows nothing of indexes; opens images through flmr.images only.

Shapes: D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from flmr.errors import InvalidInput
from flmr.model.encoder import batches, find_device, open_image
from flmr.records import ImageSource, MultiVectors, Passage, Query, Row, all_of

if TYPE_CHECKING:
    from flmr.model.clip import Clip
    from flmr.model.siglip import Siglip


class SingleVectorEncoder:
    """Two towers that end in one space; an item without text and picture has no vector.

    device: a GPU by default where there is one.  batch_size: items a forward pass.
    """

    encodes_images = True

    def __init__(
        self, clip: Clip | Siglip, *, name: str = "clip", device: str | None = None, batch_size: int = 32
    ) -> None:
        if batch_size < 1:
            raise InvalidInput(f"batch_size must be at least 1, not {batch_size}")
        self.clip, self.name, self.batch_size = clip, name, batch_size
        self.clip.model.to(find_device(device))
        self.dim = clip.dim

    def __repr__(self) -> str:
        return f"<SingleVectorEncoder {self.name!r}: D={self.dim}>"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the towers, the tokenizer and the preparation of pictures; "clip-..." or "siglip-..."."""
        return f"{self.clip.kind}-{self.clip.fingerprint()}"

    def encode_queries(self, queries: Sequence[Query]) -> MultiVectors:
        """One item per query; raises UnreadableImage naming the query."""
        queries = all_of(Query, queries, "queries")
        for query in queries:
            if query.regions:
                raise InvalidInput(
                    f"query {query.id!r} names regions; {self.name!r} makes one vector of a picture: crop it"
                )
        texts = self._encode_texts([query.text for query in queries])
        pictures = self._encode_pictures([query.image for query in queries], [_name(query) for query in queries])
        items = [_mean(text, picture) for text, picture in zip(texts, pictures, strict=True)]
        return MultiVectors.from_list(items, dim=self.dim)

    def encode_passages(self, passages: Sequence[Passage]) -> MultiVectors:
        """One item per passage; raises UnreadableImage naming the passage."""
        passages = all_of(Passage, passages, "passages")
        texts = self._encode_texts(["" if passage.image is not None else passage.full_text for passage in passages])
        pictures = self._encode_pictures([p.image for p in passages], [_name(passage) for passage in passages])
        items = [_mean(text, picture) for text, picture in zip(texts, pictures, strict=True)]
        return MultiVectors.from_list(items, dim=self.dim)

    def explain_query(self, query: Query) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text that was encoded, where the row comes from, and the row: (1, D) float32."""
        vectors = self.encode_queries([query])[0]
        if query.image is None:
            return query.text, _text_row(query.text), vectors
        return query.text, (Row("image", "picture and text" if query.text.strip() else "picture"),), vectors

    def explain_passage(self, passage: Passage) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text of the passage, where the row comes from, and the row: (1, D) float32, or (0, D)."""
        text, vectors = passage.full_text, self.encode_passages([passage])[0]
        return text, (Row("image", "picture"),) if passage.image is not None else _text_row(text), vectors

    def _encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        """(1, D) of each text, (0, D) of one without words; texts of like length are encoded together."""
        vectors = [np.empty((0, self.dim), np.float32)] * len(texts)
        rows = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))
        for batch in batches(rows, self.batch_size):
            found = self.clip.embed_texts([texts[i] for i in batch]).cpu().numpy()
            for i, vector in zip(batch, found, strict=True):
                vectors[i] = vector[None]
        return vectors

    def _encode_pictures(self, sources: Sequence[ImageSource | None], names: Sequence[str]) -> list[np.ndarray]:
        vectors = [np.empty((0, self.dim), np.float32)] * len(sources)
        rows = [i for i, source in enumerate(sources) if source is not None]
        for batch in batches(rows, self.batch_size):
            images = [open_image(source, names[i]) for i in batch if (source := sources[i]) is not None]
            for i, vector in zip(batch, self.clip.embed_images(images).cpu().numpy(), strict=True):
                vectors[i] = vector[None]
        return vectors


def _mean(text: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """What there is of two (1, D) rows; of both their mean, of length 1 as they are."""
    if not len(text) or not len(picture):
        return np.concatenate([text, picture])
    total = text + picture
    mean: np.ndarray = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return mean


def _name(record: Query | Passage) -> str:
    return f"{type(record).__name__.lower()} {record.id!r}"


def _text_row(text: str) -> tuple[Row, ...]:
    return (Row("text", text, span=(0, len(text))),) if text.strip() else ()
