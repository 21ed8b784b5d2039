"""Questions and passages of the data set as rows of the model, batch by batch.

Knows token ids, pictures and views, and which towers' outputs are at hand already; every row is made by the model's own
`query` and `doc`.  Knows nothing of losses.

Shapes: B queries, N documents, L positions or rows, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from flmr.train.pictures import Pictures, SplitTower, StoredViews
from flmr.train.pooling import pooled_rows


@dataclass(frozen=True)
class TokenizedTexts:
    """The ids of every text, padded together: ids (n, L) and attention (n, L), int64; lengths (n,) without padding."""

    ids: Tensor
    attention: Tensor
    lengths: np.ndarray

    @classmethod
    def of(
        cls, tokenizer: Any, texts: Sequence[str], rows_of: Callable[[Tensor], Tensor] | None = None
    ) -> TokenizedTexts:
        """Tokenise as the encoder would.

        rows_of: which ids make rows; what makes none and is not attended to becomes padding.
        """
        encoding = tokenizer(list(texts))
        ids, attention = encoding["input_ids"], encoding["attention_mask"]
        # Padding of documents is id 0; queries are filled with [MASK], which makes rows unless the model skips it.
        if rows_of is not None:
            ids = ids.where(attention.bool() | rows_of(ids), 0)
        lengths = (ids != 0).sum(1).numpy()
        longest = int(lengths.max(initial=1))
        return cls(ids[:, :longest], attention[:, :longest], lengths)

    def take(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Ids and attention of some texts, as wide as the longest of them."""
        index = torch.as_tensor(np.asarray(rows, np.int64))
        width = int(self.lengths[np.asarray(rows)].max())
        return self.ids[index, :width], self.attention[index, :width]


@dataclass(frozen=True)
class PassageSide:
    """The passages and how their rows are made; pool: of so many rows one is made."""

    model: Any
    texts: TokenizedTexts
    pool: int = 1

    def encode(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows (N, L, D), those that count first, and the mask (N, L) of them."""
        ids, attention = self.texts.take(rows)
        output = self.model.doc(input_ids=ids, attention_mask=attention)
        rows_NLD, mask_NL = without_masked(output.late_interaction_output, output.context_mask[..., 0])
        return pooled_rows(rows_NLD, mask_NL, self.pool)


@dataclass(frozen=True)
class QuerySide:
    """The questions of a set and how their rows are made.

    picture_of: the picture row of each question, -1 for none.  stored: what the part of the vision tower that does not
    move made of each picture and view; None where pixels go through the whole tower in every step.  dropout: share of
    the features that training leaves out.  drops: (n, 2) the probability that training asks without the rows of the
    words, or of the picture; 0 where the question has nothing else.  pool: of so many rows one is made, their sum.
    """

    model: Any
    texts: TokenizedTexts
    picture_of: np.ndarray
    pictures: Pictures | None
    tower: SplitTower | None
    stored: StoredViews | None
    dropout: float = 0.0
    drops: np.ndarray | None = None
    pool: int = 1

    @property
    def views(self) -> int:
        """How many views there are of each picture."""
        return self.pictures.views if self.pictures is not None else 1

    def switches(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """(B, 2) whether the words, and the picture, of each question make rows in a step: one of them at least."""
        if self.drops is None:
            return None
        draws_B, (text_B, image_B) = rng.random(len(rows)), self.drops[rows].T
        return np.stack([draws_B >= text_B, draws_B < 1 - image_B], axis=1)

    def encode(self, rows: np.ndarray, views: np.ndarray, asked: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D), those that count first, and the mask (B, L) of them.

        views: (B,) which view of its picture each question has.  asked: what `switches` drew; None leaves out only what
        is never asked with.
        """
        ids, attention = self.texts.take(rows.tolist())
        if asked is None and self.drops is not None:
            asked = self.drops[rows] < 1
        pictured = self.picture_of[rows] >= 0
        if asked is not None:
            pictured &= asked[:, 1]
        vision: dict[str, Any] = {}
        if pictured.any():
            # A question without a picture borrows picture 0 to fill its place in the batch; the flag keeps it out.
            vision = self._vision(np.maximum(self.picture_of[rows], 0), views)
            if not pictured.all():
                vision["concat_output_from_vision_encoder"] = pictured.tolist()
        if asked is not None and not asked[:, 0].all():
            vision["concat_output_from_text_encoder"] = asked[:, 0].tolist()
        output = self.model.query(input_ids=ids, attention_mask=attention, **vision)
        rows_BLD, mask_BL = without_masked(output.late_interaction_output, output.query_mask)
        return pooled_rows(rows_BLD, mask_BL, self.pool, sums=True)

    def _vision(self, pictures: np.ndarray, views: np.ndarray) -> dict[str, Any]:
        assert self.pictures is not None and self.tower is not None
        if self.stored is None:
            pixels = self.pictures.pixels(pictures.tolist(), views.tolist()).to(self.model.device)
            seen = self.model.query_vision_encoder(pixels)
            summary_BV, patches_BNV = seen.summary, seen.patches
        else:
            kept = self.stored.take(pictures.tolist(), views.tolist(), self.model.device)
            summary_BV, patches_BNV = self.tower.rest(kept)
        summary_BV = F.dropout(summary_BV, self.dropout, self.model.training)
        if not self.model.config.use_transformer_mapping_network:
            return {"image_features": summary_BV}
        patches_BNV = F.dropout(patches_BNV, self.dropout, self.model.training)
        return {"image_features": summary_BV, "patch_features": patches_BNV}


def without_masked(rows_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that count moved to the front, in their order, and the width cut to the longest item.

    Instructions and punctuation make no rows, yet would take their share of every product: on public_kb this leaves out
    two fifths of the similarities.
    """
    longest = int(mask_BL.sum(1).max())
    order_BL = (~mask_BL).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    rows_BLD = rows_BLD.gather(1, order_BL[..., None].expand(-1, -1, rows_BLD.shape[2]))
    return rows_BLD, mask_BL.gather(1, order_BL)
