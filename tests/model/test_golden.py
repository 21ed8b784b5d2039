"""Every tensor of every golden case of the published implementation; none is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flmr.model.flmr import FLMRModelForRetrieval
from flmr.ops.maxsim import maxsim

CASES = (
    "flmr_mlp",
    "flmr_mlp_context_keys",
    "flmr_mlp_all_alias_keys",
    "flmr_multi_roi",
    "context_images",
    "text_only",
    "preflmr",
    "preflmr_long_query",
    "preflmr_modalities",
)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_every_published_tensor_is_reproduced(golden: Any, assert_close: Any, case: str, attention: str) -> None:
    published = golden(case)
    model = FLMRModelForRetrieval.from_pretrained(published.folder, attn_implementation=attention)

    found = {**_encoded(model, published), **_trained(model, published), **_extra_calls(model, published)}

    assert set(published.expected) <= set(found)
    assert_close(found["scores_of_groups"], found["scores"].detach(), "the scores of the two losses")
    for name, expected in published.expected.items():
        assert found[name].shape == expected.shape, name
        assert_close(found[name], expected, name)


def _query(model: Any, case: Any, **kwargs: Any) -> Any:
    return model.query(case.inputs["query_input_ids"], case.inputs["query_attention_mask"], **kwargs)


def _encoded(model: Any, case: Any) -> dict[str, torch.Tensor]:
    pixels = case.inputs.get("query_pixel_values")
    query = _query(model, case, pixel_values=pixels, output_hidden_states=True, **case.call["concat_query"])
    context = model.doc(
        case.inputs["context_input_ids"],
        case.inputs["context_attention_mask"],
        case.inputs.get("context_pixel_values"),
        **case.call["concat_context"],
    )
    mask_NL1 = context.context_mask
    found = {
        "query_embeddings": query.late_interaction_output,
        "query_pooler": query.pooler_output,
        "query_keep_mask": model.query_mask(case.inputs["query_input_ids"]),
        "text_hidden": query.text_encoder_hidden_states[-1],
        "context_embeddings": context.late_interaction_output,
        "context_pooler": context.pooler_output,
        "context_mask": mask_NL1,
        "score_matrix": maxsim(
            query.late_interaction_output, context.late_interaction_output, document_mask=mask_NL1[..., 0]
        ),
    }
    if query.vision_encoder_hidden_states is not None:
        found["vision_last"] = query.vision_encoder_hidden_states[-1]
        found["vision_penultimate"] = query.vision_encoder_hidden_states[-2]
    if query.transformer_mapping_network_hidden_states is not None:
        found["mapping_out"] = query.transformer_mapping_network_hidden_states[-1]
    return found


def _trained(model: Any, case: Any) -> dict[str, torch.Tensor]:
    def forward(use_in_batch_negatives: bool) -> Any:
        return model(
            query_input_ids=case.inputs["query_input_ids"],
            query_attention_mask=case.inputs["query_attention_mask"],
            query_pixel_values=case.inputs.get("query_pixel_values"),
            context_input_ids=case.inputs["context_input_ids"],
            context_attention_mask=case.inputs["context_attention_mask"],
            context_pixel_values=case.inputs.get("context_pixel_values"),
            num_negative_examples=case.call["num_negative_examples"],
            use_in_batch_negatives=use_in_batch_negatives,
            **{f"query_{name}": flag for name, flag in case.call["concat_query"].items()},
            **{f"context_{name}": flag for name, flag in case.call["concat_context"].items()},
        )

    in_batch, grouped = forward(True), forward(False)
    in_batch.loss.backward()
    found = {
        "loss_in_batch": in_batch.loss,
        "loss_grouped": grouped.loss,
        "scores": in_batch.scores,
        "scores_of_groups": grouped.scores,
    }
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"grad.{name}"] = parameter.grad
    return found


def _extra_calls(model: Any, case: Any) -> dict[str, torch.Tensor]:
    """The calls that only some cases have."""
    inputs, pixels = case.inputs, case.inputs.get("query_pixel_values")
    outputs: dict[str, Any] = {}
    if "image_features_multi" in inputs:
        for name in ("multi", "single"):
            features = inputs[f"image_features_{name}"]
            outputs[f"query_embeddings_from_features_{name}"] = _query(model, case, image_features=features)
        outputs["query_embeddings_image_only"] = model.query(
            None, None, pixel_values=pixels, concat_output_from_text_encoder=False
        )
    if "context_pixel_values" in inputs:
        outputs["context_embeddings_image_only"] = model.doc(
            None, None, inputs["context_pixel_values"], concat_output_from_text_encoder=False
        )
    if pixels is not None and model.config.use_transformer_mapping_network:
        outputs["query_embeddings_text_only"] = _query(model, case, concat_output_from_vision_encoder=False)
        outputs["query_embeddings_vision_rows"] = _query(
            model, case, pixel_values=pixels, concat_output_from_text_encoder=False
        )
    return {name: output.late_interaction_output for name, output in outputs.items()}
