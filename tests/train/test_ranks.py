"""Several processes: the published loss, the gradient of the whole batch, one folder, exact resume."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_bench import assert_same
from train_rank import finish, keeping_gradients, start_two
from training_runs import losses

from flmr.errors import MissingExtra
from flmr.model.flmr.new_checkpoint import load_checkpoint
from flmr.train import train
from flmr.train.ranks import Ranks, joined_ranks

pytest.importorskip("accelerate")
Write = Callable[..., Path]
RUNS = (("one", 0), ("two", 0), ("two", 1))
STILL = (
    ("num_hidden_layers = 1,", "num_hidden_layers = 1, hidden_dropout_prob = 0.0, attention_probs_dropout_prob = 0.0,"),
    ("config_base = { ", "config_base = { hidden_dropout_prob = 0.0, attention_probs_dropout_prob = 0.0, "),
)


def test_loss_and_gradients_of_two_processes_equal_the_published(shared: Path, tmp_path: Path) -> None:
    case = shared / "golden" / "distributed_loss"
    for code, said in finish(start_two("golden", case, tmp_path)):
        assert code == 0, said
    expected = load_file(case / "expected.safetensors")
    for rank in range(2):
        for name, found in load_file(tmp_path / f"rank{rank}.safetensors").items():
            torch.testing.assert_close(found, expected[name], atol=2e-5, rtol=1e-4, msg=name)


def test_two_processes_go_the_way_of_one(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(*STILL, extra="negatives = [{ count = 1 }]")
    processes = start_two("train", recipe, world / "two")
    one = train(recipe, out=world / "one", progress=False)
    for code, said in finish(processes):
        assert code == 0, said
    assert len(losses(world / "two")) == 12  # one of the two writes
    torch.testing.assert_close(losses(world / "two"), losses(world / "one"), rtol=2e-3, atol=2e-3)
    assert json.loads((world / "two" / "result.json").read_text())["best"] == one.best
    load_checkpoint(world / "two")


@pytest.mark.parametrize("chunk", [0, 2])
def test_gradients_that_two_processes_accumulate_are_those_of_one(
    pictured: Path, write_recipe: Write, chunk: int
) -> None:
    shown = ("dim = 16", "dim = 16\ncontext_concat_output_from_vision_encoder = true")
    odd = ("batch_size = 8", "batch_size = 5"), ("steps = 12", "steps = 2"), ("evaluate_every = 6", "")
    several = f"accumulate = 3\nclip_norm = 0.0\nchunk = {chunk}\nnegatives = [{{ count = 1 }}]"
    recipe = write_recipe(*STILL, shown, *odd, extra=several)
    processes = start_two("gradients", recipe, pictured / "two")
    with keeping_gradients(pictured / "one.gradients"):
        train(recipe, out=pictured / "one", progress=False)
    for code, said in finish(processes):
        assert code == 0, said
    torch.testing.assert_close(losses(pictured / "two"), losses(pictured / "one"), rtol=2e-3, atol=2e-3)
    first = [load_file(pictured / f"{run}.gradients" / f"0-{rank}.safetensors") for run, rank in RUNS]
    assert first[0].keys() == first[1].keys() == first[2].keys() and len(first[0]) > 20
    assert all(torch.equal(gradient, first[2][name]) for name, gradient in first[1].items())  # both step alike
    assert_same(first[1], first[0])


@pytest.mark.slow
def test_killed_processes_resume_to_the_same_losses_in_chunks_too(world: Path, write_recipe: Write) -> None:
    recipe = write_recipe(("steps = 12", "steps = 24"), extra="save_every = 4\nchunk = 2")
    for code, said in finish(start_two("train", recipe, world / "whole")):
        assert code == 0, said
    killed = start_two("train", recipe, world / "parts")
    while not (world / "parts" / "state.pt").exists() and all(process.poll() is None for process in killed):
        time.sleep(0.01)
    for process in killed:
        process.send_signal(signal.SIGKILL)
    assert [code for code, _ in finish(killed)] == [-signal.SIGKILL] * 2
    assert 0 < len(losses(world / "parts")) < 24
    for code, said in finish(start_two("train", recipe, world / "parts")):
        assert code == 0, said
    assert losses(world / "parts") == losses(world / "whole")


def test_shares_hold_everything_once() -> None:
    for world in (1, 2, 3):
        rows = [i for rank in range(world) for i in range(10)[Ranks(torch.device("cpu"), rank, world).own(10)]]
        assert rows == list(range(10))


def test_several_processes_without_accelerate_are_told_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtra, match=r"flmr\[train\]"), joined_ranks(torch.device("cpu")):
        pass
