"""Whole runs of a tiny model: they learn, they resume exactly, frozen weights stay, the checkpoint loads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from json_lines import read_jsonl, write_jsonl
from training_runs import losses, train_until

from flmr.data import read_passages, read_questions
from flmr.errors import AlreadyExists, InvalidRecipe, InvalidRecord, TrainingDiverged, UnreadableImage
from flmr.model import load_encoder
from flmr.model.flmr.new_checkpoint import load_checkpoint, save_checkpoint
from flmr.train import train
from flmr.train.optimizer import GROUPS

pytestmark = pytest.mark.usefixtures("one_thread")
Write = Callable[..., Path]
FILES = ("config.json", "model.safetensors", "recipe.toml", "metrics.jsonl", "curve.png", "result.json")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _, _ = load_checkpoint(folder)
    return dict(model.state_dict())


def test_loss_falls_and_every_file_is_there(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(("steps = 12", "steps = 60"), ("evaluate_every = 6", "evaluate_every = 30"))
    result = train(recipe, out=world / "run", progress=False)
    curve = losses(result.folder)
    assert len(curve) == 60 and np.mean(curve[-10:]) < 0.6 * np.mean(curve[:5])
    assert result.best is not None and result.best > 0.8 and result.measure == "strict_recall@5"
    assert all((result.folder / name).stat().st_size > 0 for name in FILES)
    assert (result.folder / "query_tokenizer" / "vocab.txt").exists()
    assert not (result.folder / "state.pt").exists()


def test_same_seed_gives_the_same_curve_and_another_seed_another(world: Path, write_recipe: Write) -> None:
    recipe, other = write_recipe(), write_recipe(("seed = 3", "seed = 4"), name="other.toml")
    for path, out in ((recipe, "a"), (recipe, "b"), (other, "c")):
        train(path, out=world / out, progress=False)
    assert losses(world / "a") == losses(world / "b") != losses(world / "c")


@pytest.mark.parametrize(
    ("kill_at", "frozen", "extra"),
    [(2, False, ""), (7, True, ""), (11, False, 'ema = 0.8\nchoose = "last"\nrecompute = true\naccumulate = 2')],
)
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(
    world: Path, write_recipe: Write, kill_at: int, frozen: bool, extra: str
) -> None:
    freeze = [(f"learning_rate_{g} = 1e-3", f"learning_rate_{g} = 0.0") for g in ("text", "vision") if frozen]
    recipe = write_recipe(*freeze, extra=f"feature_dropout = 0.2\nsave_every = 4\n{extra}")
    train(recipe, out=world / "whole", progress=False)
    train_until(recipe, world / "parts", kill_at)
    train(recipe, out=world / "parts", progress=False, resume=True)
    assert losses(world / "parts") == losses(world / "whole")
    one, two = weights(world / "whole"), weights(world / "parts")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_run_survives_sigkill(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(("evaluate_every = 6", "evaluate_every = 0"), extra="save_every = 4")
    train(recipe, out=world / "whole", progress=False)
    code = (
        "import os, pathlib, signal, torch\nfrom flmr.train import train\ntorch.set_num_threads(1)\n"
        f"state = pathlib.Path({str(world / 'parts' / 'state.pt')!r})\n"
        "def kill(stage, done, total):\n    if state.exists():\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"train({str(recipe)!r}, out={str(world / 'parts')!r}, progress=kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL and 0 < len(losses(world / "parts")) < 12
    train(recipe, out=world / "parts", progress=False, resume=True)
    assert losses(world / "parts") == losses(world / "whole")


def test_bfloat16_follows_the_losses_of_float32(world: Path, write_recipe: Write) -> None:
    train(write_recipe(), out=world / "wide", progress=False)
    train(write_recipe(('"float32"', '"bfloat16"'), name="half.toml"), out=world / "half", progress=False)
    wide, half = np.array(losses(world / "wide")), np.array(losses(world / "half"))
    assert not np.array_equal(wide, half)
    assert np.allclose(wide[:4], half[:4], rtol=0.02)  # 2**-8 off a similarity; each step carries the difference on


def test_a_step_of_two_batches_has_the_mean_of_their_losses_and_gradients(world: Path, write_recipe: Write) -> None:
    still = [(f"learning_rate_{g} = 1e-3", f"learning_rate_{g} = 1e-12") for g in GROUPS]
    rows = []
    for steps, accumulate in ((2, 1), (1, 2)):
        recipe = write_recipe(("steps = 12", f"steps = {steps}"), *still, extra=f"accumulate = {accumulate}")
        out = train(recipe, out=world / f"by-{accumulate}", progress=False).folder
        rows.append([row for row in read_jsonl(out / "metrics.jsonl") if "loss" in row])
    (first, second), (both,) = rows
    assert both["loss"] == pytest.approx((first["loss"] + second["loss"]) / 2, rel=1e-4)
    assert both["grad_norm"] <= (first["grad_norm"] + second["grad_norm"]) / 2
    assert both["passages"] == first["passages"] + second["passages"]


def test_a_stage_ends_when_its_patience_does(world: Path, write_recipe: Write) -> None:
    still = [(f"learning_rate_{g} = 1e-3", f"learning_rate_{g} = 1e-12") for g in GROUPS]
    recipe = write_recipe(("evaluate_every = 6", "evaluate_every = 2"), *still, extra="patience = 2")
    result = train(recipe, out=world / "run", progress=False)
    assert (result.steps, result.best_step) == (4, 0)


def test_the_mean_of_the_weights_is_handed_on(world: Path, write_recipe: Write) -> None:
    def after(steps: int, *changes: tuple[str, str], extra: str = "") -> torch.Tensor:
        keys = ("steps = 12", f"steps = {steps}"), ("warmup = 2", 'schedule = "constant"'), ("every = 6", "every = 0")
        recipe = write_recipe(*keys, *changes, extra=extra, name="one.toml")
        out = world / f"run{len(list(world.iterdir()))}"
        return weights(train(recipe, out=out, progress=False).folder)["query_text_encoder_linear.weight"]

    expected = after(1, ("= 1e-3", "= 1e-12"))  # where every run starts
    for steps in (1, 2, 3):
        expected = 0.75 * expected + 0.25 * after(steps)
    mean = after(3, extra="ema = 0.75")
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mean, after(3), atol=1e-4)


def test_stages_hand_on_their_weights_and_frozen_groups_do_not_move(world: Path, write_recipe: Write) -> None:
    join = '[[stage]]\nname = "join"\nlearning_rate_text = 0.0\nlearning_rate_vision = 0.0\n'
    extra = join + '[[stage]]\nname = "all"\nsteps = 4\nlearning_rate_linear = 0.0\nchoose = "last"\n'
    start = train(
        write_recipe(("steps = 12", "steps = 1"), ("= 1e-3", "= 1e-12")),
        out=world / "start",
        progress=False,
    )
    one = train(write_recipe(extra=join, name="one.toml"), out=world / "one", progress=False)
    two = train(write_recipe(extra=extra, name="two.toml"), out=world / "two", progress=False)
    before, between, after = weights(start.folder), weights(one.folder), weights(two.folder)
    moved = {name for name in before if not torch.allclose(before[name], between[name], atol=1e-9)}
    assert not [name for name in moved if "text_encoder." in name or "vision_encoder." in name]
    assert "query_text_encoder_linear.weight" in moved
    assert any(name.startswith("transformer_mapping_network") for name in moved)
    assert torch.equal(between["query_text_encoder_linear.weight"], after["query_text_encoder_linear.weight"])
    assert any("text_encoder.bert" in n for n in before if not torch.equal(between[n], after[n]))
    assert [row["name"] for row in json.loads((two.folder / "recipe.json").read_text())["stage"]] == ["join", "all"]


def test_towers_run_ahead_give_the_losses_of_towers_run_in_every_step(world: Path, write_recipe: Write) -> None:
    freeze = [(f"learning_rate_{group} = 1e-3", f"learning_rate_{group} = 0.0") for group in ("text", "vision")]
    stored, live = write_recipe(*freeze, name="a.toml"), write_recipe(*freeze, extra="cache_mb = 0", name="b.toml")
    train(stored, out=world / "stored", progress=False)
    train(live, out=world / "live", progress=False)
    # float16 on disk is 2**-11 off a feature; each step carries the difference on, so the first ones are compared
    assert np.allclose(losses(world / "stored")[:3], losses(world / "live")[:3], rtol=5e-3)


def test_checkpoint_encodes_as_the_model_did_in_training(world: Path, write_recipe: Write) -> None:
    result = train(write_recipe(), out=world / "run", progress=False)
    encoder = load_encoder(result.folder)
    passages = list(read_passages(world / "passages.jsonl"))
    questions = list(read_questions(world / "questions.jsonl"))
    queries, documents = encoder.encode_queries([q.query for q in questions]), encoder.encode_passages(passages)
    scores = np.array([[np.sum((q @ d.T).max(1)) for d in documents] for q in queries])
    ranked = [[passages[n].id for n in row.argsort()[::-1][:5]] for row in scores]
    hits = [question.positive_ids[0] in top for question, top in zip(questions, ranked, strict=True)]
    assert np.mean(hits) == result.best
    model, query_tokenizer, context_tokenizer = load_checkpoint(result.folder)
    save_checkpoint(world / "again", model, query_tokenizer, context_tokenizer)
    again = load_encoder(world / "again").encode_passages(passages)
    assert all(np.array_equal(a, b) for a, b in zip(again, documents, strict=True))


def test_the_same_towers_are_trained_to_one_vector_an_item(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(
        ("dim = 16", "dim = 16\nsingle_vector = true"),
        ("steps = 12", "steps = 60\ntemperature = 0.05"),
        ("evaluate_every = 6", "evaluate_every = 30"),
    )
    result = train(recipe, out=world / "run", progress=False)
    assert result.best is not None and result.best > 0.8  # five of sixteen by chance
    encoder = load_encoder(str(result.folder), device="cpu")
    passages = encoder.encode_passages(list(read_passages(world / "passages.jsonl")))
    assert {len(item) for item in passages} == {1}


def test_unreadable_pictures_are_counted_and_fatal_only_where_strict(world: Path, write_recipe: Write) -> None:
    (world / "images" / "red.png").unlink()  # met first
    (world / "images" / "blue.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    result = train(write_recipe(), out=world / "run", progress=False)
    assert result.left_out["pictures"] == 2  # met in the training and the validation questions, opened once
    assert result.left_out["questions whose picture cannot be read"] == 8
    strict = write_recipe(("[augment]", "strict = true\n[augment]"), name="strict.toml")
    with pytest.raises(UnreadableImage, match="red"):
        train(strict, out=world / "strict", progress=False)


def test_finished_run_returns_at_once_and_a_folder_is_never_overwritten(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe()
    first = train(recipe, out=world / "run", progress=False)
    assert train(recipe, out=world / "run", progress=False, resume=True) == first
    with pytest.raises(AlreadyExists, match="resume"):
        train(recipe, out=world / "run", progress=False)
    with pytest.raises(InvalidRecipe, match="seed"):
        train(write_recipe(("seed = 3", "seed = 8")), out=world / "run", progress=False, resume=True)
    (world / "other").mkdir()
    (world / "other" / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="not empty"):
        train(recipe, out=world / "other", progress=False)


def test_run_that_could_not_start_leaves_its_folder_to_the_next_attempt(world: Path, write_recipe: Write) -> None:
    (world / "passages.jsonl").rename(world / "away.jsonl")
    with pytest.raises(InvalidRecord, match=r"passages\.jsonl"):
        train(write_recipe(("seed = 3", "seed = 8")), out=world / "run", progress=False)
    (world / "away.jsonl").rename(world / "passages.jsonl")
    assert train(write_recipe(("steps = 12", "steps = 2")), out=world / "run", progress=False).folder == world / "run"
    assert "seed = 3" in (world / "run" / "recipe.toml").read_text(encoding="utf-8")


def test_diverging_run_names_the_step(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(("learning_rate_linear = 1e-3", "learning_rate_linear = 1e30"))
    with pytest.raises(TrainingDiverged, match=r"step \d+ of stage 'stage 1'"):
        train(recipe, out=world / "run", progress=False)


def test_questions_without_pictures_and_with_train_together(world: Path, write_recipe: Write) -> None:
    rows = read_jsonl(world / "questions.jsonl")
    for row in rows[::2]:
        del row["image"]
        row["text"] += f" {row['entity']}"
    write_jsonl(world / "questions.jsonl", rows)
    result = train(write_recipe(), out=world / "run", progress=False)
    assert result.left_out == {} and losses(result.folder)[-1] < losses(result.folder)[0]
