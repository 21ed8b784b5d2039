"""Scores and losses on given rows, on one rank and on two."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import flmr
from flmr.errors import InvalidInput
from flmr.model.flmr.loss import gather_ranks, group_scores, grouped_loss, in_batch_loss, own_scores, published_score
from flmr.ops.maxsim import maxsim


def test_scores_losses_and_gradients_equal_the_published(golden: Any, assert_close: Any) -> None:
    case = golden("maxsim")
    n = case.call["num_negative_examples"]
    queries, documents = (case.inputs[name].clone().requires_grad_() for name in ("Q", "D"))
    mask = case.inputs["D_mask"][..., 0]

    scores = maxsim(queries, documents, document_mask=mask)
    loss = in_batch_loss(scores, n)
    loss.backward()
    own = group_scores(queries, documents, mask, n)
    found = {
        "score_matrix": scores,
        "scores": own,
        "loss_in_batch": loss,
        "loss_grouped": grouped_loss(own),
        "grad_Q": queries.grad,
        "grad_D": documents.grad,
        "score_matrix_with_empty_doc": torch.stack(
            [published_score(q[None], documents, case.inputs["D_mask_with_empty_doc"]) for q in queries]
        ),
    }

    assert set(found) == set(case.expected)
    for name, expected in case.expected.items():
        assert_close(found[name], expected, name)
    assert_close(own_scores(scores, n), case.expected["scores"], "own_scores")


def test_score_takes_pairs_all_pairs_and_groups(golden: Any, assert_close: Any, tiny_parts: Any) -> None:
    case = golden("maxsim")
    model, _, _ = tiny_parts()
    queries, documents, mask = (case.inputs[name] for name in ("Q", "D", "D_mask"))
    all_pairs = case.expected["score_matrix"]

    assert_close(model.score(queries, documents, mask), all_pairs)
    assert_close(model.score(queries[:1], documents, mask), all_pairs[0])
    assert_close(model.score(queries.repeat_interleave(2, 0), documents, mask), case.expected["scores"].flatten())
    groups = model.score(queries, documents.view(3, 2, *documents.shape[1:]), mask.view(3, 2, -1))
    assert_close(groups, case.expected["scores"])


def test_a_document_without_rows_scores_minus_9999_a_row_at_the_published_border_only(
    golden: Any, assert_close: Any, tiny_parts: Any
) -> None:
    case = golden("maxsim")
    queries, documents, mask = (case.inputs[name] for name in ("Q", "D", "D_mask_with_empty_doc"))

    assert_close(tiny_parts()[0].score(queries, documents, mask), case.expected["score_matrix_with_empty_doc"])
    assert maxsim(queries, documents, document_mask=mask[..., 0])[0, 3] == -torch.inf


def test_score_of_half_precision_documents_casts_the_queries(golden: Any, assert_close: Any) -> None:
    case = golden("maxsim")
    found = published_score(case.inputs["Q"], case.inputs["D"].half(), case.inputs["D_mask"])
    torch.testing.assert_close(found.float(), case.expected["score_matrix"], atol=1e-2, rtol=1e-2)


def test_without_a_process_group_all_ranks_are_this_one() -> None:
    rows, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    gathered, gathered_mask = gather_ranks(rows, mask)
    assert gathered is rows and gathered_mask is mask


@pytest.fixture(scope="module")
def two_ranks(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """What two processes with a gloo group between them find; this process is the first."""
    folder, case = tmp_path_factory.mktemp("ranks"), shared / "golden" / "distributed_loss"
    script = Path(__file__).parent / "distributed_rank.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(flmr.__file__).parent.parent)}
    with subprocess.Popen([sys.executable, script, "1", case, folder], env=environment) as other:
        try:
            runpy.run_path(str(script))["main"](0, case, folder)
            assert other.wait(timeout=300) == 0
        finally:
            other.kill()
    return [load_file(folder / f"rank{rank}.safetensors") for rank in range(2)]


def test_losses_scores_and_gradients_of_two_ranks_equal_the_published(
    golden: Any, two_ranks: Any, assert_close: Any
) -> None:
    case = golden("distributed_loss")
    for name, expected in case.expected.items():
        rank, _, tensor = name.partition(".")
        assert_close(two_ranks[int(rank.removeprefix("rank"))][tensor], expected, name)


def test_ranks_with_documents_of_other_lengths_agree_on_the_loss(two_ranks: Any, assert_close: Any) -> None:
    assert torch.equal(two_ranks[0]["ragged_loss"], two_ranks[1]["ragged_loss"])
    assert_close(two_ranks[0]["ragged_loss"], two_ranks[0]["loss"], "a longer padding changes nothing")


def test_grouped_loss_takes_the_queries_of_all_ranks(two_ranks: Any, assert_close: Any) -> None:
    assert torch.equal(two_ranks[0]["grouped_loss"], two_ranks[1]["grouped_loss"])
    assert_close(two_ranks[0]["grouped_loss"], grouped_loss(two_ranks[0]["scores"]))


def test_ranks_with_other_batch_sizes_are_refused(two_ranks: Any) -> None:
    assert all(rank["refused"].item() for rank in two_ranks)


def test_documents_that_do_not_fit_the_queries_are_refused(tiny_parts: Any) -> None:
    model, query_tokenizer, context_tokenizer = tiny_parts()
    queries, documents = query_tokenizer(["what: a", "what: b"]), context_tokenizer(["a", "b", "c"])
    with pytest.raises(InvalidInput, match="4 documents, not 3"):
        model(
            query_input_ids=queries["input_ids"],
            query_attention_mask=queries["attention_mask"],
            context_input_ids=documents["input_ids"],
            context_attention_mask=documents["attention_mask"],
        )
