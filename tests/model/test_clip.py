"""CLIP in the encoder's role, against transformers' own classes on small models of random weights."""

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
from transformers import CLIPConfig, CLIPModel

from flmr import Passage, Query, Retriever, SearchParams, load_encoder
from flmr.cli import main
from flmr.errors import CheckpointError, EncoderMismatch, InvalidInput, UnreadableImage
from flmr.model.clip import load_clip
from flmr.model.single import SingleVectorEncoder
from flmr.records import Region
from flmr.roles import Encoder

PAIRS = Path(__file__).parent / "golden" / "open_clip"  # byte pairs for a tokenizer
TOWER = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
TEXTS = ["a red bird", "of the bird, and an animal of the sea that is longer than the tower can read", "42 o'clock"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it, with the tokenizer and the preprocessor beside it."""
    folder = tmp_path_factory.mktemp("clip") / "checkpoint"
    vocab = json.loads((PAIRS / "vocab.json").read_text(encoding="utf-8"))
    ends = {"bos_token_id": vocab["<|startoftext|>"], "eos_token_id": vocab["<|endoftext|>"]}
    torch.manual_seed(5)
    config = CLIPConfig(
        text_config={**TOWER, **ends, "vocab_size": len(vocab), "max_position_embeddings": 16},
        vision_config={**TOWER, "image_size": 16, "patch_size": 8},
        projection_dim=12,
    )
    model = CLIPModel(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(PAIRS / name, folder / name)
    preparation = {
        "do_resize": True, "size": {"shortest_edge": 16}, "do_center_crop": True,
        "crop_size": {"height": 16, "width": 16}, "resample": 3, "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(checkpoint, tmp_path / "clip"))


@pytest.fixture
def encoder(checkpoint: Path) -> Any:
    return load_encoder(checkpoint, device="cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Four pictures of different colours and shapes."""
    paths = []
    for i, size in enumerate([(30, 20), (16, 16), (11, 40), (64, 50)]):
        image = Image.radial_gradient("L").resize(size)
        bands = [image.rotate(90 * i), image.point(lambda v, i=i: (v * (i + 2)) % 256), image.point(lambda v: 255 - v)]
        paths.append(tmp_path / f"{i}.png")
        Image.merge("RGB", bands).save(paths[-1])
    return paths


def test_vectors_are_those_of_transformers(checkpoint: Path, encoder: Any, pictures: list[Path]) -> None:
    from transformers import CLIPImageProcessorPil, CLIPTokenizer

    model = CLIPModel.from_pretrained(checkpoint).eval()
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
    pixels = processor([Image.open(path) for path in pictures], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        output = model(pixel_values=pixels, **inputs)

    texts = encoder.encode_queries([Query(text) for text in TEXTS])
    images = encoder.encode_passages([Passage(str(i), image=path) for i, path in enumerate(pictures)])
    assert texts.lengths.tolist() == [1] * 3 and images.lengths.tolist() == [1] * 4
    assert np.abs(texts.vectors - output.text_embeds.numpy()).max() < 2e-6
    assert np.abs(images.vectors - output.image_embeds.numpy()).max() < 2e-6


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_both_towers_are_bit_for_bit_those_of_transformers(folder: Path, act: str) -> None:
    stored = json.loads((folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        stored[tower]["hidden_act"] = act
    (folder / "config.json").write_text(json.dumps(stored))
    clip, model = load_clip(folder), CLIPModel.from_pretrained(folder).eval()
    longest = max(len(clip._ids(text)) for text in TEXTS)
    ids = torch.tensor([(own := clip._ids(text)) + [own[-1]] * (longest - len(own)) for text in TEXTS])
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        texts = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        images = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    assert torch.equal(clip.embed_texts(TEXTS), torch.nn.functional.normalize(texts))
    assert torch.equal(clip.embed_pixels(pixels), torch.nn.functional.normalize(images))


def test_it_is_an_encoder(encoder: Any) -> None:
    assert isinstance(encoder, Encoder) and isinstance(encoder, SingleVectorEncoder)
    assert encoder.encodes_images and encoder.dim == 12


def test_pictures_are_found_by_text_and_texts_by_pictures(
    encoder: Any, checkpoint: Path, pictures: list[Path], tmp_path: Path
) -> None:
    passages = [Passage(f"picture{i}", f"its caption {i}", image=path) for i, path in enumerate(pictures)]
    passages += [Passage(f"text{i}", text) for i, text in enumerate(TEXTS)]
    vectors = encoder.encode_passages(passages).vectors
    queries = [Query(TEXTS[0]), Query(image=pictures[2]), Query(TEXTS[1], image=pictures[0])]
    with Retriever.build(passages, tmp_path / "index", encoder, nbits=0, progress=False) as retriever:
        found = retriever.search(queries, k=7, params=SearchParams(exact=True))
        for query, hits in zip(queries, found, strict=True):
            scores = vectors @ encoder.encode_queries([query])[0][0]
            dots = {passage.id: float(score) for passage, score in zip(passages, scores, strict=True)}
            assert {hit.id for hit in hits} == set(dots)
            assert max(abs(hit.score - dots[hit.id]) for hit in hits) < 2**-10  # rows are stored as float16
    with Retriever.open(tmp_path / "index") as again:
        assert [hit.id for hit in again.search(queries[0], k=7)[0]] == [hit.id for hit in found[0]]
        explained = again.explain(queries[1], found[1][0])
        assert [row.kind for row in explained.query_rows] == ["image"]
        assert abs(float(explained.similarities[0, 0]) - found[1][0].score) < 1e-6


def test_a_query_of_both_is_the_mean_of_its_two_vectors(encoder: Any, pictures: list[Path]) -> None:
    text, picture, both = encoder.encode_queries(
        [Query(TEXTS[0]), Query(image=pictures[0]), Query(TEXTS[0], image=pictures[0])]
    )
    assert np.allclose(both, (text + picture) / np.linalg.norm(text + picture), atol=1e-6)


def test_vectors_do_not_depend_on_the_batch(encoder: Any, checkpoint: Path, pictures: list[Path]) -> None:
    small = load_encoder(checkpoint, device="cpu", batch_size=2)
    queries = [Query(text) for text in TEXTS] + [Query(image=path) for path in pictures]
    assert (
        np.abs(small.encode_queries(queries).vectors - encoder.encode_queries(queries[::-1]).vectors[::-1]).max() < 2e-6
    )


def test_an_item_without_text_and_picture_has_no_vector(encoder: Any) -> None:
    found = encoder.encode_passages([Passage("empty"), Passage("full", "bird")])
    assert found.lengths.tolist() == [0, 1]
    assert encoder.explain_passage(Passage("empty"))[1] == ()


def test_an_unreadable_picture_names_its_record(encoder: Any, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="query 'q'"):
        encoder.encode_queries([Query(image=tmp_path / "none.png", id="q")])
    with pytest.raises(UnreadableImage, match="passage 'p'"):
        encoder.encode_passages([Passage("p", image=tmp_path / "none.png")])


def test_regions_are_refused_by_name(encoder: Any, pictures: list[Path]) -> None:
    with pytest.raises(InvalidInput, match=r"query 'q' names regions; .* makes one vector of a picture"):
        encoder.encode_queries([Query(image=pictures[0], regions=(Region(0, 0, 0.5, 1),), id="q")])


def test_one_vector_cannot_be_pooled(checkpoint: Path) -> None:
    with pytest.raises(InvalidInput, match=r"makes one vector of a query.*leave pool_visual out"):
        load_encoder(checkpoint, device="cpu", pool_visual=2)


def test_an_index_of_another_clip_refuses_this_one(encoder: Any, folder: Path, tmp_path: Path) -> None:
    Retriever.build([Passage("a", "bird")], tmp_path / "index", encoder, progress=False).close()
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderMismatch):
        Retriever.open(tmp_path / "index", folder)


def test_tokenizer_json_and_the_pair_files_give_the_same_ids(checkpoint: Path, folder: Path) -> None:
    from transformers import CLIPTokenizer

    CLIPTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    assert (folder / "tokenizer.json").is_file()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    assert [load_clip(folder)._ids(text) for text in TEXTS] == [load_clip(checkpoint)._ids(text) for text in TEXTS]


def test_buffers_that_old_versions_saved_are_no_weights(folder: Path, checkpoint: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(weights, folder / "model.safetensors")
    assert load_clip(folder).fingerprint() == load_clip(checkpoint).fingerprint()


def _without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def _change(folder: Path, name: str, **values: Any) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, **values}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: _without(f, "vocab.json"), "neither tokenizer.json nor vocab.json"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer in .* cannot be read"),
        (lambda f: (f / "vocab.json").write_text('{"a": 0, "a</w>": 1}'), "cannot be read|does not fit"),
        (lambda f: _change(f, "preprocessor_config.json", crop_size=32, size=32), "32 x 32 pixels .* takes 16 x 16"),
        (lambda f: _change(f, "preprocessor_config.json", do_center_crop=False), "is not CLIP's preparation"),
        (lambda f: _change(f, "config.json", vision_config="big"), "describes no CLIP model"),
        (lambda f: _change(f, "config.json", projection_dim=6), "has shape"),
        (lambda f: _without(f, "model.safetensors"), "holds no weights"),
    ],
)  # fmt: skip
def test_a_spoiled_folder_ends_in_one_line(folder: Path, spoil: Any, said: str) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", ["missing", "unexpected"])
def test_a_missing_or_extra_weight_is_named(folder: Path, side: str) -> None:
    weights = load_file(folder / "model.safetensors")
    if side == "missing":
        del weights["visual_projection.weight"]
    else:
        weights["head.weight"] = torch.ones(1)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{side} (visual_projection|head).weight"):
        load_encoder(folder)


def test_the_command_line_finds_pictures(
    checkpoint: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"id": path.stem, "text": "", "image": path.name}) for path in pictures]
    (tmp_path / "passages.jsonl").write_text("\n".join(lines))
    out = str(tmp_path / "index")
    options = ["--out", out, "--encoder", str(checkpoint), "--nbits", "0"]
    assert main(["index", str(tmp_path / "passages.jsonl"), *options]) == 0
    capsys.readouterr()
    assert main(["search", out, "--image", str(pictures[2]), "-k", "1", "--json"]) == 0
    assert [hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["2"]
