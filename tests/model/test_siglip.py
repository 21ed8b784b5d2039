"""SigLIP in the encoder's role, against transformers' own classes on small models of random weights."""

from __future__ import annotations

import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from flmr import Passage, Query, Retriever, load_encoder
from flmr.errors import CheckpointError, MissingExtra
from flmr.model.siglip import load_siglip
from flmr.roles import Encoder

TOWER = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
TEXTS = ["A red Bird", "of the bird, and an animal of the sea that is longer than the tower can read", "42 o'clock"]
WORDS = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "a",
    "red",
    "bird",
    "of",
    "the",
    "and",
    "an",
    "animal",
    "sea",
    "that",
    "is",
]


def save_towers(folder: Path, vocab_size: int, pad_id: int, **vision: Any) -> None:
    """Towers and preparation as transformers saves them."""
    torch.manual_seed(5)
    config = SiglipConfig(
        text_config={**TOWER, "vocab_size": vocab_size, "max_position_embeddings": 16, "pad_token_id": pad_id},
        vision_config={**TOWER, "image_size": 16, "patch_size": 8, **vision},
    )
    model = SiglipModel(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    SiglipImageProcessorPil(size=size, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.25]).save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the second generation at one resolution: its tokenizer is a tokenizer.json that pads with <pad>."""
    folder = tmp_path_factory.mktemp("siglip") / "checkpoint"
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    ).save_pretrained(folder)
    save_towers(folder, len(WORDS), 0)
    return folder


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(checkpoint, tmp_path / "siglip"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three pictures of different colours and shapes."""
    paths = []
    for i, size in enumerate([(30, 20), (16, 16), (11, 40)]):
        image = Image.radial_gradient("L").resize(size)
        bands = [image.rotate(90 * i), image.point(lambda v, i=i: (v * (i + 2)) % 256), image.point(lambda v: 255 - v)]
        paths.append(tmp_path / f"{i}.png")
        Image.merge("RGB", bands).save(paths[-1])
    return paths


def of_transformers(folder: Path, texts: list[str], pictures: list[Path]) -> Any:
    """What transformers' own model, tokenizer and processor make of them, as its documentation calls them."""
    model = SiglipModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=16, return_tensors="pt")["input_ids"]
    processor = SiglipImageProcessorPil.from_pretrained(folder)
    pixels = processor([Image.open(path) for path in pictures], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        return ids, pixels, model(input_ids=ids, pixel_values=pixels)


def test_vectors_are_those_of_transformers(checkpoint: Path, pictures: list[Path]) -> None:
    ids, pixels, output = of_transformers(checkpoint, [text.lower() for text in TEXTS], pictures)
    siglip = load_siglip(checkpoint)
    assert torch.equal(siglip.ids(TEXTS), ids) and ids.shape == (3, 16) and ids[0, -1] == 0
    assert torch.equal(siglip.embed_texts(TEXTS), torch.nn.functional.normalize(output.text_model_output.pooler_output))
    assert torch.equal(
        siglip.embed_pixels(pixels), torch.nn.functional.normalize(output.vision_model_output.pooler_output)
    )

    encoder = load_encoder(checkpoint, device="cpu")
    assert isinstance(encoder, Encoder) and encoder.dim == 16 and encoder.fingerprint.startswith("siglip-")
    texts = encoder.encode_queries([Query(text) for text in TEXTS])
    images = encoder.encode_passages([Passage(str(i), image=path) for i, path in enumerate(pictures)])
    assert texts.lengths.tolist() == [1] * 3 and images.lengths.tolist() == [1] * 3
    assert np.abs(texts.vectors - output.text_embeds.numpy()).max() < 2e-6
    assert np.abs(images.vectors - output.image_embeds.numpy()).max() < 2e-6


def test_an_index_of_it_finds_pictures_and_texts(checkpoint: Path, pictures: list[Path], tmp_path: Path) -> None:
    passages = [Passage(path.stem, image=path) for path in pictures] + [Passage("text", TEXTS[0])]
    Retriever.build(passages, tmp_path / "index", checkpoint, nbits=0, progress=False).close()
    with Retriever.open(tmp_path / "index") as retriever:
        assert retriever.search(Query(image=pictures[2]), k=1)[0][0].id == "2"
        assert retriever.search(TEXTS[0].upper(), k=1)[0][0].id == "text"


def test_the_first_generation_is_read_by_its_sentence_pieces(tmp_path: Path, pictures: list[Path]) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="pip install 'flmr[siglip]'")
    pytest.importorskip("google.protobuf", reason="pip install 'flmr[siglip]'")
    from transformers import SiglipTokenizer

    sentences = [f"{a} {b} {c}" for a in WORDS[4:] for b in WORDS[4:] for c in ("clock", "longer", "than", "tower")]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=28, pad_id=-1, bos_id=-1, eos_id=1, unk_id=2
    )
    (tmp_path / "spiece.model").write_bytes(written.getvalue())
    SiglipTokenizer(str(tmp_path / "spiece.model"), model_max_length=16).save_pretrained(tmp_path)
    save_towers(tmp_path, 28, 1)
    ids, _, output = of_transformers(tmp_path, TEXTS, pictures)
    siglip = load_siglip(tmp_path)
    assert torch.equal(siglip.ids(TEXTS), ids) and ids[0, -1] == 1  # padded with the end
    assert torch.equal(siglip.embed_texts(TEXTS), torch.nn.functional.normalize(output.text_model_output.pooler_output))


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_without_sentence_pieces_the_first_generation_says_what_to_install(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    (folder / "spiece.model").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"pip install 'flmr\[siglip\]'$"):
        load_encoder(folder)


