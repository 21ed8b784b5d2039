"""Questions with parts of their pictures and passages with pictures are trained as they are encoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from json_lines import read_jsonl, write_jsonl
from train_bench import assert_same, bench

from flmr import Retriever, maxsim
from flmr.build import Account
from flmr.data import read_passages, read_questions
from flmr.errors import InvalidInput, UnreadableImage
from flmr.evaluate import evaluate_run
from flmr.model import load_encoder
from flmr.model.encoder import FLMREncoder
from flmr.records import Passage
from flmr.train import RetrieverHooks, train

Write = Callable[..., Path]
STILL = "hidden_dropout_prob = 0.0, attention_probs_dropout_prob = 0.0, "
SHOWN = ("dim = 16", "dim = 16\ncontext_concat_output_from_vision_encoder = true")
MLP_ONLY = ("use_transformer_mapping_network = true", "use_transformer_mapping_network = false")
BLACK = ("dim = 16", 'dim = 16\nquery_missing_image = "black"')
APART = ("dim = 16", "dim = 16\nseparate_query_and_context_vision_encoder = true")
AT_REST = ("learning_rate_vision = 1e-3", "learning_rate_vision = 0.0")


def still(write_recipe: Write, *changes: tuple[str, str], **keys: str) -> Path:
    """A recipe without dropout and without variations of pictures."""
    text = "num_hidden_layers = 1,", f"num_hidden_layers = 1, {STILL}"
    mapping = "config_base = { ", f"config_base = {{ {STILL}"
    return write_recipe(*changes, ("views = 1", "views = 0"), text, mapping, **keys)


@pytest.mark.parametrize(
    "changes",
    [[SHOWN], [SHOWN, AT_REST], [SHOWN, MLP_ONLY], [SHOWN, BLACK], [SHOWN, APART], []],
    ids=["moving", "at rest", "mlp", "black", "two towers", "words of passages only"],
)
def test_a_step_costs_what_encoding_by_hand_and_maxsim_say(
    pictured: Path, write_recipe: Write, changes: list[tuple[str, str]]
) -> None:
    recipe = still(write_recipe, *changes, extra="negatives = [{ count = 1 }]")
    with bench(recipe, pictured / "features") as it:
        data, batch = it.ready.data, it.ready.deal(0)[0]
        asked = [data.train.questions[row].query for row in batch.question_rows]
        told = [data.passages[row] for row in batch.passage_rows]
        assert {len(query.regions) for query in asked} == {0, 1, 2} and any(query.image is None for query in asked)
        assert 0 < sum(passage.image is not None for passage in told) < len(told)
        tokenizers = it.model.query_tokenizer, it.model.context_tokenizer
        encoder = FLMREncoder(it.model, *tokenizers, device="cpu", batch_size=5)
        documents = encoder.encode_passages(told)
        scores = torch.tensor(
            [[(query @ document.T).max(1).sum() for document in documents] for query in encoder.encode_queries(asked)]
        ).masked_fill(torch.from_numpy(batch.masked), -torch.inf)
        expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(batch.labels)).item()
        whole, gradients = it.step()
        parts, in_parts = it.step(chunk=3)
    exact = AT_REST not in changes  # what a tower at rest has seen is kept in half precision
    assert whole.loss == pytest.approx(expected, abs=2e-5 if exact else 5e-3)
    assert parts.loss == pytest.approx(whole.loss, abs=2e-5)
    assert_same(in_parts, gradients)
    assert ("context_vision_projection.model.0.weight" in gradients) == (APART in changes)


def test_parts_of_pictures_and_pictures_of_passages_make_read_jsonl(pictured: Path, write_recipe: Write) -> None:
    with bench(still(write_recipe, SHOWN), pictured / "features") as it:
        queries, passages = it.ready.queries, it.ready.passages
        questions = np.arange(len(queries))
        images = np.array([len(own) for own in queries.pictures_of])
        counts = queries.encode(questions, np.zeros_like(questions))[1].sum(1).numpy()
        words = queries.encode(questions, np.zeros_like(questions), np.array([[True, False]] * len(images)))[1]
        assert set(images.tolist()) == {0, 1, 2, 3}
        assert (counts - words.sum(1).numpy() == 8 * images).all()  # 4 rows of the MLP and 4 patches an image
        shown = passages.encode([0, 1])[1].sum(1)
    with bench(still(write_recipe, name="words.toml"), pictured / "features") as it:
        assert (shown - it.ready.passages.encode([0, 1])[1].sum(1)).tolist() == [4, 0]


def test_a_run_validates_what_its_checkpoint_finds(pictured: Path, write_recipe: Write) -> None:
    spoilt = read_jsonl(pictured / "passages.jsonl")
    spoilt[2]["image"] = "images/torn.png"
    (pictured / "images" / "torn.png").write_bytes(b"no picture")
    write_jsonl(pictured / "passages.jsonl", spoilt)
    recipe = write_recipe(SHOWN, ("steps = 12", "steps = 4"))
    result = train(recipe, out=pictured / "run", progress=False)
    lost = [q for q in read_questions(pictured / "questions.jsonl") if spoilt[2]["id"] in q.positive_ids]
    assert result.left_out["passages whose picture cannot be read"] == 1
    assert result.left_out["questions without a known positive passage"] == 2 * len(lost)  # of training and validation
    encoder, account = load_encoder(result.folder, device="cpu"), Account()
    with Retriever.build(
        pictured / "passages.jsonl", pictured / "index", encoder, nbits=0, progress=False, account=account
    ) as retriever:
        assert list(account.unreadable) == [spoilt[2]["id"]]  # an index leaves out the same one
        told = [p for p in read_passages(pictured / "passages.jsonl") if p.id in retriever.index.ids()]
    questions = [q for q in read_questions(pictured / "questions.jsonl") if q.id != lost[0].id]
    scores = maxsim(encoder.encode_queries([q.query for q in questions]), encoder.encode_passages(told))
    run = {
        question.id: sorted(zip([p.id for p in told], own.tolist(), strict=True), key=lambda hit: -hit[1])
        for question, own in zip(questions, scores, strict=True)
    }
    qrels = {question.id: dict.fromkeys(question.positive_ids, 1) for question in questions}
    report = evaluate_run(run, qrels, ks=(1, 5, 10), num_passages=15)
    for name in ("strict_recall@1", "strict_recall@5", "MRR@10"):
        assert result.values[name] == pytest.approx(report.value(name), abs=1e-6)
    with pytest.raises(UnreadableImage):
        train(write_recipe(SHOWN, ("[augment]", "strict = true\n[augment]")), out=pictured / "strict", progress=False)


def test_hooks_see_parts_of_pictures_and_pictures_of_passages(pictured: Path, write_recipe: Write) -> None:
    changes = SHOWN, BLACK, ("steps = 12", "steps = 1")
    train(write_recipe(*changes[1:], ("dim = 16", SHOWN[1])), out=pictured / "start", progress=False)
    encoder = load_encoder(pictured / "start", device="cpu")
    assert isinstance(encoder, FLMREncoder)
    asked = [question.query for question in read_questions(pictured / "questions.jsonl")]
    with RetrieverHooks.build(read_passages(pictured / "passages.jsonl"), pictured / "index", encoder) as hooks:
        made, counts = hooks.query(asked)
        for own, keep, expected in zip(made, counts, encoder.encode_queries(asked), strict=True):
            assert np.allclose(own[keep].detach().numpy(), expected, atol=1e-5)
        ids = [hooks.index.ids()[:4], hooks.index.ids()[3:7]]
        (live, live_mask), (stored, stored_mask) = hooks.encode_passages(ids), hooks.passage_rows(ids)
        assert torch.equal(live_mask, stored_mask) and live_mask.sum(2)[0].unique().numel() > 1
        assert torch.allclose(live[live_mask], stored[stored_mask], atol=1e-3)  # the index keeps float16
        live.sum().backward()
        moved = hooks.model.query_vision_projection.model[0].weight.grad
        assert moved is not None and moved.any()
        hooks.refresh()
        again, again_mask = hooks.passage_rows(ids)
        assert torch.allclose(again[again_mask], stored[stored_mask], atol=2e-3)
    given = [Passage("a", "a red square", image=(pictured / "images" / "red.png").read_bytes())]
    with (
        RetrieverHooks.build(given, pictured / "bytes", encoder) as hooks,
        pytest.raises(InvalidInput, match="1 pictures of passages came without a path"),
    ):
        hooks.refresh()
    with pytest.raises(InvalidInput, match="load the encoder without pool_visual"):
        RetrieverHooks(
            FLMREncoder(encoder.model, encoder.query_tokenizer, encoder.context_tokenizer, pool_visual=2), hooks.index
        )
