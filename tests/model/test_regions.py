"""Several images a query (the whole and parts of it), fewer rows of them, and documents with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flmr import Passage, Query, Retriever
from flmr.errors import InvalidInput
from flmr.explain import page
from flmr.model.encoder import FLMREncoder
from flmr.model.image_processor import crop, preprocess
from flmr.records import Region

LEFT, SPOT = Region(0.0, 0.0, 0.5, 1.0), Region(0.5, 0.25, 0.75, 1.0)


@pytest.fixture
def encoder(tiny_parts: Any) -> FLMREncoder:
    return FLMREncoder(*tiny_parts(), device="cpu", batch_size=3)


def _colourful(folder: Path) -> Path:
    """A picture that is another one in each of its parts."""
    values = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(values).resize((48, 32), Image.Resampling.NEAREST).save(folder / "colours.png")
    return folder / "colours.png"


def test_regions_are_the_published_images_of_a_query(encoder: FLMREncoder, tmp_path: Path) -> None:
    path = _colourful(tmp_path)
    (found,) = encoder.encode_queries([Query("name: toy", path, regions=(LEFT, SPOT))])
    whole = Image.open(path)
    images = [whole, whole.crop((0, 0, 24, 32)), whole.crop((24, 8, 36, 32))]
    tokens = encoder.query_tokenizer([encoder.query_text(Query("name: toy", path))])
    pixels = preprocess(images, encoder.config)[None]
    output = encoder.model.query(tokens["input_ids"], tokens["attention_mask"], pixels)
    expected = output.late_interaction_output[output.query_mask].detach().numpy()
    assert len(found) == len(expected) and np.abs(found - expected).max() < 2e-6
    (alone,) = encoder.encode_queries([Query("name: toy", path)])
    assert len(found) == len(alone) + 2 * 7  # 3 prefix rows and 4 patches an image


def test_queries_with_different_numbers_of_images_may_be_mixed(encoder: FLMREncoder, tmp_path: Path) -> None:
    path = _colourful(tmp_path)
    queries = [
        Query("toy", path, regions=(LEFT,)),
        Query("bird"),
        Query("toy", path),
        Query("red", path, regions=(LEFT, SPOT)),
        Query("yo", path, regions=(SPOT,)),
    ]
    together = encoder.encode_queries(queries)
    for i, query in enumerate(queries):
        assert np.abs(together[i] - encoder.encode_queries([query])[0]).max() < 2e-6


def test_explained_rows_of_regions_lie_within_them(encoder: FLMREncoder, tmp_path: Path) -> None:
    query = Query("toy", _colourful(tmp_path), regions=(SPOT,))
    _, rows, vectors = encoder.explain_query(query)
    assert np.abs(vectors - encoder.encode_queries([query])[0]).max() < 2e-6
    assert len(rows) == len(vectors)
    seen = [row for row in rows if row.label.startswith("region 1")]
    assert [row.label for row in seen] == [
        f"region 1, {name} {i}" for name, n in (("image", 3), ("patch", 4)) for i in range(n)
    ]
    for row in seen:
        assert row.region is not None and row.region.left >= SPOT.left - 1e-9 and row.region.right <= SPOT.right + 1e-9


def test_a_region_of_no_size_is_enlarged_to_five_pixels() -> None:
    image = Image.new("RGB", (40, 30))
    assert crop(image, Region(0.0, 0.0, 0.01, 0.01)).size == (5, 5)
    assert crop(image, Region(0.99, 0.99, 1.0, 1.0)).size == (5, 5)
    assert crop(image, Region(0.25, 0.5, 0.75, 1.0)).size == (20, 15)
    assert crop(Image.new("RGB", (3, 2)), Region(0.4, 0.4, 0.6, 0.6)).size == (3, 2)


def test_regions_that_cannot_be_seen_are_refused(encoder: FLMREncoder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="query 'q' names regions but has no image"):
        Query("toy", regions=(LEFT,), id="q")
    with pytest.raises(InvalidInput, match="must be a tuple of"):
        Query("toy", tmp_path, regions=((0, 0, 1, 1),))  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [2, 100])
def test_pooled_visual_rows_keep_the_words_and_the_sum(tiny_parts: Any, tmp_path: Path, factor: int) -> None:
    parts = tiny_parts()
    plain = FLMREncoder(*parts, device="cpu")
    pooled = FLMREncoder(*parts, device="cpu", pool_visual=factor)
    queries = [Query("toy", _colourful(tmp_path), regions=(LEFT,)), Query("bird")]
    (whole, words), (fewer, same) = plain.encode_queries(queries), pooled.encode_queries(queries)
    assert np.array_equal(words, same)
    visual = 14
    kept = -(-visual // factor)
    assert len(fewer) == len(whole) - visual + kept
    assert np.array_equal(fewer[:-kept], whole[:-visual])
    assert np.abs(fewer[-kept:].sum(0) - whole[-visual:].sum(0)).max() < 1e-5
    _, rows, vectors = pooled.explain_query(queries[0])
    assert len(rows) == len(vectors) and np.abs(vectors - fewer).max() < 2e-6
    assert sum(row.label.count(" + ") + 1 for row in rows[-kept:]) == visual
    assert pooled.fingerprint == plain.fingerprint


def test_where_a_query_is_one_vector_there_are_no_rows_to_pool(tiny_parts: Any) -> None:
    with pytest.raises(InvalidInput, match="'flmr' makes one vector of a query, so there are no rows to pool"):
        FLMREncoder(*tiny_parts(single_vector=True), device="cpu", pool_visual=2)


def test_passages_with_and_without_pictures_are_searched_and_explained(tiny_parts: Any, tmp_path: Path) -> None:
    encoder = FLMREncoder(*tiny_parts(context_concat_output_from_vision_encoder=True), device="cpu", batch_size=2)
    path = _colourful(tmp_path)
    passages = [Passage("a", "the red bird"), Passage("b", "a toy", image=path), Passage("c", "yo", image=path)]
    with Retriever.build(passages, tmp_path / "index", encoder, nbits=0, progress=False) as retriever:
        query = Query("name: a toy", path)
        hits = {hit.id: hit for hit in retriever.search(query, k=3)[0]}
        assert set(hits) == {"a", "b", "c"}
        explained = retriever.explain(query, hits["b"])
        assert [row.kind for row in explained.passage_rows[:4]] == ["image", "image", "image", "text"]
        assert abs(float(explained.similarities.max(1).sum()) - hits["b"].score) < 1e-3
        assert page(explained).count("data-row='p") == len(explained.passage_rows)