def test_pictures_are_prepared_as_a_whole_processor_says_too(checkpoint: Path, folder: Path) -> None:
    stored = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    assert load_siglip(folder).framing.mean == (0.5, 0.5, 0.5)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": stored}))
    assert load_siglip(folder).framing == load_siglip(checkpoint).framing


def _change(folder: Path, name: str, **values: Any) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, **values}))


def _change_tower(folder: Path, tower: str, **values: Any) -> None:
    stored = json.loads((folder / "config.json").read_text())
    _change(folder, "config.json", **{tower: {**stored[tower], **values}})


def _drop(folder: Path, weight: str) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({n: t.clone() for n, t in weights.items() if n != weight}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: _drop(f, "vision_model.head.probe"), r"missing vision_model\.head\.probe"),
        (lambda f: _drop(f, "logit_bias"), "missing logit_bias"),
        (lambda f: _change_tower(f, "text_config", vocab_size=4), "has shape"),
        (lambda f: _change_tower(f, "vision_config", image_size=32), "16 x 16 pixels .* takes 32 x 32"),
        (lambda f: _change_tower(f, "vision_config", vision_use_head=False), "unexpected vision_model.head"),
        (lambda f: _change(f, "config.json", vision_config="big"), "describes no Siglip model"),
        (lambda f: _change(f, "config.json", model_type="siglip2"), "holds a 'siglip2' model .* one resolution"),
        (lambda f: _change(f, "preprocessor_config.json", do_center_crop=True), "is not SigLIP's preparation"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer in .* cannot be read"),
    ],
)  # fmt: skip
def test_a_spoiled_folder_ends_in_one_line(folder: Path, spoil: Any, said: str) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_of_two_layouts_is_read_by_the_weights_that_are_there(checkpoint: Path, folder: Path) -> None:
    config = {"model_cfg": {"embed_dim": 16, "init_logit_bias": -10, "vision_cfg": {"timm_model_name": "vit"}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert load_encoder(folder).fingerprint == load_encoder(checkpoint).fingerprint
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="is of SigLIP; take its checkpoint in transformers' layout"):
        load_encoder(folder)


def test_towers_that_do_not_end_in_one_space_are_refused(folder: Path) -> None:
    save_towers(folder, len(WORDS), 0, hidden_size=24)
    with pytest.raises(CheckpointError, match=r"do not end in one space \(widths 16 and 24"):
        load_encoder(folder)
    save_towers(folder, len(WORDS), 0, vision_use_head=False)
    with pytest.raises(CheckpointError, match="do not end in one space"):
        load_encoder(folder)


def test_a_tokenizer_of_more_words_than_the_tower_is_refused(folder: Path, tmp_path: Path) -> None:
    save_towers(tmp_path / "other", len(WORDS) - 3, 0)
    for path in (tmp_path / "other").iterdir():
        shutil.copy(path, folder)
    with pytest.raises(CheckpointError, match=r"ids up to 14, padding 0\) does not fit the text tower \(12 ids\)"):
        load_encoder(folder)
