"""Gradient checkpointing by transformers' methods: the same gradients, and every layer run a second time."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch

from flmr.errors import InvalidInput

TWO_LAYERS = {
    "separate_query_and_context_text_encoder": True,
    "separate_query_and_context_vision_encoder": True,
    "context_concat_output_from_vision_encoder": True,
    "transformer_mapping_num_hidden_layers": 2,
}
# One weight inside a layer of each of the four towers and of the mapping network.
INSIDE = (
    "query_text_encoder.bert_model.encoder.layer.0.output.dense.weight",
    "context_text_encoder.bert_model.encoder.layer.0.output.dense.weight",
    "query_vision_encoder.vision_model.vision_model.encoder.layers.0.mlp.fc1.weight",
    "context_vision_encoder.vision_model.vision_model.encoder.layers.0.mlp.fc1.weight",
    "transformer_mapping_network.layer.1.crossattention.self.query.weight",
)


pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning")


@pytest.fixture
def step(tiny_parts: Any) -> Any:
    """`step()`: loss, gradients, and how often each layer's part ran in one training step with dropout."""
    model, query_tokenizer, context_tokenizer = tiny_parts(**TWO_LAYERS)
    queries = query_tokenizer(["name: a bird", "what is: the toy"], max_length=12)
    documents = context_tokenizer(["a red bird", "the string", "this toy", "yo"], max_length=12)
    pixels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    inputs = {f"query_{name}": value for name, value in queries.items()}
    inputs |= {f"context_{name}": value for name, value in documents.items()}
    inputs |= {"query_pixel_values": pixels[:2], "context_pixel_values": pixels[2:]}

    def run(of: Any = None) -> tuple[torch.Tensor, dict[str, torch.Tensor], Counter[str]]:
        it, calls = of or model, Counter[str]()
        it.train().zero_grad(set_to_none=True)
        hooks = [
            it.get_submodule(name.removesuffix(".weight")).register_forward_hook(
                lambda *_, name=name: calls.update([name])
            )
            for name in INSIDE
        ]
        torch.manual_seed(3)
        loss = it(**inputs).loss
        loss.backward()
        for hook in hooks:
            hook.remove()
        return loss.detach(), {n: p.grad.clone() for n, p in it.named_parameters() if p.grad is not None}, calls

    run.model = model  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_gradients_are_those_of_layers_that_keep_everything_bit_for_bit(step: Any, reentrant: bool | None) -> None:
    plain_loss, expected, calls = step()
    assert set(calls.values()) == {1} and not step.model.is_gradient_checkpointing

    kwargs = {} if reentrant is None else {"gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    step.model.gradient_checkpointing_enable(**kwargs)
    loss, found, calls = step()
    assert step.model.is_gradient_checkpointing
    assert calls == dict.fromkeys(INSIDE, 2)
    assert torch.equal(loss, plain_loss) and found.keys() == expected.keys() and set(INSIDE) <= found.keys()
    for name, gradient in expected.items():  # reentrant, gradients that meet are added in another order
        torch.testing.assert_close(found[name], gradient, rtol=1e-5 if reentrant else 0, atol=1e-8 if reentrant else 0)

    step.model.gradient_checkpointing_disable()
    assert set(step()[2].values()) == {1} and not step.model.is_gradient_checkpointing


def test_a_copy_recomputes_its_own_layers(step: Any) -> None:
    step.model.gradient_checkpointing_enable()
    twin = copy.deepcopy(step.model)
    with torch.no_grad():
        for weight in step.model.parameters():
            weight.zero_()
    _, gradients, calls = step(twin)
    assert calls == dict.fromkeys(INSIDE, 2)
    assert all(gradients[name].abs().max() > 0 for name in INSIDE)


def test_without_gradients_nothing_is_kept_for_a_second_run(step: Any) -> None:
    step.model.gradient_checkpointing_enable()
    with torch.inference_mode():
        rows = step.model.eval().query(torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.long))
    assert not rows.late_interaction_output.requires_grad


def test_a_config_that_asks_for_it_is_heard(tiny_parts: Any) -> None:
    model, *_ = tiny_parts(gradient_checkpointing=True)
    assert model.is_gradient_checkpointing
    assert not tiny_parts()[0].is_gradient_checkpointing


def test_what_is_not_done_is_refused(step: Any) -> None:
    for arguments in ({"offload": True}, {"every_n_layers": 0}):
        with pytest.raises(InvalidInput, match="leave offload out"):
            step.model.gradient_checkpointing_enable(**arguments)
    assert not step.model.is_gradient_checkpointing
