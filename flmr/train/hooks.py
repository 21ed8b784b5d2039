"""A retriever's parts for a training loop: questions with gradient, an index to search, rows to score, texts to read.

Knows one encoder whose weights may move and one index of its passages.  Knows no reader, no loss and no optimiser.

What a step of retrieval-augmented training does, in the order of the methods: `query`, `search`, `passage_rows` (or
`encode_passages`), `score`, `texts`; `refresh` every so often where passages move too.  `read_static_results` stands in
for a search where retrieval was done before.
"""

# B questions, K passages of each, L rows, D dimension.

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from flmr.errors import InvalidInput, InvalidRecord
from flmr.evaluate import Run, read_run
from flmr.index import Index, SearchParams
from flmr.model.encoder import FLMREncoder
from flmr.ops.maxsim import maxsim_pairs
from flmr.records import Hit, MultiVectors, Passage, Query
from flmr.retriever import Retriever
from flmr.train.encode import PassageSide, QuerySide, TokenizedTexts
from flmr.train.pictures import Album, Picture, Pictures, Sight, SplitTower, with_black
from flmr.train.recipe import AugmentRecipe


class RetrieverHooks:
    """An index of passages, and the model that made it, whose questions pass gradients; a context manager.

    index: of `Retriever.build` with this encoder, passages stored.  The modes (`model.train()`) are the caller's.
    """

    def __init__(self, encoder: FLMREncoder, index: Index) -> None:
        if encoder.pool_visual != 1:
            raise InvalidInput(
                "gradients go through all rows of a query's pictures; load the encoder without pool_visual"
            )
        self.encoder, self.index = encoder, index
        self.model: Any = encoder.model

    @classmethod
    def build(
        cls, passages: Iterable[Passage], path: str | Path, encoder: FLMREncoder, *, nbits: int = 0, **options: Any
    ) -> RetrieverHooks:
        """Encode passages and index them at `path`; options and errors as in `Retriever.build`."""
        options = {"progress": False, **options}
        return cls(encoder, Retriever.build(passages, path, encoder, nbits=nbits, **options).index)

    def query(self, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D) of queries, differentiable, and the mask (B, L) of those that count.

        Raises UnreadableImage, and InvalidInput where there is a picture that the encoder cannot read.
        """
        encoder = self.encoder
        if not encoder.reads_images and any(query.image is not None for query in queries):
            raise InvalidInput(f"encoder {encoder.name!r} reads text only; drop the pictures of the queries")
        rows_of = None if self.model.config.use_transformer_mapping_network else self.model.query_mask
        texts = TokenizedTexts.of(encoder.query_tokenizer, [encoder.query_text(query) for query in queries], rows_of)
        album = Album()
        pictures_of = tuple(album.rows(query.image, query.regions) for query in queries)
        pictures = tuple(album.pictures)
        if encoder.draws_black:
            pictures, pictures_of = with_black(pictures, pictures_of)
        side = QuerySide(self.model, texts, pictures_of, self._sight(pictures, "query"))
        return side.encode(np.arange(len(queries)), np.zeros(len(queries), np.int64))

    def search(
        self, rows_BLD: Tensor, mask_BL: Tensor, k: int, *, params: SearchParams | None = None, passages: bool = False
    ) -> list[list[Hit]]:
        """The k best hits of each query, by its rows as they are now; no gradient.

        Raises InvalidInput where the index has fewer than k passages that can be found.
        """
        if k > len(self.index):
            raise InvalidInput(f"{k} passages a question are wanted, but the index holds {len(self.index)}; ask fewer")
        arrays = [rows[mask].numpy() for rows, mask in zip(rows_BLD.detach().float().cpu(), mask_BL.cpu(), strict=True)]
        vectors = MultiVectors.from_list(arrays, dim=self.index.dim)
        found = self.index.search(vectors, k, params=params, passages=passages)
        if any(len(hits) < k for hits in found):
            raise InvalidInput(f"a search for {k} passages found {min(map(len, found))}; some passages have no rows")
        return found

    def passage_rows(self, ids_BK: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Rows (B, K, L, D) of passages as the index stores them and the mask (B, K, L); no gradient.

        Every question has as many ids.  Raises UnknownId.
        """
        flat = [passage for ids in ids_BK for passage in ids]
        stored = {passage: torch.from_numpy(np.array(self.index.vectors(passage))) for passage in dict.fromkeys(flat)}
        rows = pad_sequence([stored[passage] for passage in flat], batch_first=True).to(self.model.device)
        lengths = torch.tensor([len(stored[passage]) for passage in flat], device=rows.device)
        mask = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
        return _by_question(rows, len(ids_BK)), _by_question(mask, len(ids_BK))

    def encode_passages(self, ids_BK: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """The same from the passages and the model as it is now: differentiable.  Raises UnknownId, InvalidInput.

        A passage that several questions read is encoded once.
        """
        flat = [passage for ids in ids_BK for passage in ids]
        different = list(dict.fromkeys(flat))
        passages = self._readable_again([self._passage(passage) for passage in different])
        texts = TokenizedTexts.of(self.encoder.context_tokenizer, [self.encoder.passage_text(own) for own in passages])
        album = Album()
        pictures_of = [album.rows(own.image if self.encoder.encodes_images else None) for own in passages]
        sight = self._sight(album.pictures, "context")
        side = PassageSide(self.model, texts, 1, sight, np.array([own[0] if own else -1 for own in pictures_of]))
        rows, mask = side.encode(range(len(different)))
        places = torch.tensor([different.index(passage) for passage in flat], device=rows.device)
        return _by_question(rows[places], len(ids_BK)), _by_question(mask[places], len(ids_BK))

    def score(self, rows_BLD: Tensor, mask_BL: Tensor, rows_BKLD: Tensor, mask_BKL: Tensor) -> Tensor:
        """MaxSim (B, K) of each question with its own passages; differentiable in both."""
        return maxsim_pairs(rows_BLD.float(), rows_BKLD.float(), query_mask=mask_BL, document_mask=mask_BKL)

    def texts(self, ids_BK: Sequence[Sequence[str]]) -> list[list[str]]:
        """Title and text of the passages.  Raises UnknownId."""
        return [[self._passage(passage).full_text for passage in ids] for ids in ids_BK]

    def refresh(self, path: str | Path | None = None) -> None:
        """Encode all passages with the model as it is now and index them again, by default in the same place.

        The model's modes are left as they were.
        """
        training = {module: module.training for module in self.model.modules()}
        passages = self._readable_again([self._passage(passage) for passage in self.index.ids()])
        encoder = FLMREncoder(
            self.model,
            self.encoder.query_tokenizer,
            self.encoder.context_tokenizer,
            name=self.encoder.name,
            device=str(self.model.device),
            batch_size=self.encoder.batch_size,
            default_instructions=self.encoder.default_instructions,
        )
        nbits, place = self.index.info()["nbits"], Path(path or self.index.path)
        self.index.close()
        self.index = Retriever.build(passages, place, encoder, nbits=nbits, overwrite=True, progress=False).index
        self.encoder = encoder
        for module, mode in training.items():
            module.training = mode

    def _sight(self, pictures: Sequence[Picture], side: str) -> Sight | None:
        if not pictures:
            return None
        seen = Pictures(pictures, self.model.config.vision_config, AugmentRecipe(), seed=0)
        return Sight(seen, SplitTower(getattr(self.model, f"{side}_vision_encoder"), None))

    def _readable_again(self, passages: list[Passage]) -> list[Passage]:
        """The same; raises InvalidInput where the model looks at pictures that the index does not hold."""
        lost = self.index.info()["images_not_stored"] if self.encoder.encodes_images else 0
        if lost:
            raise InvalidInput(
                f"{lost:,} pictures of passages came without a path, so that they cannot be encoded again; give paths"
            )
        return passages

    def close(self) -> None:
        """Release the index."""
        self.index.close()

    def __enter__(self) -> RetrieverHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _passage(self, passage_id: str) -> Passage:
        passage = self.index.passage(passage_id)
        if passage is None:
            raise InvalidInput(f"the index stores no text for {passage_id!r}; build it with passages")
        return passage


def read_static_results(path: str | Path) -> Run:
    """Retrieval done before: question id -> (passage id, score), best first.

    A TREC run, or JSON as RA-VQA keeps it: `{question_id: [{"passage_id": ..., "score": ...}, ...]}`.
    Raises InvalidRecord, and what `read_run` raises.
    """
    path = Path(path)
    if path.suffix != ".json":
        return read_run(path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        run = {str(q): [(str(hit["passage_id"]), float(hit["score"])) for hit in hits] for q, hits in table.items()}
    except OSError as error:
        raise InvalidRecord(f"static results {os.fspath(path)!r} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRecord(
            f"static results {os.fspath(path)!r} are not {{question_id: [{{passage_id, score}}, ...]}}:"
            f" {type(error).__name__} {error}"
        ) from None
    return {question: sorted(hits, key=lambda hit: -hit[1]) for question, hits in run.items()}


def _by_question(items: Tensor, count: int) -> Tensor:
    return items.reshape(count, len(items) // count, *items.shape[1:])
