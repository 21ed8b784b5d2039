"""The published package's way to index and search: three functions with their published names, arguments and results.

Knows where the published engine keeps an index, what a collection may hold and what a ranking looks like; the work is
done by the encoder and the index.  A document is named by its place in the collection, from 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flmr.build import batches
from flmr.errors import AlreadyExists, InvalidInput, NotAnIndex
from flmr.index import Index, Searcher
from flmr.index.manifest import holds_index
from flmr.progress import reporting
from flmr.records import ImageSource, Passage
from flmr.retriever import record_of

if TYPE_CHECKING:
    from flmr.model.encoder import FLMREncoder

Document: TypeAlias = "tuple[str, ImageSource | np.ndarray | None]"

_PUBLISHED_FILES = ("plan.json", "metadata.json", "centroids.pt", "ivf.pid.pt")  # any of them: the published engine's
_BATCHES_AT_ONCE = 8  # documents are sorted by length among as many batches, so that little is padded


class Ranking:
    """What a search found: query id -> [(place in the collection, rank from 1, score)], best first."""

    def __init__(self, data: Mapping[Any, Sequence[tuple[Any, int, float]]]) -> None:
        self.data = {query_id: list(found) for query_id, found in data.items()}

    def todict(self) -> dict[Any, list[tuple[Any, int, float]]]:
        """{query id: [(place, rank, score)]}."""
        return dict(self.data)

    def tolist(self) -> list[tuple[Any, Any, int, float]]:
        """[(query id, place, rank, score)]."""
        return [(query_id, *hit) for query_id, found in self.data.items() for hit in found]

    def save(self, path: str | Path) -> str:
        """Write the list as tab-separated lines; returns the path."""
        lines = ("\t".join(map(str, row)) + "\n" for row in self.tolist())
        Path(path).write_text("".join(lines), encoding="utf-8")
        return str(path)


def index_custom_collection(
    custom_collection: Iterable[Any],
    model: Any,
    index_root_path: str | Path = ".",
    index_experiment_name: str = "default_experiment",
    index_name: str = "index",
    nbits: int = 8,
    doc_maxlen: int = 512,
    overwrite: bool = False,
    use_gpu: bool = True,
    indexing_batch_size: int = 64,
    model_temp_folder: str | Path = "tmp",
    nranks: int = 1,
) -> str:
    """Encode a collection and index it; returns the index's folder, ROOT/EXPERIMENT/indexes/NAME.nbits=N.

    custom_collection: texts, (text, image features (V,), None) or (text, None, image), also mixed.  model: an
    FLMRModelForRetrieval with its tokenizers, which is left as it was, or the name of a checkpoint.  doc_maxlen: tokens
    of a document, where the tokenizer's own limit is not lower.  use_gpu: encode on a GPU where there is one.
    An index that stands is kept unless overwrite is set.  model_temp_folder and nranks are taken and not needed: the
    model is not written out, and one process does the work.
    Raises InvalidInput or UnreadableImage naming the document, AlreadyExists, NotAvailable, CheckpointError.
    """
    path = _index_path(index_root_path, index_experiment_name, index_name, nbits)
    documents = _documents(custom_collection)
    if _is_published(path):
        raise AlreadyExists(f"{_take_over(path)}; or choose another index_name")
    if holds_index(path) and not overwrite:
        with Index.open(path) as index:
            if len(index) != len(documents):
                warnings.warn(
                    f"{path} is kept, with {len(index):,} documents; the collection has {len(documents):,}:"
                    " pass overwrite=True to index it",
                    stacklevel=2,
                )
        return str(path)
    with _encoder_of(model, use_gpu, indexing_batch_size) as encoder, reporting(True) as report:

        def rows() -> Iterator[np.ndarray]:
            done = 0
            for batch in batches(documents, indexing_batch_size * _BATCHES_AT_ONCE):
                texts, pictures = zip(*batch, strict=True)
                yield from encoder.encode_documents(texts, pictures, max_length=doc_maxlen, first=done)
                done += len(batch)
                report("encode", done, len(documents))

        Index.create(
            path,
            rows(),
            passages=(_passage(place, document) for place, document in enumerate(documents)),
            nbits=nbits,
            overwrite=overwrite,
            encoder=record_of(encoder),
            progress=report,
        ).close()
    return str(path)


def create_searcher(
    index_root_path: str | Path = ".",
    index_experiment_name: str = "default_experiment",
    index_name: str = "index",
    use_gpu: bool = True,
    nbits: int = 8,
) -> Searcher:
    """The index that `index_custom_collection` made with the same arguments, opened for searching.

    use_gpu is taken and changes nothing: the index is searched where its files are mapped.
    Raises NotAnIndex, which names `flmr import` where the folder is an index of the published engine.
    """
    path = _index_path(index_root_path, index_experiment_name, index_name, nbits)
    if _is_published(path):
        raise NotAnIndex(_take_over(path))
    if not path.exists():
        others = sorted(other.name for other in path.parent.glob("*.nbits=*"))
        raise NotAnIndex(
            f"{path} does not exist; make it with index_custom_collection"
            + (f", or open one of those beside it: {', '.join(others)}" if others else "")
        )
    with Index.open(path) as index:
        return index.searcher()


def search_custom_collection(
    searcher: Searcher,
    queries: Mapping[Any, str],
    query_embeddings: Any,
    num_document_to_retrieve: int = 100,
    remove_zero_tensors: bool = True,
    centroid_search_batch_size: int | None = None,
) -> Ranking:
    """The best documents of each query.

    queries: {query id: text}; the texts are not read.  query_embeddings: for each query its rows (L, D), as
    `model.query(...).late_interaction_output` (B, L, D) holds them, a tensor on any device or an array.
    remove_zero_tensors: leave out rows that are zero, which changes no score.  centroid_search_batch_size is taken and
    not needed.  Raises InvalidInput.
    """
    if not isinstance(searcher, Searcher):
        raise InvalidInput(f"searcher must come from create_searcher, not {type(searcher).__name__}")
    if not isinstance(queries, Mapping):
        raise InvalidInput(f"queries must be a dict from query ids to texts, not {type(queries).__name__}")
    rows = [_array(embeddings) for embeddings in query_embeddings]
    if len(rows) != len(queries):
        raise InvalidInput(f"{len(queries)} queries have {len(rows)} embeddings; give each query its own")
    for query_id, rows_LD in zip(queries, rows, strict=True):
        if rows_LD.ndim != 2:
            raise InvalidInput(f"the embeddings of query {query_id!r} must be (L, D), not {rows_LD.shape}")
        if not rows_LD.any():
            raise InvalidInput(f"query {query_id!r} has only zero rows; encode it with text or an image")
    if remove_zero_tensors:
        rows = [rows_LD[rows_LD.any(1)] for rows_LD in rows]
    found = searcher.search(rows, num_document_to_retrieve, passages=False) if rows else []
    return Ranking(
        {
            query_id: [(_place(hit.id), hit.rank, hit.score) for hit in hits]
            for query_id, hits in zip(queries, found, strict=True)
        }
    )


def _index_path(root: str | Path, experiment: str, name: str, nbits: int) -> Path:
    return Path(root) / experiment / "indexes" / f"{name}.nbits={nbits}"


def _is_published(path: Path) -> bool:
    return not holds_index(path) and any((path / name).exists() for name in _PUBLISHED_FILES)


def _take_over(path: Path) -> str:
    target = path.with_name(f"NAME{path.suffix}")
    return (
        f"{path} is an index of the published engine: `flmr import {path} --out {target}` takes it over, to be opened"
        " as index_name NAME"
    )


def _documents(collection: Iterable[Any]) -> list[Document]:
    if isinstance(collection, str | bytes | Path | Mapping) or not isinstance(collection, Iterable):
        raise InvalidInput(f"custom_collection must be a list of documents, not {type(collection).__name__}")
    documents = [_document(place, item) for place, item in enumerate(collection)]
    if not documents:
        raise InvalidInput("custom_collection is empty; an index needs at least one document")
    return documents


def _document(place: int, item: Any) -> Document:
    """A document's text and its picture.  Raises InvalidInput naming its place."""
    if isinstance(item, str):
        return item, None
    if not isinstance(item, tuple | list) or len(item) != 3 or not isinstance(item[0], str):
        raise InvalidInput(
            f"document {place} must be a text, (text, image features, None) or (text, None, image path), not"
            f" {item!r:.80}"
        )
    text, features, image = item
    if features is not None and image is not None:
        raise InvalidInput(f"document {place} has both image features and an image; give one of them")
    return text, image if features is None else _array(features)


