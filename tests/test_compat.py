"""Scripts written for the published package, from its documented names, arguments and results, run as they are."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT
from index.interop.folders import coded, write_colbert
from local_hub import hub  # noqa: F401  (a fixture)
from PIL import Image
from tiny_checkpoint import COLOURS
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, CLIPImageProcessor, get_scheduler
from typer.testing import CliRunner

from flmr import (
    FLMRConfig,
    FLMRContextEncoderTokenizer,
    FLMRModelForRetrieval,
    FLMRQueryEncoderTokenizer,
    create_searcher,
    index_custom_collection,
    search_custom_collection,
)
from flmr.cli import app
from flmr.data.sample import entities, passages, render
from flmr.data.sample.questions import draw
from flmr.data.sample.render import seed_of
from flmr.errors import AlreadyExists, InvalidInput, NotAnIndex, UnreadableImage
from flmr.evaluate.pseudo_recall import pseudo_recall
from flmr.index import Index

BUNDLED = ROOT / "flmr" / "model" / "bundled"
PASSAGE_CONTENTS = [f"the {colour} {thing} is {word}" for colour in COLOURS for thing, word in
                    (("rose", "cold"), ("leaf", "a flower"), ("snow", "white"), ("coal", "black"))]  # fmt: skip


def load(checkpoint_path: Any) -> tuple[Any, Any, Any]:
    """The published way to load: each tokenizer from its subfolder, then the model with both."""
    checkpoint_path = str(checkpoint_path)
    query_tokenizer = FLMRQueryEncoderTokenizer.from_pretrained(checkpoint_path, subfolder="query_tokenizer")
    context_tokenizer = FLMRContextEncoderTokenizer.from_pretrained(checkpoint_path, subfolder="context_tokenizer")
    model = FLMRModelForRetrieval.from_pretrained(
        checkpoint_path, query_tokenizer=query_tokenizer, context_tokenizer=context_tokenizer
    )
    return model, query_tokenizer, context_tokenizer


def image_processor(folder: Path, size: int) -> Any:
    """The published scripts name an image processor; this is CLIP's for a smaller picture, in a folder."""
    CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size}).save_pretrained(folder)
    return AutoImageProcessor.from_pretrained(folder)


def index(collection: Any, model: Any, root: Path, **changes: Any) -> str:
    """The published call, with every argument that its documentation shows."""
    arguments: dict[str, Any] = {
        "custom_collection": collection, "model": model, "index_root_path": str(root),
        "index_experiment_name": "test_experiment", "index_name": "test_index", "nbits": 8, "doc_maxlen": 512,
        "overwrite": True, "use_gpu": False, "indexing_batch_size": 64, "model_temp_folder": str(root / "tmp"),
        "nranks": 1,
    }  # fmt: skip
    return index_custom_collection(**{**arguments, **changes})


def searcher_of(root: Path, **changes: Any) -> Any:
    where = {"index_root_path": str(root), "index_experiment_name": "test_experiment", "index_name": "test_index"}
    return create_searcher(**{**where, "nbits": 8, "use_gpu": True, **changes})


def embed(model: Any, tokenizer: Any, *texts: str, **inputs: Any) -> torch.Tensor:
    encoding = tokenizer(list(texts))
    rows: torch.Tensor = model.query(
        input_ids=encoding["input_ids"], attention_mask=encoding["attention_mask"], **inputs
    ).late_interaction_output
    return rows


# --- the published scripts ---------------------------------------------------------------------------------------


