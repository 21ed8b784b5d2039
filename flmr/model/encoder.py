"""FLMR as an encoder: queries and passages in, ragged multi-vectors out.

Knows how a record becomes text and pixels, how batches are cut so that little is padded, and where each row comes from.
Rows that the model masks are dropped: nothing after this knows masks.  Knows nothing of indexes; opens images through
flmr.images only.

Shapes: B items of a batch, L positions, D dimension, n rows of one item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from flmr.errors import InvalidInput, UnreadableImage
from flmr.model.flmr.checkpoint import canonical_state, digest_of
from flmr.model.flmr.config import own_fields
from flmr.model.flmr.tokenizers import Tokens
from flmr.model.image_processor import black_picture, crop, patch_regions, preprocess
from flmr.ops.pool import STRETCH, group
from flmr.records import ImageSource, MultiVectors, Passage, Query, Region, Row, all_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from flmr.model.flmr import FLMRContextEncoderTokenizer, FLMRModelForRetrieval, FLMRQueryEncoderTokenizer

DEFAULT_INSTRUCTIONS: Mapping[str, str] = {
    "text and image": "With the picture at hand, look up what answers the question",
    "text": "Find the text that answers what is asked",
    "image": "Find the text about what this picture shows",
}
"""What is asked where a query brings no instruction of its own (models that mask instructions only).

