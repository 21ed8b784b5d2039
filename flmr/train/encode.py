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

from flmr.train.pictures import Sight
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
    """The passages and how their rows are made; pool: of so many rows one is made.

    sight: of their pictures, where the model makes rows of them.  picture_of: the picture row of each passage, -1 for
    none.
    """

    model: Any
    texts: TokenizedTexts
    pool: int = 1
    sight: Sight | None = None
    picture_of: np.ndarray | None = None

    def encode(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows (N, L, D), those that count first, and the mask (N, L) of them."""
        ids, attention = self.texts.take(rows)
        output = self.model.doc(input_ids=ids, attention_mask=attention, **self._vision(np.asarray(rows)))
        rows_NLD, mask_NL = without_masked(output.late_interaction_output, output.context_mask[..., 0])
        return pooled_rows(rows_NLD, mask_NL, self.pool)

    def _vision(self, rows: np.ndarray) -> dict[str, Any]:
        if self.sight is None or self.picture_of is None or not (self.picture_of[rows] >= 0).any():
            return {}
        pictures = np.maximum(
            self.picture_of[rows], 0
        )  # a passage without one borrows the first; the flag keeps it out
        summary_NV, _ = self.sight.features(pictures.tolist(), [0] * len(rows))
        summary_NV = F.dropout(summary_NV, self.sight.dropout, self.model.training)
        flags = (self.picture_of[rows] >= 0).tolist()
        return {"image_features": summary_NV, "concat_output_from_vision_encoder": flags}


@dataclass(frozen=True)
class QuerySide:
    """The questions of a set and how their rows are made.

    pictures_of: the picture rows of each question, its parts after the whole.  sight: of these pictures; None where
    none makes rows.  drops: (n, 2) the probability that training asks without the rows of the words, or of the
    pictures; 0 where the question has nothing else.  pool: of so many rows one is made, their sum.
    """

    model: Any
    texts: TokenizedTexts
    pictures_of: Sequence[tuple[int, ...]]
    sight: Sight | None = None
    drops: np.ndarray | None = None
    pool: int = 1

    def __len__(self) -> int:
        return len(self.pictures_of)

    @property
    def views(self) -> int:
        """How many views there are of each picture."""
        return self.sight.pictures.views if self.sight is not None else 1

    def switches(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """(B, 2) whether the words, and the pictures, of each question make rows in a step: one of them at least."""
        if self.drops is None:
            return None
        draws_B, (text_B, image_B) = rng.random(len(rows)), self.drops[rows].T
        return np.stack([draws_B >= text_B, draws_B < 1 - image_B], axis=1)

    def encode(self, rows: np.ndarray, views: np.ndarray, asked: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D), those that count first, and the mask (B, L) of them.

        views: (B,) which view of its pictures each question has.  asked: what `switches` drew; None leaves out only
        what is never asked with.
        """
        if asked is None:
            asked = self.drops[rows] < 1 if self.drops is not None else np.ones((len(rows), 2), bool)
        images_B = np.array([len(self.pictures_of[row]) for row in rows]) * asked[:, 1]
        if self.sight is None:
            images_B[:] = 0
        # The mapping network sees all images of a question at once, so those with as many are encoded together.
        different = np.unique(images_B[images_B > 0]).tolist() or [0]
        parts, order = [], []
        for images in different:
            chosen = (images_B == images) | ((images_B == 0) & (images == different[0]))
            parts.append(self._encode(rows[chosen], views[chosen], asked[chosen], images))
            order.append(np.flatnonzero(chosen))
        rows_BLD, mask_BL = parts[0] if len(parts) == 1 else _one_batch(parts, np.concatenate(order))
        return pooled_rows(rows_BLD, mask_BL, self.pool, sums=True)

    def _encode(self, rows: np.ndarray, views: np.ndarray, asked: np.ndarray, images: int) -> tuple[Tensor, Tensor]:
        """Questions that have so many images, or none that makes rows."""
        ids, attention = self.texts.take(rows.tolist())
        vision: dict[str, Any] = {}
        if images:
            own = [len(self.pictures_of[row]) == images for row in rows]
            # A question without pictures borrows the first to fill its place in the batch; the flag keeps it out.
            pictures = [self.pictures_of[row] if has else (0,) * images for row, has in zip(rows, own, strict=True)]
            vision = self._vision(np.array(pictures), views)
            pictured = np.array(own) & asked[:, 1]
            if not pictured.all():
                vision["concat_output_from_vision_encoder"] = pictured.tolist()
        if not asked[:, 0].all():
            vision["concat_output_from_text_encoder"] = asked[:, 0].tolist()
        output = self.model.query(input_ids=ids, attention_mask=attention, **vision)
        return without_masked(output.late_interaction_output, output.query_mask)

    def _vision(self, pictures_BR: np.ndarray, views: np.ndarray) -> dict[str, Any]:
        assert self.sight is not None
        B, R = pictures_BR.shape
        summary, patches = self.sight.features(pictures_BR.ravel().tolist(), np.repeat(views, R).tolist())
        summary = F.dropout(summary, self.sight.dropout, self.model.training)
        vision = {"image_features": summary.reshape(B, R, -1)}
        if self.model.config.use_transformer_mapping_network:
            patches = F.dropout(patches, self.sight.dropout, self.model.training)
            vision["patch_features"] = patches.reshape(B, R, *patches.shape[1:])
        return vision


def _one_batch(parts: Sequence[tuple[Tensor, Tensor]], order: np.ndarray) -> tuple[Tensor, Tensor]:
    """Parts of a batch as one, as wide as the widest of them; order: where each row of them stands in it."""
    widest = max(mask.shape[1] for _, mask in parts)
    rows = torch.cat([F.pad(rows, (0, 0, 0, widest - rows.shape[1])) for rows, _ in parts])
    mask = torch.cat([F.pad(mask, (0, widest - mask.shape[1])) for _, mask in parts])
    back = torch.from_numpy(np.argsort(order)).to(rows.device)
    return rows[back], mask[back]


def without_masked(rows_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that count moved to the front, in their order, and the width cut to the longest item.

    Instructions and punctuation make no rows, yet would take their share of every product: on public_kb this leaves out
    two fifths of the similarities.
    """
    longest = int(mask_BL.sum(1).max())
    order_BL = (~mask_BL).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    rows_BLD = rows_BLD.gather(1, order_BL[..., None].expand(-1, -1, rows_BLD.shape[2]))
    return rows_BLD, mask_BL.gather(1, order_BL)