def test_the_published_snippets_index_and_search(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, query_tokenizer, context_tokenizer = load(tiny_checkpoint)
    processor = image_processor(tmp_path / "processor", 32)
    path = index(PASSAGE_CONTENTS, model, tmp_path)
    assert path == str(tmp_path / "test_experiment" / "indexes" / "test_index.nbits=8")
    assert not (tmp_path / "tmp").exists()  # the model is not written out

    num_queries = 2
    query_texts = [f"which {COLOURS[i]} rose : is cold {i}" for i in range(num_queries)]
    query_images = torch.zeros(num_queries, 3, 32, 32)
    query_encoding = query_tokenizer(query_texts)
    query_pixel_values = processor(query_images, return_tensors="pt")["pixel_values"]
    res = model.query(
        input_ids=query_encoding["input_ids"],
        attention_mask=query_encoding["attention_mask"],
        pixel_values=query_pixel_values,
    )
    ranking = search_custom_collection(
        searcher=searcher_of(tmp_path),
        queries={i: query_texts[i] for i in range(num_queries)},
        query_embeddings=res.late_interaction_output,  # with its gradient, as the published snippet has it
        num_document_to_retrieve=5,
    )

    documents = context_tokenizer(PASSAGE_CONTENTS)
    encoded = model.doc(documents["input_ids"], documents["attention_mask"])
    ranking_dict = ranking.todict()
    assert list(ranking_dict) == [0, 1]
    for i, query in enumerate(res.late_interaction_output.detach()):
        scores = model.score(query[None], encoded.late_interaction_output, encoded.context_mask).detach()
        retrieved_docs = ranking_dict[i]
        assert [rank for _, rank, _ in retrieved_docs] == [1, 2, 3, 4, 5]
        retrieved_docs_indices = [doc[0] for doc in retrieved_docs]
        retrieved_doc_scores = [doc[2] for doc in retrieved_docs]
        assert retrieved_doc_scores == sorted(retrieved_doc_scores, reverse=True)
        assert all(PASSAGE_CONTENTS[doc_idx] for doc_idx in retrieved_docs_indices)
        # 8 bits a dimension move a score by a thousandth: the documents are the best five of the exact scores
        assert np.allclose(retrieved_doc_scores, scores[retrieved_docs_indices], rtol=1e-3)
        assert min(scores[retrieved_docs_indices]) > sorted(scores.tolist())[-5] * (1 - 1e-3)


def test_the_published_evaluation_measures_what_our_own_does(tmp_path: Path) -> None:
    """The flow of the published PreFLMR evaluation: batches of questions, recall and pseudo recall off the ranking."""
    checkpoint_path, Ks = BUNDLED, [1, 5, 10]
    passage_contents = [passage.full_text for passage in passages()]
    passage_ids = [passage.id for passage in passages()]
    index(passage_contents, str(checkpoint_path), tmp_path)
    flmr_model, query_tokenizer, _ = load(checkpoint_path)
    processor = image_processor(tmp_path / "processor", 96)

    samples: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    for i, entity in enumerate(entities()[::6]):
        render(entity.id, seed_of("a seed of this test", i), "ink").save(tmp_path / f"{i}.png")
        asked = draw(entity, "test", rng)
        samples.append({"question_id": f"q{i}", "question": asked.text, "instruction": asked.instruction})
        samples[-1] |= {"img_path": str(tmp_path / f"{i}.png"), "answers": list(asked.answers)}
        samples[-1]["pos_item_ids"] = asked.positive_ids(entity)

    recalls, run = defaultdict(list), {}
    searcher = searcher_of(tmp_path)
    for start in range(0, len(samples), 8):
        batch = samples[start : start + 8]
        encoding = query_tokenizer([f"{sample['instruction'].strip()}  {sample['question']} " for sample in batch])
        pixel_values = torch.stack(
            [processor(Image.open(s["img_path"]).convert("RGB"), return_tensors="pt").pixel_values for s in batch]
        )
        query_embeddings = flmr_model.query(
            input_ids=torch.LongTensor(encoding["input_ids"]),
            attention_mask=torch.LongTensor(encoding["attention_mask"]),
            pixel_values=torch.FloatTensor(pixel_values),  # (B, 1, 3, S, S)
        ).late_interaction_output
        ranking_dict = search_custom_collection(
            searcher=searcher,
            queries={sample["question_id"]: sample["question"] for sample in batch},
            query_embeddings=query_embeddings.detach().cpu(),
            num_document_to_retrieve=max(Ks),
            remove_zero_tensors=True,
            centroid_search_batch_size=None,
        ).todict()
        for sample in batch:
            retrieved = [doc[0] for doc in ranking_dict[sample["question_id"]]]
            texts, ids = [passage_contents[i] for i in retrieved], [passage_ids[i] for i in retrieved]
            run[sample["question_id"]] = [(passage_ids[doc[0]], doc[2]) for doc in ranking_dict[sample["question_id"]]]
            found = [any(answer.strip().lower() in text.lower() for answer in sample["answers"]) for text in texts]
            for K in Ks:
                recalls[f"Pseudo Recall@{K}"].append(float(np.max(np.array(found[:K]))))
                recalls[f"Recall@{K}"].append(float(any(pos in ids[:K] for pos in sample["pos_item_ids"])))

    answers = {sample["question_id"]: sample["answers"] for sample in samples}
    texts_by_id = dict(zip(passage_ids, passage_contents, strict=True))
    for K in Ks:
        assert recalls[f"Pseudo Recall@{K}"] == list(pseudo_recall(run, answers, texts_by_id, K).values())
    assert np.mean(recalls["Recall@5"]) > 0.5  # by chance .01


def test_the_published_training_snippet_gives_a_loss(tiny_checkpoint: Path) -> None:
    model, query_tokenizer, context_tokenizer = load(tiny_checkpoint)
    Q_encoding = query_tokenizer(["which rose is this: the red", "is this snow: the sky"])
    D_encoding = context_tokenizer(["the rose", "the snow", "the sky", "coal is black"])
    inputs = {
        "query_input_ids": Q_encoding["input_ids"],
        "query_attention_mask": Q_encoding["attention_mask"],
        "query_pixel_values": torch.zeros(2, 3, 32, 32),
        "context_input_ids": D_encoding["input_ids"],
        "context_attention_mask": D_encoding["attention_mask"],
        "use_in_batch_negatives": True,
    }
    res = model.forward(**inputs)
    assert res.loss.ndim == 0 and res.scores.shape == (2, 2) and res["loss"] is res.loss
    assert torch.equal(res.in_batch_negative_loss, res.loss)
    assert res.query_late_interaction_output.shape[0] == 2 and res.context_late_interaction_output.shape[0] == 4


def test_published_fine_tuning_lowers_the_loss_and_its_checkpoint_loads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Frozen vision tower, four random negatives, AdamW with a linear schedule, each part saved by its own call."""
    model, query_tokenizer, context_tokenizer = load(tiny_checkpoint)
    for tower in (model.query_vision_encoder, model.context_vision_encoder):
        for _, param in tower.named_parameters():
            param.requires_grad = False
    frozen = {name: p.clone() for name, p in model.query_vision_encoder.named_parameters()}
    random.seed(0)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(4, 1, 3, 32, 32, generator=generator)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = get_scheduler("linear", optimizer=optimizer, num_warmup_steps=2, num_training_steps=40)
    losses = []
    for _ in range(20):
        documents = []
        for positive in range(4):
            others = [text for i, text in enumerate(PASSAGE_CONTENTS) if i != positive]
            documents += [PASSAGE_CONTENTS[positive], *random.sample(others, 4)]
        queries = query_tokenizer([f"which is this: {PASSAGE_CONTENTS[i][4:8]}" for i in range(4)])
        contexts = context_tokenizer(documents)
        batch = {
            "query_input_ids": queries["input_ids"],
            "query_attention_mask": queries["attention_mask"],
            "query_pixel_values": pictures,
            "context_input_ids": contexts["input_ids"],
            "context_attention_mask": contexts["attention_mask"],
        }
        batch = {k: v.to(model.device) for k, v in batch.items()}
        loss = model(**batch, use_in_batch_negatives=True, num_negative_examples=4).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert all(torch.equal(p, frozen[name]) for name, p in model.query_vision_encoder.named_parameters())

    model_path = str(tmp_path / "model_step_20")
    model.save_pretrained(model_path)
    query_tokenizer.save_pretrained(os.path.join(model_path, "query_tokenizer"))  # noqa: PTH118  (as published)
    context_tokenizer.save_pretrained(os.path.join(model_path, "context_tokenizer"))  # noqa: PTH118
    again = load(model_path)
    assert torch.equal(embed(again[0], again[1], "a: rose"), embed(model, query_tokenizer, "a: rose"))


def test_auto_classes_load_model_config_and_both_tokenizers(tiny_checkpoint: Path) -> None:
    checkpoint_path = str(tiny_checkpoint)
    trusting = {"trust_remote_code": True}
    query_tokenizer = AutoTokenizer.from_pretrained(checkpoint_path, subfolder="query_tokenizer", **trusting)
    context_tokenizer = AutoTokenizer.from_pretrained(checkpoint_path, subfolder="context_tokenizer", **trusting)
    model = AutoModel.from_pretrained(
        checkpoint_path, query_tokenizer=query_tokenizer, context_tokenizer=context_tokenizer, **trusting
    )
    assert isinstance(AutoConfig.from_pretrained(checkpoint_path, **trusting), FLMRConfig)
    assert type(query_tokenizer) is FLMRQueryEncoderTokenizer and model.query_tokenizer is query_tokenizer
    assert type(context_tokenizer) is FLMRContextEncoderTokenizer and model.context_tokenizer is context_tokenizer
    by_name = load(tiny_checkpoint)
    assert torch.equal(embed(model, query_tokenizer, "a: rose"), embed(by_name[0], by_name[1], "a: rose"))


@pytest.mark.skipif(transformers.__version__.startswith("4."), reason="transformers 4 prefers the folder's own code")
def test_a_folder_that_names_code_of_its_own_is_loaded_by_the_installed_classes(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with_auto_map"
    shutil.copytree(tiny_checkpoint, folder)
    for name, auto_map in {
        "config.json": {"AutoConfig": "configuration.FLMRConfig", "AutoModel": "modeling.FLMRModelForRetrieval"},
        "query_tokenizer/tokenizer_config.json": {"AutoTokenizer": ["tokens.FLMRQueryEncoderTokenizer", None]},
        "context_tokenizer/tokenizer_config.json": {"AutoTokenizer": ["tokens.FLMRContextEncoderTokenizer", None]},
    }.items():
        fields = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**fields, "auto_map": auto_map}))
    test_auto_classes_load_model_config_and_both_tokenizers(folder)


PUSH = """
import sys
from flmr import FLMRModelForRetrieval
model = FLMRModelForRetrieval.from_pretrained(sys.argv[1])
model.push_to_hub("somebody/figures", token="hf_none")
"""
SAVE_AND_PUSH = """
import sys
from pathlib import Path
from flmr import FLMRModelForRetrieval
model = FLMRModelForRetrieval.from_pretrained(sys.argv[1])
(Path(sys.argv[2]) / "notes.txt").write_text("not part of the model")
model.save_pretrained(
    sys.argv[2], push_to_hub=True, repo_id="somebody/figures", token="hf_none", commit_message="Second", private=True
)
again = FLMRModelForRetrieval.from_pretrained("somebody/figures")
assert again.query_tokenizer.describe() == model.query_tokenizer.describe()
assert all((a == b).all() for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
"""
PARTS = """
import sys
from flmr import FLMRConfig, FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer
where = {"push_to_hub": True, "repo_id": "somebody/figures", "token": "hf_none"}
FLMRConfig.from_pretrained(sys.argv[1]).push_to_hub("somebody/figures", token="hf_none")
for kind, side in ((FLMRQueryEncoderTokenizer, "query"), (FLMRContextEncoderTokenizer, "context")):
    tokenizer = kind.from_pretrained(sys.argv[1], subfolder=side + "_tokenizer")
    tokenizer.push_to_hub("somebody/figures", token="hf_none")
    tokenizer.save_pretrained(sys.argv[2] + "/" + side, **where)
    again = kind.from_pretrained("somebody/figures", force_download=True)
    assert again.describe() == tokenizer.describe()
"""
REFUSED = """
import sys
from flmr import FLMRModelForRetrieval
from flmr.errors import NotAvailable
model = FLMRModelForRetrieval.from_pretrained(sys.argv[1])
try:
    model.save_pretrained(sys.argv[2], push_to_hub=True, repo_id="somebody/figures", token="hf_another")
except NotAvailable as error:
    print(error)
"""


def with_hub(hub: Any, script: str, checkpoint: Path, folder: Path) -> str:  # noqa: F811
    """What a script prints for which the hub is the one on this machine, with an empty cache."""
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    (folder / "saved").mkdir()
    command = [sys.executable, "-c", script, str(checkpoint), str(folder / "saved")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_push_to_hub_uploads_the_saved_folder(tiny_checkpoint: Path, hub: Any, tmp_path: Path) -> None:  # noqa: F811
    with_hub(hub, PUSH, tiny_checkpoint, tmp_path)
    assert {n: content for n, content in hub.files.items() if n != "README.md"} == contents(tiny_checkpoint)


def test_saving_pushes_the_same_where_asked_and_it_loads_from_there(
    tiny_checkpoint: Path,
    hub: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    with_hub(hub, SAVE_AND_PUSH, tiny_checkpoint, tmp_path)
    assert hub.files == contents(tiny_checkpoint) and hub.commits == [("main", "Second")]


def test_tokenizers_and_configs_are_pushed_alone_too(tiny_checkpoint: Path, hub: Any, tmp_path: Path) -> None:  # noqa: F811
    with_hub(hub, PARTS, tiny_checkpoint, tmp_path)
    assert [message for _, message in hub.commits] == ["Upload config", *["Upload tokenizer"] * 4]


def test_what_a_hub_does_not_take_is_saved_and_said_in_one_line(
    tiny_checkpoint: Path,
    hub: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    message = with_hub(hub, REFUSED, tiny_checkpoint, tmp_path)
    assert "is saved but could not be pushed to 'somebody/figures' (" in message and message.count("\n") == 1, message
    assert contents(tmp_path / "saved") == contents(tiny_checkpoint) and hub.files == {}


# --- collections -------------------------------------------------------------------------------------------------


def test_documents_with_images_features_and_texts_share_a_collection(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, query_tokenizer, context_tokenizer = load(tiny_checkpoint)
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "picture.png")
    picture = image_processor(tmp_path / "processor", 32)(
        Image.open(tmp_path / "picture.png"), return_tensors="pt"
    ).pixel_values
    feature = model.context_vision_encoder(picture).summary[0].detach().double().numpy()
    collection = [
        "the rose is red", ("the rose is red", None, str(tmp_path / "picture.png")), ("the rose is red", feature, None),
        ("the sky", None, None),
    ]  # fmt: skip
    index(collection, model, tmp_path, nbits=0)
    with Index.open(tmp_path / "test_experiment" / "indexes" / "test_index.nbits=0") as stored:
        rows = [stored.vectors(str(i)) for i in range(4)]
    assert [len(item) for item in rows] == [7, 11, 11, 5]  # 4 rows of the picture come first
    assert np.abs(rows[1] - rows[2]).max() < 1e-3  # float16
    assert np.array_equal(rows[1][4:], rows[0])
    encoding = context_tokenizer("the rose is red")
    by_model = model.doc(
        encoding["input_ids"], encoding["attention_mask"], picture, concat_output_from_vision_encoder=True
    )
    expected = by_model.late_interaction_output[0, by_model.context_mask[0, :, 0]].detach().numpy()
    assert np.abs(rows[1] - expected).max() < 1e-3
    query = embed(model, query_tokenizer, "which: rose", pixel_values=picture)
    found = search_custom_collection(searcher_of(tmp_path, nbits=0), {"q": ""}, query).todict()["q"]
    assert sorted(doc[0] for doc in found) == [0, 1, 2, 3]


def test_a_model_is_left_as_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, *_ = load(tiny_checkpoint)
    model.train()
    model.query_vision_encoder.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    index(PASSAGE_CONTENTS, model, tmp_path, use_gpu=True)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.config.context_concat_output_from_vision_encoder is False


def test_documents_are_cut_at_doc_maxlen(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = index(["the rose " * 20, "the"], str(tiny_checkpoint), tmp_path, doc_maxlen=12)
    with Index.open(path) as stored:
        assert [len(stored.vectors(name)) for name in "01"] == [12, 4]


def test_an_index_that_stands_is_kept_and_replaced_only_on_request(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = str(tiny_checkpoint)
    path = index(PASSAGE_CONTENTS, model, tmp_path, overwrite=False)
    assert index(PASSAGE_CONTENTS, model, tmp_path, overwrite=False) == path and len(searcher_of(tmp_path)) == 20
    with pytest.warns(UserWarning, match="kept, with 20 documents; the collection has 3: pass overwrite=True"):
        index(PASSAGE_CONTENTS[:3], model, tmp_path, overwrite=False)
    index(PASSAGE_CONTENTS[:3], model, tmp_path, overwrite=True)
    assert len(searcher_of(tmp_path)) == 3


def test_the_index_opens_with_the_retriever_too(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from flmr import Query, Retriever

    path = index(PASSAGE_CONTENTS, load(tiny_checkpoint)[0], tmp_path)
    with Retriever.open(path) as retriever:
        hit = retriever.search(Query("which rose", instruction="a"), k=1)[0][0]
        assert hit.passage is not None and hit.passage.text == PASSAGE_CONTENTS[int(hit.id)]


def test_zero_rows_change_no_score_and_rankings_can_be_listed_and_saved(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, query_tokenizer, _ = load(tiny_checkpoint)
    index(PASSAGE_CONTENTS, model, tmp_path)
    rows = embed(model, query_tokenizer, "what is this: the rose", "which: a leaf").detach()
    assert (rows == 0).all(-1).any()  # the instruction's
    asked: dict[str, Any] = {
        "searcher": searcher_of(tmp_path),
        "queries": {7: "", "b": ""},
        "num_document_to_retrieve": 3,
    }
    found = search_custom_collection(query_embeddings=rows, **asked)
    kept = search_custom_collection(query_embeddings=rows, remove_zero_tensors=False, **asked)
    assert [row[:3] for row in found.tolist()] == [row[:3] for row in kept.tolist()]
    assert np.allclose([row[3] for row in found.tolist()], [row[3] for row in kept.tolist()], rtol=1e-5)
    as_list = search_custom_collection(query_embeddings=[rows[0].numpy(), rows[1].bfloat16()], **asked)
    assert as_list.todict()[7] == found.todict()[7] and len(as_list.data["b"]) == 3
    lines = Path(found.save(tmp_path / "found.tsv")).read_text().splitlines()
    assert lines[0].split("\t") == [str(value) for value in found.tolist()[0]] and len(lines) == 6


def test_an_index_with_ids_of_its_own_is_answered_in_them(tmp_path: Path) -> None:
    ids, rows = ["3", "007", "rose"], np.eye(16, dtype=np.float32)
    path = tmp_path / "test_experiment" / "indexes" / "test_index.nbits=8"
    Index.create(path, [rows[i : i + 1] for i in range(3)], ids, nbits=8).close()
    found = search_custom_collection(searcher_of(tmp_path), dict.fromkeys(range(3), ""), rows[:3, None])
    assert [found.todict()[i][0][0] for i in range(3)] == [3, "007", "rose"]


def test_nothing_asks_the_network_when_all_is_local(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, address: Any) -> None:
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    test_the_published_snippets_index_and_search(tiny_checkpoint, tmp_path)
    test_auto_classes_load_model_config_and_both_tokenizers(tiny_checkpoint)
    index(PASSAGE_CONTENTS, str(tiny_checkpoint), tmp_path, index_name="by_name")


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("collection", "message"),
    [
        ([], "empty"),
        ("passages.tsv", "must be a list of documents, not str"),
        (["a", None], r"document 1 must be a text, \(text, image features, None\)"),
        (["a", ("7", "b")], "document 1 must be a text"),
        ([("a", np.zeros(32), "b.png")], "document 0 has both image features and an image"),
        (["a", ("a", np.zeros(31), None)], r"document 1: image features must be 32 numbers, not float64 \(31,\)"),
    ],
)
def test_a_collection_that_cannot_be_indexed_is_explained(
    tiny_checkpoint: Path, tmp_path: Path, collection: Any, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        index(collection, str(tiny_checkpoint), tmp_path)
    assert not (tmp_path / "test_experiment").exists()


def test_an_unreadable_image_is_named_by_its_place(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"document 1: image .*missing\.png"):
        index(["a", ("the rose", None, "missing.png")], str(tiny_checkpoint), tmp_path)


def test_a_model_that_cannot_index_is_explained(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, *_ = load(tiny_checkpoint)
    model.context_tokenizer = None
    with pytest.raises(InvalidInput, match="its query_tokenizer and context_tokenizer"):
        index(["a"], model, tmp_path)
    with pytest.raises(InvalidInput, match="not Linear"):
        index(["a"], torch.nn.Linear(1, 1), tmp_path)
    with pytest.raises(TypeError, match="index_naem"):
        index(["a"], model, tmp_path, index_naem="a")
    with pytest.raises(InvalidInput, match="nbits must be one of"):
        index(["a"], str(tiny_checkpoint), tmp_path, nbits=5)


def test_queries_that_do_not_fit_are_explained(tiny_checkpoint: Path, tmp_path: Path) -> None:
    index(["a", "the rose"], str(tiny_checkpoint), tmp_path)
    searcher, rows = searcher_of(tmp_path), torch.ones(2, 3, 16)
    refused = {
        "1 queries have 2 embeddings": ({0: "a"}, rows),
        r"query 1 must be \(L, D\), not \(16,\)": ({1: "a", 2: "b", 3: "c"}, rows[0]),
        "query 'b' has only zero rows": ({"a": "", "b": ""}, torch.cat([rows[:1], 0 * rows[:1]])),
        "D=8 but the index has D=16": ({0: "", 1: ""}, torch.ones(2, 3, 8)),
        "a dict from query ids to texts, not list": (["a", "b"], rows),
        "k must be a whole number from 1": ({0: "", 1: ""}, rows, 0),
    }
    for message, arguments in refused.items():
        with pytest.raises(InvalidInput, match=message):
            search_custom_collection(searcher, *arguments)
    with pytest.raises(InvalidInput, match="create_searcher"):
        search_custom_collection(str(tmp_path), {0: "a"}, rows[:1])
    assert search_custom_collection(searcher, {}, rows[:0]).todict() == {}


def test_an_index_of_the_published_engine_is_told_how_to_come_over(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder, stored = tmp_path / "test_experiment" / "indexes" / "test_index.nbits=8", coded(nbits=8)
    folder.parent.mkdir(parents=True)
    write_colbert(folder, stored)
    with pytest.raises(NotAnIndex, match=r"test_index\.nbits=8 is an index of the published engine") as refused:
        searcher_of(tmp_path)
    for overwrite in (True, False):
        with pytest.raises(AlreadyExists, match="`flmr import"):
            index(["a"], str(tiny_checkpoint), tmp_path, overwrite=overwrite)

    command = str(refused.value).split("`")[1].replace("NAME", "taken_over").split()
    done = CliRunner().invoke(app, command[1:])
    assert command[0] == "flmr" and done.exit_code == 0, done.output
    rows = stored.items[5]
    found = search_custom_collection(searcher_of(tmp_path, index_name="taken_over"), {0: ""}, rows[None])
    assert found.todict()[0][0][0] == 5


def test_an_index_under_another_name_is_pointed_to(tiny_checkpoint: Path, tmp_path: Path) -> None:
    index(["a"], str(tiny_checkpoint), tmp_path)
    with pytest.raises(NotAnIndex, match=r"nbits=2 does not exist.*beside it: test_index\.nbits=8"):
        searcher_of(tmp_path, nbits=2)
    with pytest.raises(NotAnIndex, match="make it with index_custom_collection"):
        searcher_of(tmp_path / "elsewhere")
