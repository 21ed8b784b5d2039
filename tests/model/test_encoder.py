"""FLMR in the encoder's role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flmr.errors import InvalidInput, UnreadableImage
from flmr.model.encoder import DEFAULT_INSTRUCTIONS, FLMREncoder, find_device
from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS, new_tokenizers
from flmr.records import Passage, Query
from flmr.roles import DeviceEncoder, Encoder


@pytest.fixture
def encoder(tiny_parts: Any) -> FLMREncoder:
    return FLMREncoder(*tiny_parts(), device="cpu", batch_size=3)


def _queries(picture: Path) -> list[Query]:
    return [
        Query("the name of this?", picture, "answer", id="both"),
        Query("which bird", instruction="retrieve:", id="text"),
        Query(image=picture, id="image"),
        Query("toy", picture, id="default"),
    ]


def test_it_is_an_encoder(encoder: FLMREncoder) -> None:
    assert isinstance(encoder, Encoder) and isinstance(encoder, DeviceEncoder)
    assert encoder.dim == 8 and not encoder.encodes_images


@pytest.mark.parametrize("wrong", [Query("red"), "red", 3, ["red"], [Passage("a")], None])
def test_what_are_no_queries_is_refused(encoder: FLMREncoder, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match=r"queries must be .*flmr\.Query"):
        encoder.encode_queries(wrong)


@pytest.mark.parametrize("wrong", [Passage("a"), "red", 3, ["red"], [Query("red")], None])
def test_what_are_no_passages_is_refused(encoder: FLMREncoder, wrong: Any) -> None:
    for encode in (encoder.encode_passages, encoder.encode_passages_on_device):
        with pytest.raises(InvalidInput, match=r"passages must be .*flmr\.Passage"):
            encode(wrong)


def test_a_device_that_is_not_there_is_refused_by_name(tiny_parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device(None) == find_device("cpu") == torch.device("cpu")
    for wrong, words in (("gpu", "'gpu' is not known"), ("cuda:1", "'cuda:1' was asked for"), ([1], "not known")):
        with pytest.raises(InvalidInput, match=words):
            FLMREncoder(*tiny_parts(), device=wrong)


def test_masked_rows_are_dropped(encoder: FLMREncoder, picture: Path) -> None:
    found = encoder.encode_queries(_queries(picture))
    # 100 positions less the instruction and its mark; 3 prefix rows and 4 patches where there is a picture
    kept = [100 - len(encoder.query_tokenizer.tokenize(text)) for text in ("answer:", "retrieve:")]
    assert found.lengths.tolist()[:2] == [kept[0] + 7, kept[1]]
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    passages = encoder.encode_passages([Passage("a", "yo-yo, a toy."), Passage("b")])
    assert passages.lengths.tolist() == [7, 3]  # [CLS] [D] yo yo a toy [SEP]; the punctuation is gone


def test_rows_do_not_depend_on_the_batch(encoder: FLMREncoder, picture: Path) -> None:
    queries = _queries(picture)
    passages = [Passage(str(i), "the red toy bird " * (i % 5)) for i in range(8)]
    for encode, items in ((encoder.encode_queries, queries), (encoder.encode_passages, passages)):
        together = encode(items)
        backwards = encode(items[::-1])
        for i, item in enumerate(items):
            alone = encode([item])[0]
            assert np.abs(alone - together[i]).max() < 2e-6
            assert np.abs(alone - backwards[len(items) - 1 - i]).max() < 2e-6


def test_rows_left_on_the_device_are_those_of_the_arrays(tiny_parts: Any, picture: Path) -> None:
    encoder = FLMREncoder(*tiny_parts(context_concat_output_from_vision_encoder=True), device="cpu", batch_size=3)
    passages = [Passage(str(i), "the red toy bird. " * (i % 5), image=picture if i % 3 else None) for i in range(8)]
    expected, found = encoder.encode_passages(passages), encoder.encode_passages_on_device(passages)
    assert all(isinstance(rows, torch.Tensor) and rows.device == encoder.model.device for rows in found)
    for rows, item in zip(found, expected, strict=True):
        np.testing.assert_array_equal(rows.numpy(), item)
    assert encoder.encode_passages_on_device([]) == []


def test_rows_equal_the_padded_published_call(golden: Any) -> None:
    from flmr.model.flmr import load_checkpoint

    case = golden("preflmr")
    encoder = FLMREncoder(*load_checkpoint(case.folder), device="cpu")
    found = encoder.encode_passages([Passage(str(i), text) for i, text in enumerate(case.call["contexts"])])
    for i, rows in enumerate(found):
        expected = case.expected["context_embeddings"][i][case.expected["context_mask"][i, :, 0]]
        torch.testing.assert_close(torch.from_numpy(rows), expected, atol=2e-5, rtol=1e-4)


def test_explained_rows_align_with_the_vectors(encoder: FLMREncoder, picture: Path) -> None:
    for query in _queries(picture):
        text, rows, vectors = encoder.explain_query(query)
        assert len(rows) == len(vectors)
        assert np.abs(vectors - encoder.encode_queries([query])[0]).max() < 2e-6
        assert [row.label for row in rows[:2]] == ["[CLS]", "[unused0]"]
        for row in rows:
            if row.span is not None:
                assert text[slice(*row.span)].lower() == row.label.removeprefix("##")
        kinds = [row.kind for row in rows]
        pictured = query.image is not None
        assert (kinds.count("image"), kinds.count("region")) == ((3, 4) if pictured else (0, 0))
    passage = Passage("a", "A yo-yo, it is.", title="Yo")
    text, rows, vectors = encoder.explain_passage(passage)
    assert text == "Yo A yo-yo, it is."
    assert [text[slice(*row.span)] for row in rows if row.span][:4] == ["Yo", "A", "yo", "yo"]
    assert len(rows) == len(vectors) and np.abs(vectors - encoder.encode_passages([passage])[0]).max() < 2e-6


def test_a_single_vector_is_the_mean_of_all_rows(tiny_parts: Any, picture: Path) -> None:
    passages = [Passage("a", "a red yo-yo, it is."), Passage("b", "bird")]
    rows_of, single = (FLMREncoder(*tiny_parts(single_vector=on), device="cpu") for on in (False, True))
    for many, one in (
        (rows_of.encode_queries(_queries(picture)), single.encode_queries(_queries(picture))),
        (rows_of.encode_passages(passages), single.encode_passages(passages)),
    ):
        for item, mean in zip(many, one, strict=True):
            expected = item.mean(0) / np.linalg.norm(item.mean(0))
            assert mean.shape == (1, single.dim) and np.abs(mean[0] - expected).max() < 2e-6
    for _, sources, vectors in (single.explain_query(_queries(picture)[0]), single.explain_passage(passages[0])):
        assert len(sources) == len(vectors) == 1 and sources[0].label == "mean of all rows"


def test_regions_cover_what_the_tower_sees(encoder: FLMREncoder, picture: Path) -> None:
    regions = [row.region for row in encoder.explain_query(Query("a", picture))[1] if row.region]
    # 48 x 32 becomes 24 x 16, of which the middle 16 x 16 is seen: a sixth is cut off on either side
    assert [round(r.left, 3) for r in regions] == [0.167, 0.5, 0.167, 0.5]
    assert [(r.top, r.bottom) for r in regions] == [(0, 0.5), (0, 0.5), (0.5, 1), (0.5, 1)]
    assert regions[-1].right == pytest.approx(5 / 6)


def test_queries_without_instruction_get_the_one_for_their_kind(encoder: FLMREncoder, picture: Path) -> None:
    texts = [encoder.query_text(query) for query in (Query("why?", picture), Query("why?"), Query(image=picture))]
    assert texts == [
        f"{DEFAULT_INSTRUCTIONS['text and image']}: why?",
        f"{DEFAULT_INSTRUCTIONS['text']}: why?",
        f"{DEFAULT_INSTRUCTIONS['image']}:",
    ]
    assert encoder.query_text(Query("why?", instruction=" answer : ")) == "answer: why?"


def test_a_missing_image_can_be_a_black_one(tiny_parts: Any) -> None:
    encoder = FLMREncoder(*tiny_parts(query_missing_image="black"), device="cpu")
    query = Query("a", instruction="name")
    found, (_, rows, vectors) = encoder.encode_queries([query])[0], encoder.explain_query(query)
    assert len(found) == len(rows) == len(vectors) and sum(row.kind == "region" for row in rows) == 4


def test_marks_of_the_tokenizer_frame_the_texts(tiny_parts: Any) -> None:
    model, query_tokenizer, context_tokenizer = tiny_parts(
        mask_instruction_token=None, text_config={"vocab_size": 400, "hidden_size": 16, "num_attention_heads": 2}
    )
    query_tokenizer.add_special_tokens({"additional_special_tokens": ["<BOQ>", "<EOQ>"]})
    context_tokenizer.add_special_tokens({"additional_special_tokens": ["<BOK>", "<EOK>"]})
    encoder = FLMREncoder(model, query_tokenizer, context_tokenizer, device="cpu")
    assert encoder.query_text(Query("a bird", instruction="name")) == "<BOQ> name a bird <EOQ>"
    assert encoder.query_text(Query("<BOQ> a <EOQ>")) == "<BOQ> a <EOQ>"
    assert encoder.passage_text(Passage("p", "a toy")) == "<BOK> a toy <EOK>"


def test_documents_with_images_put_their_image_rows_first(tiny_parts: Any, picture: Path) -> None:
    encoder = FLMREncoder(*tiny_parts(context_concat_output_from_vision_encoder=True), device="cpu")
    assert encoder.encodes_images
    passages = [Passage("a", "a toy", image=picture), Passage("b", "a toy")]
    found = encoder.encode_passages(passages)
    assert found.lengths.tolist() == [8, 5]
    for passage, vectors in zip(passages, found, strict=True):
        _, rows, explained = encoder.explain_passage(passage)
        assert len(rows) == len(vectors) and np.abs(explained - vectors).max() < 2e-6
    assert [row.kind for row in encoder.explain_passage(passages[0])[1]][:4] == ["image"] * 3 + ["text"]


def test_images_of_passages_are_not_opened_where_they_do_not_count(encoder: FLMREncoder) -> None:
    assert encoder.encode_passages([Passage("a", "toy", image="no/such.png")]).lengths.tolist() == [4]


def test_what_has_no_picture_is_named_where_pictures_alone_make_rows(tiny_parts: Any, picture: Path) -> None:
    groups = {"context_concat_output_from_vision_encoder": True, "context_concat_output_from_text_encoder": False}
    encoder = FLMREncoder(*tiny_parts(**groups, query_concat_output_from_text_encoder=False), device="cpu")
    shown, asked = Passage("a", "a toy", image=picture), Query("a", picture, id="q")
    assert encoder.encode_passages([shown]).lengths.tolist() == [3]
    assert encoder.encode_queries([asked]).lengths.tolist() == [7]
    for encode in (lambda p: encoder.encode_passages([shown, p]), encoder.explain_passage):
        with pytest.raises(InvalidInput, match="passage 'b' has no picture, of which alone encoder 'flmr' makes rows"):
            encode(Passage("b", "a toy"))
    for encode_query in (lambda q: encoder.encode_queries([asked, q]), encoder.explain_query):
        with pytest.raises(InvalidInput, match="query 'r' has no image, of which alone encoder 'flmr' makes rows"):
            encode_query(Query("a", id="r"))


def test_a_passage_may_be_a_picture_alone(tiny_parts: Any, picture: Path) -> None:
    encoder = FLMREncoder(*tiny_parts(context_concat_output_from_vision_encoder=True), device="cpu")
    assert encoder.encode_passages([Passage("a", image=picture)]).lengths.tolist() == [3 + 3]  # and [CLS] [D] [SEP]


def test_an_unreadable_image_names_its_query(encoder: FLMREncoder, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="query 'q7'"):
        encoder.encode_queries([Query("a", tmp_path / "none.png", id="q7")])


def test_an_image_is_refused_by_a_model_that_reads_text_only(tiny_parts: Any, picture: Path) -> None:
    encoder = FLMREncoder(
        *tiny_parts(use_vision_encoder=False, use_transformer_mapping_network=False), device="cpu", name="words"
    )
    with pytest.raises(InvalidInput, match="query 'q' has an image but encoder 'words' reads text only"):
        encoder.encode_queries([Query("a", picture, id="q")])
    assert len(encoder.encode_queries([Query("a")])) == 1


def test_no_black_image_is_drawn_for_a_model_that_reads_text_only(tiny_parts: Any) -> None:
    parts = tiny_parts(use_vision_encoder=False, use_transformer_mapping_network=False, query_missing_image="black")
    encoder = FLMREncoder(*parts, device="cpu")
    assert len(encoder.encode_queries([Query("a")])[0]) == len(encoder.explain_query(Query("a"))[1])


def test_an_instruction_that_leaves_no_room_is_refused(tiny_parts: Any) -> None:
    encoder = FLMREncoder(*tiny_parts(query_maxlen=12), device="cpu")
    with pytest.raises(InvalidInput, match="query 'q': its instruction fills all 12 tokens"):
        encoder.encode_queries([Query("a", instruction="name " * 12, id="q")])


def test_nothing_to_encode_is_an_empty_multi_vector(encoder: FLMREncoder) -> None:
    for found in (encoder.encode_queries([]), encoder.encode_passages([])):
        assert len(found) == 0 and found.dim == 8


def test_the_fingerprint_changes_with_weights_tokens_and_settings_only(tiny_parts: Any) -> None:
    def fingerprint(*parts: Any, **kwargs: Any) -> str:
        return FLMREncoder(*parts, device="cpu", **kwargs).fingerprint

    model, *tokenizers = tiny_parts()
    first = fingerprint(model, *tokenizers)
    assert first == fingerprint(*tiny_parts(), name="other", batch_size=1)
    assert first != fingerprint(model, *tokenizers, default_instructions={**DEFAULT_INSTRUCTIONS, "text": "name"})
    assert first != fingerprint(*tiny_parts(query_maxlen=99))
    assert first != fingerprint(*tiny_parts(query_missing_image="black"))
    assert first != fingerprint(*tiny_parts(single_vector=True))
    vocabulary = sorted(tokenizers[0].get_vocab(), key=tokenizers[0].get_vocab().__getitem__)
    vocabulary[-1] = "other"
    assert first != fingerprint(model, *new_tokenizers(vocabulary, 100, 60))
    with torch.no_grad():
        model.query_text_encoder_linear.weight[0, 0] += 1e-3
    assert first != fingerprint(model, *tokenizers)


def test_a_batch_is_as_wide_as_its_longest_query_where_mask_tokens_make_no_rows(
    tiny_parts: Any, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FLMREncoder(*tiny_parts(query_mask_input_ids_skip_list=[RESERVED_TOKENS.index("[MASK]")]), device="cpu")
    query = Query("the name of this?", picture, "answer")
    cut = encoder.encode_queries([query])[0]
    monkeypatch.setattr(
        encoder, "_padded_queries", lambda tokens: encoder.query_tokenizer.pad_tokens(tokens, 100), raising=True
    )
    assert np.abs(cut - encoder.encode_queries([query])[0]).max() < 2e-6
