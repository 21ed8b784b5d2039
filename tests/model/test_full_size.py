"""The published sizes of PreFLMR, whole: random weights in the published layout are loaded and encode both sides.

Each size is loaded in a process of its own, which reports its time and its peak of memory.
"""

from __future__ import annotations

import json
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from flmr.model.flmr import FLMRConfig, FLMRModelForRetrieval, new_tokenizers
from flmr.model.flmr.checkpoint import canonical_state
from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS

LARGE = {"patch_size": 14, "num_attention_heads": 16}
VISION: dict[str, dict[str, Any]] = {
    "B": {},
    "L": {**LARGE, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
    "G": {**LARGE, "hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48, "hidden_act": "gelu"},
}
SHARD_BYTES = 5_000_000_000  # as the published files are cut

MEASURE = """
import json, resource, sys, threading, time
import torch
from PIL import Image
from flmr import FLMRContextEncoderTokenizer, FLMRModelForRetrieval, FLMRQueryEncoderTokenizer
from flmr.model.image_processor import preprocess

peak, done = [0], threading.Event()
def watch():
    while not done.wait(0.005):
        lines = open("/proc/self/status").read().splitlines()
        peak[0] = max(peak[0], *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
threading.Thread(target=watch, daemon=True).start()

folder, dtype = sys.argv[1], getattr(torch, sys.argv[2])
clock = [time.perf_counter()]
query_tokenizer = FLMRQueryEncoderTokenizer.from_pretrained(folder, subfolder="query_tokenizer")
context_tokenizer = FLMRContextEncoderTokenizer.from_pretrained(folder, subfolder="context_tokenizer")
model, info = FLMRModelForRetrieval.from_pretrained(
    folder, query_tokenizer=query_tokenizer, context_tokenizer=context_tokenizer, dtype=dtype, output_loading_info=True
)
clock.append(time.perf_counter())
with torch.inference_mode():
    query = model.query(
        **query_tokenizer(["find what is shown: word7 word8"]),
        pixel_values=preprocess([Image.linear_gradient("L").convert("RGB")], model.config),
    ).late_interaction_output
    clock.append(time.perf_counter())
    passage = model.doc(**context_tokenizer(["word1 word2 " * 200])).late_interaction_output
    clock.append(time.perf_counter())
done.set()
print(json.dumps({
    "parameters": sum(p.numel() for p in model.parameters()),
    "query": list(query.shape), "passage": list(passage.shape),
    "finite": bool(torch.isfinite(query).all() and torch.isfinite(passage).all()),
    "longest_row": max(float(rows.float().norm(dim=-1).max()) for rows in (query, passage)),
    "info": info, "threads": torch.get_num_threads(),
    "load_s": clock[1] - clock[0], "query_s": clock[2] - clock[1], "passage_s": clock[3] - clock[2],
    "own_gb": peak[0] * 1024 / 1e9,
    "with_mapped_file_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
}))
"""


def write_published_layout(folder: Path, size: str) -> None:
    """config.json that states what differs from the defaults, float32 weights in shards, and both tokenizer folders."""
    config = {
        "architectures": ["FLMRModelForRetrieval"], "model_type": "flmr", "torch_dtype": "float32",
        "transformers_version": "4.37.2", "mask_instruction_token": ":", "use_transformer_mapping_network": True,
        "separate_query_and_context_text_encoder": True, "transformer_mapping_config_base": "bert-base-uncased",
        "transformer_mapping_num_hidden_layers": 1, "text_config": {"model_type": "flmr_text_model"},
        "vision_config": {"model_type": "flmr_vision_model", **VISION[size]},
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    words = [*RESERVED_TOKENS, *string.punctuation, *string.ascii_lowercase]
    words += [f"word{i}" for i in range(30522 - len(words))]
    query_tokenizer, context_tokenizer = new_tokenizers(words)
    query_tokenizer.save_pretrained(folder / "query_tokenizer")
    context_tokenizer.save_pretrained(folder / "context_tokenizer")

    with torch.device("meta"):
        shapes = canonical_state(FLMRModelForRetrieval(FLMRConfig.from_pretrained(folder)), FLMRConfig(**config))
    generator, weight_map = torch.Generator().manual_seed(0), {}
    for number, names in enumerate(_shards(shapes)):
        file = f"model-{number:05}.safetensors"
        save_file({name: _random(name, shapes[name].shape, generator) for name in names}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    if len(set(weight_map.values())) == 1:
        (folder / file).rename(folder / "model.safetensors")
    else:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _shards(shapes: dict[str, torch.Tensor]) -> Iterator[list[str]]:
    names: list[str] = []
    for name in shapes:
        if sum(4 * shapes[other].numel() for other in [*names, name]) > SHARD_BYTES:
            yield names
            names = []
        names.append(name)
    yield names


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if name.endswith(("norm.weight", "LayerNorm.weight", "norm1.weight", "norm2.weight")):
        return torch.ones(shape)
    return torch.empty(shape).normal_(0, 0.02, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "dtype", "parameters", "rows"),
    [
        ("B", "float32", 327e6, 113),
        ("L", "float32", 543e6, 320),
        ("G", "float32", 2.1e9, 320),
        ("G", "bfloat16", 2.1e9, 320),
    ],
)
def test_a_published_size_loads_in_little_more_than_its_weights(
    tmp_path: Path, size: str, dtype: str, parameters: float, rows: int
) -> None:
    folder = tmp_path / size
    write_published_layout(folder, size)
    command = [sys.executable, "-c", MEASURE, str(folder), dtype]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3600)
    for file in folder.glob("*.safetensors"):
        file.unlink()  # gigabytes, which pytest would keep
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(json.dumps(found))
    assert abs(found["parameters"] / parameters - 1) < 0.03
    assert not any(found["info"].values())
    assert found["query"] == [1, rows, 128] and found["passage"] == [1, 512, 128]
    assert found["finite"] and found["longest_row"] == pytest.approx(1, abs=0.01)
    weights_gb = found["parameters"] * getattr(torch, dtype).itemsize / 1e9
    assert found["own_gb"] < 1.1 * weights_gb + 1  # 1 GB: the interpreter, torch, and what one item makes of layers
