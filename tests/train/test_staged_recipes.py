"""The committed recipes of FLMR and PreFLMR, run one after another on small files in M2KR's layout and small towers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from task_files import M2KR_SUBSETS, write_m2kr
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel

from flmr.data.tasks import TASKS
from flmr.errors import CheckpointError, InvalidRecipe
from flmr.model import load_encoder
from flmr.model.flmr import FLMRModelForRetrieval
from flmr.model.flmr.checkpoint import canonical_state
from flmr.model.flmr.new_checkpoint import build_vocab, load_checkpoint
from flmr.records import Query
from flmr.train import TrainResult, load_training_recipe, train
from flmr.train.optimizer import group_of

ROOT = Path(__file__).parents[2]
COLBERT = ROOT / "tests" / "model" / "golden" / "colbert"
# What makes a recipe small; its stages, tasks, weights, switches, losses and what moves stay.
SMALLER = {
    r"^(steps|epochs) = .*$": "steps = 3",
    r"^batch_size = .*$": "batch_size = 6",
    r"^warmup = .*$": "warmup = 1",
    r"^evaluate_every = .*$": 'evaluate_every = 3\nchoose = "last"',
    r"^learning_rate_(\w+) = .*$": r"learning_rate_\1 = 1e-3",
    r'^text_tower = ".*"$': 'text_tower = "{bert}"',
    r'^transformer_mapping_config_base = "bert-base-uncased"$': (
        "transformer_mapping_config_base = {{ hidden_size = 32, num_attention_heads = 2, intermediate_size = 48 }}"
    ),
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tables of M2KR with their pictures, a BERT and a CLIP, in a folder beside which the recipes are run."""
    for name in M2KR_SUBSETS:
        write_m2kr(tmp_path / "m2kr", name, ("train", "valid"))
    (tmp_path / "m2kr/images/CC").rename(tmp_path / "m2kr/images/CC3M")
    torch.manual_seed(0)
    instructions = [text for task in TASKS.values() for text in task.instructions]
    vocabulary = build_vocab([*instructions, "Published words which is red green blue thing"], 500)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    bert = BertModel(BertConfig(vocab_size=len(vocabulary), hidden_size=32, max_position_embeddings=512, **shape))
    bert.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(vocabulary))
    towers = {"hidden_size": 24, **shape, "projection_dim": 8}
    clip = CLIPModel(
        CLIPConfig(
            text_config={"vocab_size": 20, **towers}, vision_config={"image_size": 16, "patch_size": 8, **towers}
        )
    )
    clip.save_pretrained(tmp_path / "clip")
    for name, folder in (("M2KR", "m2kr"), ("M2KR_IMAGES", "m2kr/images"), ("CLIP", "clip")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("COLBERT", str(COLBERT))
    (tmp_path / "training").mkdir()
    return tmp_path


def run(world: Path, name: str) -> TrainResult:
    """Run a committed recipe, made small, where it finds the run that it starts from."""
    text = (ROOT / "training" / f"{name}.toml").read_text()
    for pattern, small in SMALLER.items():
        text = re.sub(pattern, small.format(bert=world / "bert"), text, flags=re.MULTILINE)
    path = world / "training" / f"{name}.toml"
    path.write_text(text)
    return train(path, out=world / "runs" / name, progress=False)


def weights(folder: Path) -> tuple[FLMRModelForRetrieval, dict[str, torch.Tensor]]:
    model, _, _ = load_checkpoint(folder)
    return model, canonical_state(model, model.config)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The groups of which a weight that both have differs; one tower that became two is compared with both."""
    found = set()
    for name, tensor in after.items():
        source = before.get(name, before.get(name.replace("context_", "query_", 1)))
        if source is not None and not torch.equal(source, tensor):
            found.add(group_of(name))
    return found


def test_preflmr_is_trained_in_four_stages_each_from_the_one_before(world: Path) -> None:
    results, states = [], []
    for number in range(4):
        result = run(world, f"preflmr-stage{number}")
        assert result.steps == 3 and not result.left_out.get("pictures")
        results.append(result)
        model, state = weights(result.folder)
        states.append(state)
    none, mapping, knowledge, all_tasks = states
    assert not any(name.startswith(("query_vision", "transformer")) for name in none)
    assert moved(none, mapping) == set(), "stage 1 moves mapping networks only, and stage 0 had none"
    seen = {n.partition("vision_model.")[2]: t for n, t in mapping.items() if group_of(n) == "vision"}
    clip = CLIPModel.from_pretrained(world / "clip").vision_model.state_dict()
    assert seen and all(torch.equal(clip[name.removeprefix("vision_model.")], tensor) for name, tensor in seen.items())
    assert moved(mapping, knowledge) == moved(knowledge, all_tasks) == {"text", "linear", "mapping"}
    assert model.config.separate_query_and_context_text_encoder and model.config.mask_instruction_token == ":"
    pooler = "_text_encoder.bert_model.encoder.layer.0.output.dense.weight"
    assert not torch.equal(all_tasks[f"query{pooler}"], all_tasks[f"context{pooler}"])
    assert {name.rpartition("/")[0] for name in results[3].values} == {
        f"m2kr/{task}" for task in ("wit", "kvqa", "msmarco", "oven", "okvqa", "evqa")
    }
    encoder = load_encoder(str(results[3].folder), device="cpu")
    rows = encoder.encode_queries([Query("which red is 1", Image.new("RGB", (16, 16), "red"), "Published words:")])
    assert len(rows[0]) >= 32 + 4  # the MLP's rows and one of each patch, beside the words


def test_flmr_is_trained_in_two_stages(world: Path) -> None:
    first, second = run(world, "flmr-mapping"), run(world, "flmr-finetune")
    start, mapping, tuned = (weights(folder) for folder in (COLBERT, first.folder, second.folder))
    assert moved(start[1], mapping[1]) == set()
    assert moved(mapping[1], tuned[1]) == {"text", "linear", "mapping"}
    assert not tuned[0].config.use_transformer_mapping_network
    assert second.measure == "strict_recall@5" and second.best is not None


def test_a_checkpoint_is_not_cut_down_or_given_a_second_pair_of_eyes(world: Path) -> None:
    run(world, "flmr-mapping")
    recipe = (ROOT / "training/flmr-finetune.toml").read_text()
    for wrong, error, message in (
        ("[model.config]\ndim = 12", CheckpointError, "no place for .*_linear.weight"),
        ('vision_tower = "clip"', InvalidRecipe, "has one already"),
        ('text_tower = "bert"', InvalidRecipe, "text_tower does not go with start"),
        ("[model.config]\ndims = 8", InvalidRecipe, "did you mean 'dim'"),
    ):
        path = world / "training" / "wrong.toml"
        path.write_text(recipe.replace("[data]", f"{wrong}\n[data]"))
        with pytest.raises(error, match=message):
            train(path, out=world / "runs" / message, progress=False)


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_valid(path: Any) -> None:
    assert load_training_recipe(path).stages()
