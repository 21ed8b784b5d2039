"""Retriever: an encoder and an index, the one way to search with words and pictures.

Knows that an index was built by one encoder and refuses any other; adds, deletes and explains through the same two.
Knows no model, no file format and no metric.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, tee
from pathlib import Path
from typing import Any

from flmr.build import DEFAULT_BATCH, Account, IndexRecipe, batches, encode_stream, open_passages
from flmr.data import TaskSplit
from flmr.errors import AlreadyExists, EncoderMismatch, InvalidInput, UnreadableImage
from flmr.hybrid import Hybrid, HybridSearcher
from flmr.index import Index, SearchParams
from flmr.index.manifest import holds_index
from flmr.index.sample import SAMPLE_QUERIES, spread
from flmr.index.settings import SCAN_VECTORS
from flmr.journal import Journal, journal_folder
from flmr.ops.arrays import Device, checked_device
from flmr.progress import reporting
from flmr.recipe import to_table
from flmr.records import Explanation, Hit, MultiVectors, Passage, Query, Question
from flmr.roles import Encoder

SAMPLE_WORDS = 8  # of a title or text: about as many as a question has

Progress = bool | Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class SearchRun:
    """The answers to many questions: query id -> (passage id, score) best first, and the seconds they took.

    unreadable: query id -> why its image was refused; such a query has no hits in the run.
    """

    run: dict[str, list[tuple[str, float]]]
    unreadable: dict[str, str] = field(default_factory=dict)
    encode_s: float = 0.0
    search_s: float = 0.0


class Retriever:
    """An open index with its encoder; a context manager.  Made by `build` or `open`."""

    def __init__(self, index: Index, encoder: Encoder | None = None, *, pool_visual: int | None = None) -> None:
        if not isinstance(index, Index):
            raise InvalidInput(f"a Retriever takes an open Index, not {type(index).__name__}: use Retriever.open(path)")
        self.index = index
        self._encoder = encoder
        self._pool_visual = pool_visual  # of an encoder that is not loaded yet
        self._hybrid: HybridSearcher | None = None  # of the last commit that was searched by words too
        if encoder is not None:
            check_encoder(index, encoder)

    @classmethod
    def build(
        cls,
        passages: Iterable[Passage] | str | Path | TaskSplit,
        path: str | Path,
        encoder: Encoder | str | Path,
        *,
        nbits: int = 2,
        batch_size: int = DEFAULT_BATCH,
        keep_vectors: bool = False,
        pool: int = 1,
        seed: int = 0,
        device: Device = "cpu",
        sample_queries: Sequence[Query | str] | None = None,
        image_folder: str | Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
        strict: bool = False,
        recipe: dict[str, Any] | None = None,
        account: Account | None = None,
        progress: Progress = True,
    ) -> Retriever:
        """Encode passages (an iterable, a JSONL or Parquet file, a task's split) in a stream and index them at `path`.

        Encoded batches are kept in `PATH.encoding` until the index stands, and a build that was interrupted is taken up
        there: the index is the same as that of an uninterrupted one.  resume=True also opens an index that stands
        already, and refuses to start again where another encoder or batch size was at work.
        nbits, keep_vectors, pool, seed, device: how rows are stored, see `Index.create`.
        sample_queries: 16 or more queries as they will be asked, from which the index learns how little a search has to
        look at, see `calibrate`.  None: the first words of passages stand in for them, where the index is not so small
        that a search looks at everything, and where the encoder takes queries without an image.
        Bad lines and unreadable images are left out and entered in `account`; strict=True raises instead.
        Raises AlreadyExists, InvalidInput (nothing to index, a wrong nbits or pool), DuplicateId, StorageError.
        """
        path = Path(path).expanduser()
        if holds_index(path) and not overwrite:
            if resume:
                return cls.open(path, encoder, device=device)
            raise AlreadyExists(f"{path} holds an index already; choose another folder or ask to overwrite it")
        checked_device(device)
        encoder = _loaded(encoder)
        account = account if account is not None else Account()
        with reporting(progress) as report:
            source, total = open_passages(passages, strict=strict, account=account, image_folder=image_folder)
            with Journal(journal_folder(path), encoder, batch_size, resume=resume) as journal:
                pairs = encode_stream(
                    source,
                    encoder,
                    batch_size=batch_size,
                    strict=strict,
                    account=account,
                    report=report,
                    total=total,
                    journal=journal,
                    device=device,
                )
                for_vectors, for_ids, for_passages = tee(_not_empty(pairs, passages, account), 3)
                sample = _Sample(encoder, sample_queries, seed)
                index = Index.create(
                    path,
                    (rows for _, rows in for_vectors),
                    (passage.id for passage, _ in for_ids),
                    (sample.looked_at(passage, rows) for passage, rows in for_passages),
                    nbits=nbits,
                    keep_vectors=keep_vectors,
                    pool=pool,
                    seed=seed,
                    device=device,
                    sample_queries=sample.rows,
                    overwrite=overwrite,
                    resume=True,
                    encoder=record_of(encoder),
                    recipe=recipe,
                    progress=report,
                )
                journal.remove()
        return cls(index, encoder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | str | Path | None = None,
        *,
        pool_visual: int | None = None,
        device: Device = "cpu",
    ) -> Retriever:
        """Open an index; without an encoder the one that the index names is loaded when it is first needed.

        pool_visual: ask with one row for every so many of a question's pictures; None: as the index was built with.  An
        encoder that is brought loaded keeps its own setting.  device: of what is added later, see `Index.create`.
        Raises NotAnIndex, EncoderMismatch where the encoder is not the one that built the index, and InvalidInput.
        """
        if pool_visual is not None and not isinstance(encoder, str | Path | None):
            raise InvalidInput("an encoder that is loaded pools as it was told; leave pool_visual out")
        index = Index.open(path, device=device)
        try:
            loaded = None if encoder is None else _asking_alike(encoder, index, pool_visual)
            return cls(index, loaded, pool_visual=pool_visual)
        except BaseException:
            index.close()
            raise

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded on first use; raises InvalidInput where the index names none."""
        if self._encoder is None:
            recorded = self.index.encoder
            if not recorded or not recorded.get("name"):
                raise InvalidInput(
                    "the index records no encoder; give the one that made its vectors"
                    " (--encoder, or Retriever.open(path, encoder))"
                )
            encoder = _loaded(recorded["name"], _pooling(recorded, self._pool_visual))
            check_encoder(self.index, encoder)
            self._encoder = encoder
        return self._encoder

    def calibrate(self, sample_queries: Sequence[Query | str], *, progress: Progress = False) -> None:
        """Let the index measure with these queries how many passages a search has to look at, and commit that.

        sample_queries: 16 or more, as they will be asked, of which 16, evenly spread, are encoded and kept.  Searches
        for queries like them look at a few hundred passages in place of thousands; scores stay the same.
        Raises InvalidInput, UnreadableImage naming the query, IndexLocked; then the index is as it was.
        """
        self.index.calibrate(self.encode(spread(_as_queries(sample_queries))), progress=progress)

    def search(
        self,
        queries: Query | str | Sequence[Query | str],
        k: int = 10,
        *,
        params: SearchParams | None = None,
        where: Mapping[str, Any] | None = None,
        only_ids: Sequence[str] | None = None,
        exclude_ids: Sequence[str] | None = None,
        hybrid: Hybrid | str | None = None,
    ) -> list[list[Hit]]:
        """The best k passages of each query.

        queries: one or a list; a string is a query of this text.  params, where, only_ids, exclude_ids: see
        `flmr.Searcher.search`.
        hybrid: also search by the words of the query and fuse both rankings, "rrf" or "weighted", or a
        `flmr.hybrid.Hybrid` that says more; scores are then the fused ones.
        Raises UnreadableImage naming the query, EncoderMismatch; with hybrid MissingExtra, and InvalidInput where the
        index stores no passages.
        """
        asked = _as_queries(queries)
        if not asked:
            return []
        return self._find(asked, self.encode(asked), k, params, where, only_ids, exclude_ids, hybrid)

    def encode(self, queries: Sequence[Query]) -> MultiVectors:
        """The rows of each query; raises UnreadableImage naming the query."""
        return self.encoder.encode_queries(queries)

    def search_many(
        self,
        questions: Iterable[Question | Query],
        k: int = 100,
        *,
        params: SearchParams | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: Hybrid | str | None = None,
        batch_size: int = 64,
        strict: bool = False,
        progress: Progress = False,
        stage: str = "search",
    ) -> SearchRun:
        """Search for many questions in bounded memory; one whose image cannot be read gets no hits and is reported.

        strict: raise UnreadableImage instead.  stage: what the progress is called.
        Raises InvalidInput where a question has no id or two have the same.
        """
        asked = [question.query if isinstance(question, Question) else question for question in questions]
        _check_ids(asked)
        run: dict[str, list[tuple[str, float]]] = {query.id: [] for query in asked}
        unreadable: dict[str, str] = {}
        encode_s = search_s = 0.0
        self.encoder  # noqa: B018  loaded here so that its loading is not counted as encoding
        with reporting(progress) as report:
            for number, batch in enumerate(batches(asked, batch_size)):
                started = time.perf_counter()
                readable, vectors = self._encode_readable(batch, unreadable, strict)
                encoded = time.perf_counter()
                if vectors is not None:
                    found = self._find(readable, vectors, k, params, where, hybrid=hybrid, passages=False)
                    for query, hits in zip(readable, found, strict=True):
                        run[query.id] = [(hit.id, hit.score) for hit in hits]
                encode_s += encoded - started
                search_s += time.perf_counter() - encoded
                report(stage, number * batch_size + len(batch), len(asked))
        return SearchRun(run, unreadable, encode_s, search_s)

    def add(
        self,
        passages: Iterable[Passage] | str | Path | TaskSplit,
        *,
        update: bool = False,
        batch_size: int = DEFAULT_BATCH,
        image_folder: str | Path | None = None,
        strict: bool = False,
        progress: Progress = False,
    ) -> Account:
        """Encode passages and add them in one commit; update=True replaces the passages of the same ids.

        Raises DuplicateId (UnknownId with update), and IndexLocked where another writer is at work; then nothing has
        changed.
        """
        account = Account()
        with reporting(progress) as report:
            source, total = open_passages(passages, strict=strict, account=account, image_folder=image_folder)
            pairs = encode_stream(
                source,
                self.encoder,
                batch_size=batch_size,
                strict=strict,
                account=account,
                report=report,
                total=total,
                device=self.index.device,
            )
            for_vectors, for_ids, for_passages = tee(pairs, 3)
            write = self.index.update if update else self.index.add
            write(
                (rows for _, rows in for_vectors),
                (passage.id for passage, _ in for_ids),
                (passage for passage, _ in for_passages),
            )
            self.index.commit()
        return account

    def delete(self, ids: Iterable[str]) -> None:
        """Delete passages in one commit; raises UnknownId, and then nothing has changed."""
        self.index.delete(ids)
        self.index.commit()

    def explain(self, query: Query | str, hit: Hit | str) -> Explanation:
        """Which rows of the query matched which rows of the passage, as the index stores them.

        hit: a hit, or the id of a passage.  The row maxima sum to the score of the search.
        Raises UnknownId, and InvalidInput where the index stores no passage text or pooled rows.
        """
        if not isinstance(query, Query | str) or not isinstance(hit, Hit | str):
            raise InvalidInput("explain takes one flmr.Query or string, and one hit or the id of a passage")
        (asked,) = _as_queries(query)
        passage_id = hit if isinstance(hit, str) else hit.id
        passage = self._stored_passage(passage_id)
        query_text, query_rows, query_QD = self.encoder.explain_query(asked)
        passage_text, passage_rows, _ = self.encoder.explain_passage(passage)
        stored_TD = self.index.vectors(passage_id)
        if len(stored_TD) != len(passage_rows):
            pool = self.index.info()["pool"]
            if pool > 1 and len(stored_TD) == -(-len(passage_rows) // pool):
                raise InvalidInput(
                    f"passage {passage_id!r} has {len(passage_rows)} rows of which {len(stored_TD)} were made"
                    f" (pool={pool}), so which one matched is not known: build the index with pool=1 to explain hits"
                )
            raise InvalidInput(
                f"passage {passage_id!r} has {len(stored_TD)} rows in the index but its text now gives"
                f" {len(passage_rows)}; build the index again"
            )
        if isinstance(hit, str):
            hit = self._rank(MultiVectors.from_list([query_QD]), passage)
        similarities = query_QD.astype("float32") @ stored_TD.T.astype("float32")
        return Explanation(asked, hit, query_text, passage_text, query_rows, passage_rows, similarities)

    def close(self) -> None:
        """Release the index."""
        self.index.close()

    def __repr__(self) -> str:
        named = repr(self._encoder.name) if self._encoder is not None else "not loaded yet"
        return f"<Retriever {self.index!r} encoder {named}>"

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(
        self,
        asked: Sequence[Query],
        vectors: MultiVectors,
        k: int,
        params: SearchParams | None,
        where: Mapping[str, Any] | None = None,
        only_ids: Sequence[str] | None = None,
        exclude_ids: Sequence[str] | None = None,
        hybrid: Hybrid | str | None = None,
        passages: bool = True,
    ) -> list[list[Hit]]:
        filters: dict[str, Any] = {"where": where, "only_ids": only_ids, "exclude_ids": exclude_ids}
        if hybrid is None:
            return self.index.search(vectors, k, params=params, passages=passages, **filters)
        texts = [query.text for query in asked]
        return self._hybrid_searcher().search(
            texts, vectors, k, Hybrid.of(hybrid), params=params, passages=passages, **filters
        )

    def _hybrid_searcher(self) -> HybridSearcher:
        """That of the last commit; what it has made of an earlier one is forgotten."""
        if self._hybrid is None or self._hybrid.generation != self.index.generation:
            self._hybrid = HybridSearcher(self.index.searcher())
        return self._hybrid

    def _encode_readable(
        self, batch: list[Query], unreadable: dict[str, str], strict: bool
    ) -> tuple[list[Query], MultiVectors | None]:
        try:
            return batch, self.encode(batch)
        except UnreadableImage:
            if strict:
                raise
        readable, parts = [], []
        for query in batch:
            try:
                parts.append(self.encode([query]))
                readable.append(query)
            except UnreadableImage as error:
                unreadable[query.id] = str(error)
        return readable, MultiVectors.concat(parts) if parts else None

    def _stored_passage(self, passage_id: str) -> Passage:
        passage = self.index.passage(passage_id)
        if passage is None:
            raise InvalidInput(f"the index stores no text for {passage_id!r}; build it with passages to explain hits")
        return passage

    def _rank(self, vectors: MultiVectors, passage: Passage) -> Hit:
        """The passage's true place: exact search, deeper and deeper until it appears."""
        k = 100
        while True:
            hits = self.index.search(vectors, k, params=SearchParams(exact=True), passages=False)[0]
            for hit in hits:
                if hit.id == passage.id:
                    return replace(hit, passage=passage)
            if len(hits) < k:
                raise InvalidInput(f"passage {passage.id!r} has no rows, so no query can match it")
            k *= 10


def build_from_recipe(
    recipe: IndexRecipe,
    path: str | Path,
    *,
    device: Device = "cpu",
    overwrite: bool = False,
    resume: bool = False,
    strict: bool = False,
    account: Account | None = None,
    progress: Progress = False,
) -> Retriever:
    """`Retriever.build` with the settings of a recipe, which the index keeps in its manifest."""
    encoder: Encoder | str = recipe.encoder_name
    if recipe.pool_visual != 1:
        encoder = _loaded(encoder, recipe.pool_visual)
    return Retriever.build(
        recipe.source,
        path,
        encoder,
        nbits=recipe.nbits,
        batch_size=recipe.batch_size,
        keep_vectors=recipe.keep_vectors,
        pool=recipe.pool,
        seed=recipe.seed,
        device=device,
        image_folder=recipe.images,
        overwrite=overwrite,
        resume=resume,
        strict=strict,
        recipe=to_table(recipe),
        account=account,
        progress=progress,
    )


def check_encoder(index: Index, encoder: Encoder) -> None:
    """Raise EncoderMismatch unless this encoder made the index's vectors."""
    recorded = index.encoder or {}
    name, fingerprint = recorded.get("name"), recorded.get("fingerprint")
    if fingerprint is None or fingerprint == encoder.fingerprint:
        return
    if name == encoder.name:
        raise EncoderMismatch(
            f"encoder {name!r} has changed since it built the index (fingerprint was {fingerprint[:12]}, is"
            f" {encoder.fingerprint[:12]}); restore the old checkpoint or build the index again"
        )
    raise EncoderMismatch(
        f"the index was built by encoder {name!r} but was brought {encoder.name!r};"
        f" open it with {name!r} or build it again with {encoder.name!r}"
    )


def record_of(encoder: Encoder) -> dict[str, Any]:
    """What an index keeps of its encoder: what it is found by, checked by, and how it asks where that is a choice."""
    record = {"name": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim}
    pool_visual = getattr(encoder, "pool_visual", 1)
    return {**record, "pool_visual": pool_visual} if pool_visual > 1 else record


def _asking_alike(encoder: Encoder | str | Path, index: Index, pool_visual: int | None) -> Encoder:
    """The encoder, which where it is named asks as the index has recorded; another one is refused for what it is."""
    try:
        return _loaded(encoder, _pooling(index.encoder, pool_visual))
    except InvalidInput:  # it has no rows of pictures to pool
        check_encoder(index, _loaded(encoder))
        raise


def _pooling(recorded: Mapping[str, Any] | None, pool_visual: int | None) -> int:
    """What is wanted, or else what the index has recorded."""
    return int((recorded or {}).get("pool_visual", 1)) if pool_visual is None else pool_visual


def _loaded(encoder: Encoder | str | Path, pool_visual: int = 1) -> Encoder:
    """The encoder itself, or the one of this name, pooling the rows of questions' pictures."""
    if isinstance(encoder, str | Path):
        from flmr.model import load_encoder  # torch is needed only here

        return load_encoder(encoder, pool_visual=pool_visual)
    if not hasattr(encoder, "encode_queries"):
        raise InvalidInput(
            f"an encoder is a name, a folder or what flmr.load_encoder returns, not {type(encoder).__name__}"
        )
    return encoder


def _as_queries(queries: Query | str | Sequence[Query | str]) -> list[Query]:
    if not isinstance(queries, Query | str | Iterable):
        raise InvalidInput(f"queries must be flmr.Query or strings, not {type(queries).__name__}")
    listed = [queries] if isinstance(queries, Query | str) else list(queries)
    for query in listed:
        if not isinstance(query, Query | str):
            raise InvalidInput(f"a query must be a flmr.Query or a string, not {type(query).__name__}")
    asked = [Query(text=query) if isinstance(query, str) else query for query in listed]
    # A query without an id is named by its place, so that an error can say which one it was.
    return [query if query.id else replace(query, id=f"#{place}") for place, query in enumerate(asked, start=1)]


def _check_ids(queries: list[Query]) -> None:
    seen: set[str] = set()
    for number, query in enumerate(queries, start=1):
        if not query.id:
            raise InvalidInput(f"question {number} has no id; give each one its own")
        if query.id in seen:
            raise InvalidInput(f"question id {query.id!r} occurs twice; give each question its own")
        seen.add(query.id)


class _Sample:
    """Queries that an index is shown when it is built: those given, or the first words of some of its passages."""

    def __init__(self, encoder: Encoder, given: Sequence[Query | str] | None, seed: int) -> None:
        self._encoder = encoder
        self._given = None if given is None else _as_queries(given)
        self._rng = random.Random(seed)
        self._texts: list[str] = []
        self._seen = self._vectors = 0

    def looked_at(self, passage: Passage, rows: Any) -> Passage:
        """The passage; its words may be among those that are kept, each passage's with equal chance."""
        self._vectors += len(rows)
        words = " ".join((passage.title or passage.text).split()[:SAMPLE_WORDS])
        if words:
            place = self._rng.randrange(self._seen + 1)
            self._seen += 1
            if len(self._texts) < SAMPLE_QUERIES:
                self._texts.append(words)
            elif place < SAMPLE_QUERIES:
                self._texts[place] = words
        return passage

    def rows(self) -> MultiVectors | None:
        """The rows of the queries; None where there are none, or a search will look at everything."""
        if self._given is not None:
            return self._encoder.encode_queries(spread(self._given))
        if self._vectors <= SCAN_VECTORS or not self._texts:
            return None
        try:
            return self._encoder.encode_queries(_as_queries(self._texts))
        except InvalidInput:  # it takes no queries without an image
            return None


def _not_empty(pairs: Iterable[tuple[Passage, Any]], source: object, account: Account) -> Iterable[tuple[Passage, Any]]:
    iterator = iter(pairs)
    try:
        first = next(iterator)
    except StopIteration:
        where = f" in {source}" if isinstance(source, str | Path | TaskSplit) else ""
        left_out = f" ({account.skipped} were left out)" if account.skipped else ""
        raise InvalidInput(f"there is no passage to index{where}{left_out}; an index needs at least one") from None
    return chain([first], iterator)
