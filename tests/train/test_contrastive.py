"""The contrastive step: encoding in chunks changes the memory it takes and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from train_bench import Bench, assert_same, bench
from training_runs import losses, train_until

from flmr.errors import InvalidInput
from flmr.train import train

Write = Callable[..., Path]
CONV = 'vision_tower = "conv"', "widths = [8, 16, 16, 16, 16]\nimage_size = 32\n"


def test_a_question_asked_without_its_words_or_its_picture_has_the_rows_of_the_other(
    world: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(("[augment]", "drop_text = 0.5\ndrop_image = 0.25\n[augment]"))
    with bench(recipe, world / "features") as one:
        queries, seen = one.ready.queries, []
        for number in range(50):
            batch, views_B = one.ready.deal(number)
            assert batch.asked is not None and batch.asked.any(1).all()
            seen.append(batch.asked)
            if number == 0:
                again, _ = one.ready.deal(0)
                assert again.asked is not None and (again.asked == batch.asked).all()
                whole = queries.encode(batch.question_rows, views_B, np.ones_like(batch.asked))[1].sum(1)
                own = queries.encode(batch.question_rows, views_B, batch.asked)[1].sum(1)
                pictures = 4 + 4  # rows of the MLP, and one for each patch
                for rows, all_rows, (text, image) in zip(own, whole, batch.asked, strict=True):
                    assert rows == (all_rows if text and image else pictures if image else all_rows - pictures)
        assert np.allclose(np.concatenate(seen).mean(0), (0.5, 0.75), atol=0.1)  # of 400 draws, four deviations
        one.step()


def test_a_batch_that_nothing_learns_from_is_refused_by_name(world: Path, write_recipe: Write) -> None:
    still = [
        (f"learning_rate_{group} = 1e-3", f"learning_rate_{group} = 0.0") for group in ("text", "vision", "linear")
    ]
    recipe = write_recipe(("[augment]", "drop_image = 1.0\n[augment]"), *still)
    with bench(recipe, world / "features") as one, pytest.raises(InvalidInput, match="no weight that this stage moves"):
        one.step()


def test_what_is_never_asked_with_is_left_out_of_validation_too(world: Path, write_recipe: Write) -> None:
    with bench(write_recipe(("[augment]", "drop_text = 1.0\n[augment]")), world / "features") as one:
        assert one.ready.valid_queries is not None
        _, mask_BL = one.ready.valid_queries.encode(np.arange(4), np.zeros(4, np.int64))
        assert (mask_BL.sum(1) == 8).all()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_gradients_in_chunks_equal_those_of_the_whole_batch(world: Path, write_recipe: Write, chunk: int) -> None:
    still = "hidden_dropout_prob = 0.0, attention_probs_dropout_prob = 0.0, "
    text = ("num_hidden_layers = 1,", f"num_hidden_layers = 1, {still}")
    mapping = ("config_base = { ", f"config_base = {{ {still}")
    recipe = write_recipe(text, mapping, extra="negatives = [{ count = 2 }]\nlabel_smoothing = 0.1")
    with bench(recipe, world) as it:
        whole, expected = it.step()
        parts, found = it.step(chunk=chunk)
    assert abs(parts.loss - whole.loss) < 1e-5 and parts.accuracy == whole.accuracy
    assert {n.split(".")[0] for n in expected} >= {
        "query_text_encoder",
        "query_vision_encoder",
        "query_vision_projection",
    }
    assert_same(found, expected)


def test_pooled_rows_are_those_of_the_stage_and_their_gradients_survive_chunks(
    world: Path, write_recipe: Write
) -> None:
    still = "hidden_dropout_prob = 0.0, attention_probs_dropout_prob = 0.0, "
    text = ("num_hidden_layers = 1,", f"num_hidden_layers = 1, {still}")
    mapping = ("config_base = { ", f"config_base = {{ {still}")
    with bench(write_recipe(text, mapping), world) as it:
        rows, no_views = np.arange(3), np.zeros(3, np.int64)
        passages, questions = it.ready.passages.encode([0, 1, 2])[1], it.ready.queries.encode(rows, no_views)[1]
        unpooled, _ = it.step()
    with bench(write_recipe(text, mapping, extra="pool_passages = 3\npool_queries = 2"), world) as it:
        assert it.ready.valid_queries is not None and it.ready.valid_queries.pool == 2
        fewer = it.ready.passages.encode([0, 1, 2])[1].sum(1), it.ready.queries.encode(rows, no_views)[1].sum(1)
        whole, expected = it.step()
        parts, found = it.step(chunk=3)
    assert fewer[0].tolist() == [-(-n // 3) for n in passages.sum(1).tolist()]
    assert fewer[1].tolist() == [-(-n // 2) for n in questions.sum(1).tolist()]
    assert abs(parts.loss - whole.loss) < 1e-5 and whole.loss != unpooled.loss
    assert_same(found, expected)


def test_the_second_pass_drops_out_what_the_first_did(world: Path, write_recipe: Write) -> None:
    """One chunk holds the whole batch here, so that both ways draw the same numbers."""
    with bench(write_recipe(extra="feature_dropout = 0.3"), world) as it:
        whole, expected = it.step()
        parts, found = it.step(chunk=100)
        assert parts.loss == whole.loss
        assert_same(found, expected)
        torch.manual_seed(6)
        other, _ = it.step(chunk=3)
    assert other.loss != whole.loss  # dropout was at work


def test_batch_normalisation_counts_each_batch_once(world: Path, write_recipe: Write) -> None:
    clip = "intermediate_size = 48\nnum_hidden_layers = 2\nnum_attention_heads = 2\nimage_size = 16\npatch_size = 8\n"
    recipe = write_recipe(('vision_tower = "clip"', CONV[0]), ("hidden_size = 32\n" + clip, CONV[1]))
    statistics = []
    for chunk in (0, 100):
        with bench(recipe, world) as it:
            it.step(chunk=chunk)
            statistics.append(
                {n: p.clone() for n, p in it.model.named_parameters() if n.endswith((".mean", ".variance"))}
            )
    assert statistics[0] and any((tensor != 0).any() for tensor in statistics[0].values())
    assert all(torch.equal(tensor, statistics[1][name]) for name, tensor in statistics[0].items())


def test_memory_is_that_of_a_chunk(world: Path, write_recipe: Write) -> None:
    live = peak = 0

    class Kept:
        def __init__(self, tensor: torch.Tensor) -> None:
            nonlocal live, peak
            self.tensor, self.size = tensor, tensor.nbytes
            live += self.size
            peak = max(peak, live)

        def __del__(self) -> None:
            nonlocal live
            live -= self.size

    def peak_of(it: Bench, chunk: int) -> int:
        nonlocal live, peak
        live = peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            it.step(chunk=chunk)
        return peak

    with bench(write_recipe(("batch_size = 8", "batch_size = 16")), world) as it:
        whole, eighth = peak_of(it, 0), peak_of(it, 2)
    assert eighth < whole / 4  # 16 questions and 16 passages, two at a time; the loss keeps the rows of all


def test_recomputed_layers_give_the_same_gradients_and_keep_less(world: Path, write_recipe: Write) -> None:
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[-1] += tensor.nbytes
        return tensor

    steps = []
    with bench(write_recipe(("num_hidden_layers = 1,", "num_hidden_layers = 3,")), world) as it:
        for recompute in (it.model.gradient_checkpointing_disable, it.model.gradient_checkpointing_enable):
            recompute()
            kept.append(0)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                steps.append(it.step())
    (plain, expected), (again, found) = steps
    assert again.loss == plain.loss
    assert_same(found, expected)
    assert kept[1] < kept[0] / 2


def test_a_run_in_chunks_goes_the_way_of_one_without_and_resumes(world: Path, write_recipe: Write) -> None:
    plain, chunked = write_recipe(), write_recipe(extra="chunk = 64\nsave_every = 4", name="chunked.toml")
    train(plain, out=world / "plain", progress=False)
    train_until(chunked, world / "chunked", 6)
    train(chunked, out=world / "chunked", progress=False, resume=True)
    torch.testing.assert_close(losses(world / "chunked"), losses(world / "plain"), rtol=1e-3, atol=1e-3)