def _passage(place: int, document: Document) -> Passage:
    text, picture = document
    return Passage(str(place), text, image=None if isinstance(picture, np.ndarray) else picture)


@contextmanager
def _encoder_of(model: Any, use_gpu: bool, batch_size: int) -> Iterator[FLMREncoder]:
    """The encoder of a checkpoint or of a model, which is as it was before once the block is left."""
    from flmr.model import load_encoder  # torch is needed only here
    from flmr.model.encoder import FLMREncoder

    device = None if use_gpu else "cpu"
    if isinstance(model, str | Path):
        encoder = load_encoder(model, device=device, batch_size=batch_size)
        if not isinstance(encoder, FLMREncoder):
            raise InvalidInput(f"{str(model)!r} is no FLMR checkpoint; index it with flmr.Retriever.build")
        yield encoder
        return
    tokenizers: list[Any] = [getattr(model, name, None) for name in ("query_tokenizer", "context_tokenizer")]
    if any(tokenizer is None for tokenizer in tokenizers):
        raise InvalidInput(
            "model must be the name of a checkpoint, or an FLMRModelForRetrieval with its query_tokenizer and"
            f" context_tokenizer, not {type(model).__name__}"
        )
    name = str(model.config.name_or_path or "flmr")
    name = str(Path(name).resolve()) if Path(name).is_dir() else name
    device_before, modes = model.device, {module: module.training for module in model.modules()}
    try:
        yield FLMREncoder(model, *tokenizers, name=name, device=device, batch_size=batch_size)
    finally:
        model.to(device_before)
        for module, training in modes.items():
            module.training = training


def _array(values: Any) -> np.ndarray:
    """A tensor of any type on any device, or what NumPy takes for an array, as an array."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values)


def _place(item_id: str) -> int | str:
    """The place in the collection; an index that was made in another way has ids of its own."""
    return int(item_id) if item_id.isdecimal() and str(int(item_id)) == item_id else item_id
