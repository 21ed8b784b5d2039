"""A tiny knowledge base of coloured squares and a recipe for a tiny model, made anew for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from json_lines import read_jsonl, write_jsonl
from PIL import Image

COLOURS = {
    "red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 230), "yellow": (230, 220, 30),
    "black": (10, 10, 10), "white": (245, 245, 245), "pink": (240, 130, 200), "cyan": (20, 220, 220),
}  # fmt: skip
QUESTIONS = {"use": "What is it used for?", "origin": "Where does it come from?"}

REGIONS: list[list[list[float]]] = [
    [],
    [[0.0, 0.0, 0.5, 1.0]],
    [[0.5, 0.0, 1.0, 1.0]],
    [[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0]],
]

RECIPE = """
seed = 3

[model]
text_config = {{ hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 64 }}
vocabulary_size = 320
vision_tower = "clip"
query_maxlen = 24
doc_maxlen = 32
[model.vision_config]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 2
image_size = 16
patch_size = 8
[model.config]
dim = 16
mapping_network_prefix_length = 4
mask_instruction_token = ":"
use_transformer_mapping_network = true
transformer_mapping_config_base = {{ hidden_size = 32, num_attention_heads = 2, intermediate_size = 64 }}
transformer_mapping_num_hidden_layers = 1

[data]
passages = "passages.jsonl"
questions = "questions.jsonl"
valid_questions = "questions.jsonl"

[augment]
views = 1

[train]
steps = 12
batch_size = 8
learning_rate_text = 1e-3
learning_rate_vision = 1e-3
learning_rate_mapping = 1e-3
learning_rate_linear = 1e-3
warmup = 2
precision = "float32"
evaluate_every = 6
{extra}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with passages, questions about pictures, and the pictures."""
    (tmp_path / "images").mkdir()
    passages, questions = [], []
    for name, rgb in COLOURS.items():
        Image.new("RGB", (20, 20), rgb).save(tmp_path / "images" / f"{name}.png")
        for kind, question in QUESTIONS.items():
            text = f"The {name} square is for {name} things." if kind == "use" else f"It is from {name} land."
            passages.append({"id": f"{name}-{kind}", "title": name, "text": text, "entity": name, "kind": kind})
            questions.append(
                {"id": f"q-{name}-{kind}", "text": question, "instruction": "Find the answer:", "entity": name,
                 "image": f"images/{name}.png", "positive_ids": [f"{name}-{kind}"], "kind": kind}
            )  # fmt: skip
    write_jsonl(tmp_path / "passages.jsonl", passages)
    write_jsonl(tmp_path / "questions.jsonl", questions)
    return tmp_path


@pytest.fixture
def pictured(world: Path) -> Path:
    """The world with noise for pictures: questions with none to three images, half of the passages with one."""
    rng = np.random.default_rng(0)
    for path in sorted((world / "images").iterdir()):
        noise = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
        noise.resize((30, 20), Image.Resampling.NEAREST).save(path)
    passages, questions = read_jsonl(world / "passages.jsonl"), read_jsonl(world / "questions.jsonl")
    for passage in passages[::2]:
        passage["image"] = f"images/{passage['entity']}.png"
    for i, question in enumerate(questions):
        question["image_regions"] = REGIONS[i % 4]
    for question in questions[3::5]:
        del question["image"], question["image_regions"]
    write_jsonl(world / "passages.jsonl", passages)
    write_jsonl(world / "questions.jsonl", questions)
    return world


@pytest.fixture
def write_recipe(world: Path) -> Callable[..., Path]:
    """Write the tiny recipe into the world, some of its text replaced and some added."""

    def write(*replacements: tuple[str, str], extra: str = "", name: str = "tiny.toml") -> Path:
        text = RECIPE.format(extra=extra)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = world / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that whatever the machine the same sums are added in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
