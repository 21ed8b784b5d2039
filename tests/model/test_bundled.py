"""The bundled checkpoint: its size, its layout, and that it finds what the atlas asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import flmr.model
from flmr.data.sample import entities, passages, render
from flmr.data.sample.questions import INSTRUCTIONS, WORDINGS
from flmr.data.sample.render import seed_of
from flmr.model import load_encoder
from flmr.model.encoder import FLMREncoder
from flmr.ops.maxsim import maxsim
from flmr.records import Query

FOLDER = Path(flmr.model.__file__).parent / "bundled"


@pytest.fixture(scope="module")
def encoder() -> FLMREncoder:
    loaded = load_encoder("bundled", device="cpu")
    assert isinstance(loaded, FLMREncoder)
    return loaded


def test_bundled_checkpoint_is_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 12_000_000


def test_bundled_checkpoint_has_the_layout_of_preflmr(encoder: FLMREncoder) -> None:
    config = encoder.config
    assert config.use_transformer_mapping_network and config.mask_instruction_token == ":"
    assert config.separate_query_and_context_text_encoder
    query, context = ((FOLDER / f"{side}_tokenizer" / "vocab.txt").read_text() for side in ("query", "context"))
    assert query == context and len(query.split("\n")) - 1 == config.text_config.vocab_size


def test_every_wording_with_every_instruction_and_every_passage_of_the_atlas_fits(encoder: FLMREncoder) -> None:
    texts = [passage.full_text for passage in passages()]
    longest = max(len(item.ids) for item in encoder.context_tokenizer.tokenize_texts(texts, 512))
    assert longest <= encoder.context_tokenizer.doc_maxlen
    wordings = [text for by_split in WORDINGS.values() for split in by_split.values() for text in split]
    asked = [
        encoder.query_text(Query(text, image=b"", instruction=instruction))
        for text in wordings
        for instruction in ("", *INSTRUCTIONS)
    ]
    longest = max(len(item.ids) for item in encoder.query_tokenizer.tokenize_texts(asked, 512))
    assert longest <= encoder.query_tokenizer.query_maxlen


def test_new_pictures_find_their_figure_and_nothing_is_found_without_them(encoder: FLMREncoder) -> None:
    chosen = entities()[::3]
    text = WORDINGS["rotation"]["test"][0]
    wanted = [f"{entity.id}#symmetry" for entity in chosen]
    pictured = [
        Query(text, render(entity.id, seed_of("a seed of this test", i), "ink")) for i, entity in enumerate(chosen)
    ]
    documents = encoder.encode_passages(passages())
    ids = np.array([passage.id for passage in passages()])

    def recall_at_5(queries: list[Query]) -> float:
        scores = np.asarray(maxsim(encoder.encode_queries(queries), documents))
        best = ids[np.argsort(-scores, axis=1)[:, :5]]
        return float(np.mean([one in row for one, row in zip(wanted, best, strict=True)]))

    assert recall_at_5(pictured) >= 0.75
    assert recall_at_5([Query(text)] * len(chosen)) <= 0.1