They are worded here, and no published checkpoint was trained with them: to ask one as in its training, give its queries
the instructions of its training data.  All three count in the fingerprint.
"""


class FLMREncoder:
    """An FLMR or PreFLMR model in the encoder's role; the model must not change once it is here.

    device: a GPU by default where there is one.  batch_size: items a forward pass.  default_instructions: for queries
    with "text and image", "text" or "image" alone.  pool_visual: of so many rows of a query's pictures one is made, the
    sum of a cluster; passages stay as they are, and so does the fingerprint.
    """

    def __init__(
        self,
        model: FLMRModelForRetrieval,
        query_tokenizer: FLMRQueryEncoderTokenizer,
        context_tokenizer: FLMRContextEncoderTokenizer,
        *,
        name: str = "flmr",
        device: str | None = None,
        batch_size: int = 32,
        default_instructions: Mapping[str, str] = DEFAULT_INSTRUCTIONS,
        pool_visual: int = 1,
    ) -> None:
        if batch_size < 1:
            raise InvalidInput(f"batch_size must be at least 1, not {batch_size}")
        self.name, self.batch_size, self.pool_visual = name, batch_size, pool_visual
        self.query_tokenizer, self.context_tokenizer = query_tokenizer, context_tokenizer
        self.default_instructions = dict(default_instructions)
        model.query_tokenizer, model.context_tokenizer = query_tokenizer, context_tokenizer
        self.model = model.eval().to(find_device(device))
        self.config = model.config
        self.dim = int(self.config.dim)
        self.encodes_images = bool(
            self.config.use_vision_encoder and self.config.context_concat_output_from_vision_encoder
        )
        self._check_pooling()

    def __repr__(self) -> str:
        return f"<FLMREncoder {self.name!r}: D={self.dim}, on {self.model.device}>"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the config's fields, the weights, the tokenizers and the default instructions; "flmr-..."."""
        fields = {**own_fields(self.config), "load_cpu_extension": None, "vision_model_version": None}
        if not fields["single_vector"]:
            del fields["single_vector"]  # indexes from before this field keep their encoder
        settings = {
            "config": fields,
            "query": self.query_tokenizer.describe(),
            "context": self.context_tokenizer.describe(),
            "instructions": self.default_instructions,
        }
        return f"flmr-{digest_of(settings, canonical_state(self.model, self.config))}"

    # --- queries ---------------------------------------------------------------------------------------------------

    def encode_queries(self, queries: Sequence[Query]) -> MultiVectors:
        """One item per query; raises UnreadableImage or InvalidInput naming the query."""
        queries = all_of(Query, queries, "queries")
        texts = [self.query_text(query) for query in queries]
        tokens = self._query_tokens(queries, texts)
        counts = [1 + len(query.regions) if query.image is not None else int(self.draws_black) for query in queries]
        items: list[np.ndarray] = [np.empty((0, self.dim), np.float32)] * len(queries)
        for count in sorted(set(counts), reverse=True):  # a batch has one number of images a query
            rows = [i for i, found in enumerate(counts) if found == count]
            for batch in batches(rows, max(1, self.batch_size // max(count, 1))):
                images = [self._query_images(queries[i]) for i in batch]
                found, visual = self._query_batch([tokens[i] for i in batch], images)
                for i, vectors in zip(batch, found, strict=True):
                    items[i] = self._pooled(vectors, visual)[0]
        return MultiVectors.from_list(items, dim=self.dim)

    def query_text(self, query: Query) -> str:
        """What is encoded as a query's text.

        Models that mask instructions: "<instruction>: <question>", with a default instruction where there is none and
        nothing after the mark where there is no question.  Others: the instruction, if any, and the question, framed by
        <BOQ> and <EOQ> where the tokenizer knows them and the text has none.
        """
        question, mark = query.text.strip(), self.config.mask_instruction_token
        if mark is not None:
            kind = "image" if not question else "text" if query.image is None else "text and image"
            instruction = query.instruction.strip().removesuffix(mark).rstrip() or self.default_instructions[kind]
            return f"{instruction}{mark} {question}".rstrip()
        return _framed(f"{query.instruction.strip()} {question}".strip(), "<BOQ>", "<EOQ>", self.query_tokenizer)

    def explain_query(self, query: Query) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text that was encoded, where each row comes from, and the rows: (n, D) float32."""
        text = self.query_text(query)
        tokens = self._query_tokens([query], [text])[0]
        images = self._query_images(query)
        (unpooled,), visual = self._query_batch([tokens], [images])
        vectors, clusters = self._pooled(unpooled, visual)
        config, rows = self.config, []
        if config.query_concat_output_from_text_encoder:
            ids_1L, _ = self._padded_queries([tokens])
            rows += self._text_rows(text, tokens, ids_1L[0], self.model.query_mask(ids_1L)[0])
        seen = self._visual_rows(images, query.regions)
        if clusters is not None:
            seen = _merged(seen, clusters)
        return text, self._sources([*rows, *seen], text), vectors

    def _query_tokens(self, queries: Sequence[Query], texts: Sequence[str]) -> list[Tokens]:
        length = self.query_tokenizer.query_maxlen
        tokens = self.query_tokenizer.tokenize_texts(texts, length)
        mark = self.config.mask_instruction_token
        if mark is not None:
            end_id = self.query_tokenizer.convert_tokens_to_ids(mark)
            for query, item in zip(queries, tokens, strict=True):
                if end_id not in item.ids:
                    raise InvalidInput(
                        f"query {query.id!r}: its instruction fills all {length} tokens of a query, so that nothing of "
                        "the question is left; shorten the instruction"
                    )
        return tokens

    @property
    def reads_images(self) -> bool:
        """Whether a query's pictures make rows."""
        return bool(self.config.use_vision_encoder and self.config.query_concat_output_from_vision_encoder)

    @property
    def draws_black(self) -> bool:
        """Whether a query without a picture is asked with a black one."""
        return self.reads_images and self.config.query_missing_image == "black"

    def _query_images(self, query: Query) -> list[Image]:
        """The picture of a query and the parts of it that it names, each an image of its own; a black one for none."""
        if query.image is None and not self.draws_black and not self.config.query_concat_output_from_text_encoder:
            raise InvalidInput(f"query {query.id!r} has no image, of which alone encoder {self.name!r} makes rows")
        if query.image is None:
            return [black_picture()] if self.draws_black else []
        if not self.reads_images:
            raise InvalidInput(
                f"query {query.id!r} has an image but encoder {self.name!r} reads text only; drop the image"
            )
        image = open_image(query.image, f"query {query.id!r}")
        return [image, *(crop(image, region) for region in query.regions)]

    def _padded_queries(self, tokens: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        ids_BL, mask_BL = self.query_tokenizer.pad_tokens(tokens, self.query_tokenizer.query_maxlen)
        # Where [MASK] makes no rows and nothing attends to it, a batch is as wide as its longest query.
        used_L = (mask_BL.bool() | self.model.query_mask(ids_BL)).any(0)
        width = int(used_L.nonzero()[-1]) + 1
        return ids_BL[:, :width], mask_BL[:, :width]

    @torch.inference_mode()
    def _query_batch(self, tokens: Sequence[Tokens], images: Sequence[Sequence[Image]]) -> tuple[list[np.ndarray], int]:
        """The rows of each query, and how many of them, the last ones, are of its images."""
        ids_BL, mask_BL = self._padded_queries(tokens)
        pixels = None
        if images[0]:
            pixels = preprocess([image for own in images for image in own], self.config)
            pixels = pixels.view(len(images), -1, *pixels.shape[1:]) if len(images[0]) > 1 else pixels
        output = self.model.query(ids_BL, mask_BL, pixels)
        text = ids_BL.shape[1] if self.config.query_concat_output_from_text_encoder else 0
        visual = 0 if pixels is None or self.config.single_vector else output.query_mask.shape[1] - text
        return _kept_rows(output.late_interaction_output, output.query_mask), visual

    def _check_pooling(self) -> None:
        """Raise InvalidInput unless rows of pictures can be pooled as is wanted."""
        factor = self.pool_visual
        if isinstance(factor, bool) or not isinstance(factor, int) or not 1 <= factor <= STRETCH:
            raise InvalidInput(f"pool_visual must be a whole number from 1 to {STRETCH:,}, not {factor!r}")
        if factor > 1 and (self.config.single_vector or not self.reads_images):
            makes = (
                "makes one vector of a query" if self.config.single_vector else "makes no rows of a query's pictures"
            )
            raise InvalidInput(f"encoder {self.name!r} {makes}, so there are no rows to pool; leave pool_visual out")

    def _pooled(self, rows_nD: np.ndarray, visual: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows with the `visual` last ones replaced by sums of clusters, and the cluster of each of those.

        Where the rows of a cluster match the same row of a passage, their sum adds to the score what they added.
        """
        if self.pool_visual == 1 or not visual:
            return rows_nD, None
        clusters = group(rows_nD[-visual:], self.pool_visual)
        sums_KD = np.zeros((int(clusters.max()) + 1, rows_nD.shape[1]), np.float32)
        np.add.at(sums_KD, clusters, rows_nD[-visual:])
        return np.concatenate([rows_nD[:-visual], sums_KD]), clusters

    # --- passages --------------------------------------------------------------------------------------------------

    def encode_passages(self, passages: Sequence[Passage]) -> MultiVectors:
        """One item per passage; raises UnreadableImage naming the passage."""
        return MultiVectors.from_list(self._encode_passages(all_of(Passage, passages, "passages")), dim=self.dim)

    def encode_passages_on_device(self, passages: Sequence[Passage]) -> list[torch.Tensor]:
        """The same as tensors (n, D) on the model's device, for an index that is built there."""
        return self._encode_passages(all_of(Passage, passages, "passages"), on_device=True)

    def _encode_passages(self, passages: list[Passage], *, on_device: bool = False) -> list[Any]:
        return self._encode_documents(
            [self.passage_text(passage) for passage in passages],
            [passage.image if self._has_image(passage) else None for passage in passages],
            [f"passage {passage.id!r}" for passage in passages],
            self.context_tokenizer.doc_maxlen,
            on_device=on_device,
        )

    def encode_documents(
        self,
        texts: Sequence[str],
        pictures: Sequence[ImageSource | np.ndarray | None],
        *,
        max_length: int,
        first: int = 0,
    ) -> MultiVectors:
        """Documents as the published indexing encodes them: texts as they are, with the rows of every picture.

        pictures: for each text an image, the features (V,) that the vision tower gives of one, or None.  max_length:
        tokens of a document, where the tokenizer's own limit is not lower.  first: the place of the first one.
        Raises UnreadableImage or InvalidInput naming the document by its place.
        """
        if any(picture is not None for picture in pictures) and not self.config.use_vision_encoder:
            raise InvalidInput(f"encoder {self.name!r} reads text only; leave the pictures out of the collection")
        names = [f"document {first + i}" for i in range(len(texts))]
        items = self._encode_documents(texts, pictures, names, min(max_length, self.context_tokenizer.doc_maxlen))
        return MultiVectors.from_list(items, dim=self.dim)

    def _encode_documents(
        self,
        texts: Sequence[str],
        pictures: Sequence[ImageSource | np.ndarray | None],
        names: Sequence[str],
        max_length: int,
        *,
        on_device: bool = False,
    ) -> list[Any]:
        """Batches hold one kind of picture, and are cut from documents sorted by length, so that little is padded."""
        self._check_rows(pictures, names)
        tokens = self.context_tokenizer.tokenize_texts(texts, max_length)
        items: list[Any] = [None] * len(texts)
        kinds = [None if picture is None else isinstance(picture, np.ndarray) for picture in pictures]
        for kind in (False, True, None):
            rows = [i for i, found in enumerate(kinds) if found is kind]
            rows.sort(key=lambda i: len(tokens[i].ids))
            for batch in batches(rows, self.batch_size):
                seen = None if kind is None else [self._seen(pictures[i], names[i]) for i in batch]
                found = self._passage_batch([tokens[i] for i in batch], seen, on_device=on_device)
                for i, vectors in zip(batch, found, strict=True):
                    items[i] = vectors
        return items

    def _check_rows(self, pictures: Sequence[object], names: Sequence[str]) -> None:
        """Raise InvalidInput naming the first document that has nothing the model makes rows of."""
        for picture, name in zip(pictures, names, strict=True):
            if picture is None and not self.config.context_concat_output_from_text_encoder:
                raise InvalidInput(
                    f"{name} has no picture, of which alone encoder {self.name!r} makes rows; leave it out"
                )

    def passage_text(self, passage: Passage) -> str:
        """What is encoded as a passage's text, framed by <BOK> and <EOK> where the tokenizer knows them."""
        return _framed(passage.full_text, "<BOK>", "<EOK>", self.context_tokenizer)

    def explain_passage(self, passage: Passage) -> tuple[str, tuple[Row, ...], np.ndarray]:
        """The text that was encoded, where each row comes from, and the rows: (n, D) float32."""
        text = self.passage_text(passage)
        self._check_rows([passage.image if self._has_image(passage) else None], [f"passage {passage.id!r}"])
        tokens = self.context_tokenizer.tokenize_texts([text], self.context_tokenizer.doc_maxlen)
        seen = [self._seen(passage.image, f"passage {passage.id!r}")] if self._has_image(passage) else None
        vectors = self._passage_batch(tokens, seen)[0]
        rows = self._image_rows() if seen else []
        if self.config.context_concat_output_from_text_encoder:
            ids_1L, _ = self.context_tokenizer.pad_tokens(tokens, len(tokens[0].ids))
            rows += self._text_rows(text, tokens[0], ids_1L[0], self.model.context_mask(ids_1L)[0])
        return text, self._sources(rows, text), vectors

    def _has_image(self, passage: Passage) -> bool:
        return self.encodes_images and passage.image is not None

    def _seen(self, picture: ImageSource | np.ndarray | None, whose: str) -> Image | torch.Tensor:
        """A document's picture, opened, or its features, checked."""
        assert picture is not None
        if not isinstance(picture, np.ndarray):
            return open_image(picture, whose)
        width = self.config.vision_config.hidden_size
        if picture.shape != (width,) or picture.dtype.kind not in "fiu":
            raise InvalidInput(f"{whose}: image features must be {width} numbers, not {picture.dtype} {picture.shape}")
        return torch.as_tensor(picture, dtype=self.model.dtype)

    @torch.inference_mode()
    def _passage_batch(
        self, tokens: Sequence[Tokens], seen: Sequence[Any] | None, *, on_device: bool = False
    ) -> list[Any]:
        ids_BL, mask_BL = self.context_tokenizer.pad_tokens(tokens, max(len(item.ids) for item in tokens))
        pixels = features = None
        if seen is not None and isinstance(seen[0], torch.Tensor):
            features = torch.stack(list(seen))
        elif seen is not None:
            pixels = preprocess(seen, self.config)
        output = self.model.doc(ids_BL, mask_BL, pixels, features, concat_output_from_vision_encoder=seen is not None)
        rows_BLD, mask_BL = output.late_interaction_output, output.context_mask[..., 0]
        if on_device:
            return list(rows_BLD[mask_BL].split(mask_BL.sum(1).tolist()))
        return _kept_rows(rows_BLD, mask_BL)

    # --- where rows come from --------------------------------------------------------------------------------------

    def _text_rows(self, text: str, tokens: Tokens, ids_L: torch.Tensor, keep_L: torch.Tensor) -> list[Row]:
        spans = [*tokens.spans, *[None] * (len(ids_L) - len(tokens.spans))]
        pieces = self.query_tokenizer.convert_ids_to_tokens(ids_L.tolist())
        return [
            Row("text", piece, span=span)
            for piece, span, keep in zip(pieces, spans, keep_L.tolist(), strict=True)
            if keep
        ]

    def _sources(self, rows: Sequence[Row], text: str) -> tuple[Row, ...]:
        """The rows, or the one that their mean makes, which is marked as all of the text."""
        return (Row("text", "mean of all rows", (0, len(text))),) if self.config.single_vector else tuple(rows)

    def _visual_rows(self, images: Sequence[Image], regions: Sequence[Region]) -> list[Row]:
        """Rows of a query's images as the model orders them: the prefix rows of all, then the patches of all."""
        places = [None, *regions][: len(images)]
        rows = []
        for n, place in enumerate(places):
            named = "" if place is None else f"region {n}, "
            kind: Literal["image", "region"] = "image" if place is None else "region"
            rows += [Row(kind, named + row.label, region=place) for row in self._image_rows()]
        if self.config.use_transformer_mapping_network:
            for n, (image, place) in enumerate(zip(images, places, strict=True)):
                named = "" if place is None else f"region {n}, "
                rows += [
                    Row("region", f"{named}patch {i}", region=patch if place is None else patch.inside(place))
                    for i, patch in enumerate(patch_regions(image.size, self.config))
                ]
        return rows

    def _image_rows(self) -> list[Row]:
        return [Row("image", f"image {i}") for i in range(self.config.mapping_network_prefix_length)]


def _merged(rows: Sequence[Row], clusters: np.ndarray) -> list[Row]:
    """One row for each cluster, named by the rows in it; a cluster of one row is that row."""
    merged = []
    for cluster in range(int(clusters.max()) + 1):
        members = [row for row, found in zip(rows, clusters, strict=True) if found == cluster]
        kind: Literal["image", "region"] = "region" if any(row.kind == "region" for row in members) else "image"
        merged.append(members[0] if len(members) == 1 else Row(kind, " + ".join(row.label for row in members)))
    return merged


def batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Rows, so many at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _kept_rows(rows_BLD: torch.Tensor, mask_BL: torch.Tensor) -> list[np.ndarray]:
    rows, masks = rows_BLD.float().cpu().numpy(), mask_BL.cpu().numpy()
    return [item[keep] for item, keep in zip(rows, masks, strict=True)]


def _framed(text: str, start: str, end: str, tokenizer: Any) -> str:
    """Text between two marks, where the tokenizer knows them as tokens and the text does not carry them yet."""
    known = start in tokenizer.get_added_vocab() and end in tokenizer.get_added_vocab()
    return f"{start} {text} {end}" if known and start not in text else text


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; without one a GPU where there is one.  Raises InvalidInput."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InvalidInput(f"device {name!r} is not known; use 'cpu', 'cuda' or what torch.device takes") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device {str(device)!r} was asked for, but torch sees no GPU; use 'cpu'")
    return device


def open_image(source: ImageSource, whose: str) -> Image:
    """An upright RGB picture; raises UnreadableImage naming whose it is."""
    from flmr.images import load_image

    try:
        return load_image(source)
    except UnreadableImage as error:
        raise UnreadableImage(f"{whose}: {error}") from error
