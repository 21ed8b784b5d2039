"""A real but tiny encoder for tests: a word is a fixed random direction, a region of a picture its colour's name.

It needs no model, so that tests of what stands above the encoders run anywhere; a red picture finds the word "red".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from flmr.errors import UnreadableImage
from flmr.images import load_image
from flmr.records import MultiVectors, Passage, Query, Region, Row

COLOURS = {"red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
GRID = 2  # regions a side
TEXTS = {  # one for each of them
    "coal": "coal is black and burns",
    "leaf": "a leaf is green and flat",
    "rose": "a rose is a red flower",
    "sky": "the clear sky is blue",
    "snow": "fresh snow is white and cold",
}


class HashEncoder:
    """Implements flmr.roles.Encoder with crc32 as its weights."""

    def __init__(self, dim: int = 32, *, seed: int = 0, name: str = "hash", encodes_images: bool = False) -> None:
        self.name, self.dim, self.encodes_images = name, dim, encodes_images
        self.fingerprint = f"{name}-{dim}-{seed}-fingerprint"
        self.passages_encoded = 0
        self._seed = seed

    def encode_queries(self, queries: Sequence[Query]) -> MultiVectors:
        return MultiVectors.from_list([self.explain_query(query)[2] for query in queries], dim=self.dim)

    def encode_passages(self, passages: Sequence[Passage]) -> MultiVectors:
        items = [self.explain_passage(passage)[2] for passage in passages]
        self.passages_encoded += len(items)
        return MultiVectors.from_list(items, dim=self.dim)

    def explain_query(self, query: Query) -> tuple[str, tuple[Row, ...], np.ndarray]:
        rows, words = self._text(query.text)
        if query.image is not None:
            try:
                more, colours = self._image(query.image)
            except UnreadableImage as error:
                raise UnreadableImage(f"query {query.id!r}: {error}") from None
            rows, words = rows + more, words + colours
        return query.text, tuple(rows), self._vectors(words)

    def explain_passage(self, passage: Passage) -> tuple[str, tuple[Row, ...], np.ndarray]:
        rows, words = self._text(passage.full_text)
        if self.encodes_images and passage.image is not None:
            more, colours = self._image(passage.image)
            rows, words = rows + more, words + colours
        return passage.full_text, tuple(rows), self._vectors(words)

    def _text(self, text: str) -> tuple[list[Row], list[str]]:
        found = list(re.finditer(r"\w+", text))
        rows = [Row("text", match.group().lower(), match.span()) for match in found]
        return [Row("text", "[CLS]"), *rows], ["[CLS]", *(row.label for row in rows)]

    def _image(self, source: object) -> tuple[list[Row], list[str]]:
        small = np.asarray(load_image(source).resize((GRID, GRID)), np.float32)  # type: ignore[arg-type]
        names = [_colour(pixel) for line in small for pixel in line]
        boxes = [Region(x / GRID, y / GRID, (x + 1) / GRID, (y + 1) / GRID) for y in range(GRID) for x in range(GRID)]
        regions = [Row("region", f"region {n}", region=box) for n, box in enumerate(boxes, start=1)]
        return [Row("image", "1"), *regions], [_colour(small.mean((0, 1))), *names]

    def _vectors(self, words: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(words), self.dim), np.float32)
        for row, word in zip(vectors, words, strict=True):
            drawn = np.random.default_rng([self._seed, zlib.crc32(word.encode())]).normal(size=self.dim)
            row[:] = drawn / np.linalg.norm(drawn)
        return vectors


def _colour(pixel: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: float(((pixel - np.array(COLOURS[name])) ** 2).sum()))
