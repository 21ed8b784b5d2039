"""Checkpoints of colbert-ai, against what colbert-ai 0.2.22 itself computed (golden/make_colbert.py)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flmr import Passage, Query, Retriever, SearchParams, load_encoder
from flmr.cli import main
from flmr.errors import CheckpointError, InvalidInput
from flmr.model.encoder import FLMREncoder
from flmr.model.flmr import load_checkpoint, save_checkpoint
from flmr.ops.maxsim import maxsim
from flmr.train.build import start_model
from flmr.train.recipe import ModelRecipe

GOLDEN = Path(__file__).parent / "golden" / "colbert"
TEXTS = json.loads((GOLDEN / "texts.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "colbert"))


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder(GOLDEN, device="cpu")


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "expected.safetensors")


def test_texts_become_the_ids_of_colbert_ai(encoder: FLMREncoder, expected: dict[str, torch.Tensor]) -> None:
    query = encoder.query_tokenizer(TEXTS["queries"])
    assert torch.equal(query["input_ids"], expected["query_ids"])
    assert torch.equal(query["attention_mask"], expected["query_attention"])
    width = expected["document_ids"].shape[1]
    document = encoder.context_tokenizer(TEXTS["documents"])["input_ids"]
    assert torch.equal(document[:, :width], expected["document_ids"]) and not document[:, width:].any()


def test_queries_have_the_rows_of_colbert_ai(encoder: FLMREncoder, expected: dict[str, torch.Tensor]) -> None:
    rows = [i for i, text in enumerate(TEXTS["queries"]) if text]  # an empty question is no Query
    found = encoder.encode_queries([Query(TEXTS["queries"][i]) for i in rows])
    assert found.lengths.tolist() == [24] * len(rows)  # [MASK] padding makes rows
    for i, vectors in zip(rows, found, strict=True):
        assert np.abs(vectors - expected["queries"][i].numpy()).max() < 2e-6


def test_documents_have_the_rows_of_colbert_ai(encoder: FLMREncoder, expected: dict[str, torch.Tensor]) -> None:
    found = encoder.encode_passages([Passage(str(i), text) for i, text in enumerate(TEXTS["documents"])])
    mask = expected["document_mask"].bool()
    assert found.lengths.tolist() == mask.sum(1).tolist()
    for i, vectors in enumerate(found):
        assert np.abs(vectors - expected["documents"][i][mask[i]].numpy()).max() < 2e-6


def test_an_index_ranks_as_colbert_ai_scores(
    encoder: FLMREncoder, expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    passages = [Passage(f"d{i}", text) for i, text in enumerate(TEXTS["documents"])]
    mask = expected["document_mask"].bool()
    scores = maxsim(expected["queries"], expected["documents"], document_mask=mask)
    with Retriever.build(passages, tmp_path / "index", encoder, nbits=0, progress=False) as retriever:
        for i in (0, 2, 3):
            (hits,) = retriever.search(TEXTS["queries"][i], k=4, params=SearchParams(exact=True))
            assert [hit.id for hit in hits] == [f"d{n}" for n in scores[i].argsort(descending=True).tolist()]
            assert abs(hits[0].score - float(scores[i].max())) < 24 * 2**-11  # rows are stored as float16
        best = retriever.search(TEXTS["queries"][0])[0][0]
        explained = retriever.explain(TEXTS["queries"][0], best)
        assert abs(float(explained.similarities.max(1).sum()) - best.score) < 1e-4
        assert [row.label for row in explained.query_rows[-2:]] == ["[MASK]", "[MASK]"]
    with Retriever.open(tmp_path / "index") as again:  # by the name in the manifest
        assert again.search(TEXTS["queries"][0])[0][0] == best


def test_the_command_line_takes_a_colbert_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"id": f"d{i}", "text": text}) for i, text in enumerate(TEXTS["documents"]) if text]
    (tmp_path / "passages.jsonl").write_text("\n".join(lines))
    out = str(tmp_path / "index")
    assert main(["index", str(tmp_path / "passages.jsonl"), "--out", out, "--encoder", str(GOLDEN)]) == 0
    capsys.readouterr()
    assert main(["search", out, "--text", "who wrote it", "-k", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 2


def test_without_metadata_the_settings_are_those_of_colbert_ai(folder: Path) -> None:
    (folder / "artifact.metadata").unlink()  # its config.json still names HF_ColBERT
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "linear.weight": torch.ones(128, 16)}, folder / "model.safetensors")
    _, query_tokenizer, context_tokenizer = load_checkpoint(folder)
    assert (query_tokenizer.query_maxlen, context_tokenizer.doc_maxlen) == (32, 220)


def test_a_colbert_checkpoint_saved_anew_is_the_same_encoder(encoder: FLMREncoder, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "flmr", *load_checkpoint(GOLDEN))
    assert load_encoder(tmp_path / "flmr", device="cpu").fingerprint == encoder.fingerprint


def test_a_vision_tower_may_be_added_to_a_colbert_checkpoint(expected: dict[str, torch.Tensor], tmp_path: Path) -> None:
    recipe = ModelRecipe(
        start=GOLDEN,
        vision_tower="conv",
        vision_config={"widths": [4, 8], "image_size": 8},
        config={"mapping_network_prefix_length": 2, "separate_query_and_context_text_encoder": True},
    )
    parts = start_model(recipe, None, seed=0)  # type: ignore[arg-type]  # data are for towers without a checkpoint
    save_checkpoint(tmp_path / "flmr", *parts)
    encoder = load_encoder(tmp_path / "flmr", device="cpu")
    found = encoder.encode_queries([Query(TEXTS["queries"][0]), Query("who", Image.new("RGB", (9, 9)))])
    assert found.lengths.tolist() == [24, 24 + 2]
    assert np.abs(found[0] - expected["queries"][0].numpy()).max() < 2e-6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query_token_id": "[Q]"}, "query_token_id is '\\[Q\\]'"),
        ({"similarity": "dot"}, "similarity is 'dot'"),
        ({"doc_maxlen": 0}, "doc_maxlen cannot be 0"),
        ({"mask_punctuation": "yes"}, "mask_punctuation cannot be 'yes'"),
        ({"dim": 4}, "linear.weight has shape"),
    ],
)
def test_metadata_that_cannot_be_followed_are_named(folder: Path, change: dict[str, Any], said: str) -> None:
    stored = json.loads((folder / "artifact.metadata").read_text())
    (folder / "artifact.metadata").write_text(json.dumps({**stored, **change}))
    with pytest.raises(CheckpointError, match=said) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", ["missing", "unexpected"])
def test_a_missing_or_extra_weight_is_named(folder: Path, side: str) -> None:
    weights = load_file(folder / "model.safetensors")
    if side == "missing":
        del weights["linear.weight"]
    else:
        weights["score.bias"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    name = "query_text_encoder_linear" if side == "missing" else "score.bias"
    with pytest.raises(CheckpointError, match=f"{side} {name}"):
        load_encoder(folder)


def test_a_tokenizer_of_another_checkpoint_is_refused(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.write("extra\n")
    with pytest.raises(CheckpointError, match="223 word pieces but the text tower knows 222"):
        load_encoder(folder)


@pytest.mark.parametrize(("name", "text"), [("vocab.txt", None), ("artifact.metadata", "{"), ("config.json", "[]")])
def test_a_damaged_folder_ends_in_one_line(folder: Path, name: str, text: str | None) -> None:
    if text is None:
        (folder / name).unlink()
        (folder / "tokenizer.json").unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


def test_another_tower_than_bert_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "xlm-roberta"}))
    with pytest.raises(CheckpointError, match="'xlm-roberta' model; only BERT"):
        load_encoder(folder)


def test_a_picture_is_refused_by_a_text_checkpoint(encoder: FLMREncoder, picture: Path) -> None:
    with pytest.raises(InvalidInput, match="reads text only; drop the image"):
        encoder.encode_queries([Query("what?", picture)])
