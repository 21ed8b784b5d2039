"""The model that a run starts from.

Knows the recipe's [model] table and the model package's ways to make a checkpoint.  Knows nothing of steps.

Shapes: H text width, D dimension.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flmr.errors import InvalidRecipe
from flmr.model.flmr.colbert import is_colbert
from flmr.model.flmr.config import (
    FLMRConfig,
    FLMRConvConfig,
    FLMRMobileNetV2Config,
    FLMRTextConfig,
    FLMRVisionConfig,
    load_config,
    own_fields,
)
from flmr.model.flmr.new_checkpoint import (
    build_model,
    build_vocab,
    clip_config_from,
    init_clip_from,
    init_mobilenet,
    init_text_tower_from,
    load_checkpoint,
    new_tokenizers,
    take_over,
    text_config_from,
)
from flmr.model.flmr.tokenizers import read_vocab
from flmr.train.dataset import TrainingData
from flmr.train.recipe import ModelRecipe

PCA_PASSAGES = 128  # some 8,000 token states of short passages, twenty for each of MiniLM's 384 directions


def start_model(recipe: ModelRecipe, data: TrainingData, *, seed: int) -> tuple[Any, Any, Any]:
    """The model, its query tokenizer and its context tokenizer.  Raises InvalidRecipe, CheckpointError."""
    if recipe.start is not None:
        return _continued(recipe, seed)
    vocab = None if recipe.text_tower else _vocabulary(recipe, data)
    config = FLMRConfig(
        text_config=_text_config(recipe, vocab),
        vision_config=_vision_config(recipe),
        **_own_fields(recipe),
        use_vision_encoder=recipe.vision_tower != "none",
    )
    model = build_model(config, seed=seed)
    if vocab is None:
        vocab = read_vocab(init_text_tower_from(model, recipe.text_tower))
    model.query_tokenizer, model.context_tokenizer = new_tokenizers(vocab, recipe.query_maxlen, recipe.doc_maxlen)
    _init_vision_tower(model, recipe)
    if recipe.init_linear == "pca":
        _start_linear_at_principal_directions(model, model.context_tokenizer, data)
    return model, model.query_tokenizer, model.context_tokenizer


def sees_passages(recipe: ModelRecipe) -> bool:
    """Whether the model will make rows of passages' pictures.  Raises CheckpointError."""
    sees, shown = recipe.vision_tower != "none", False
    if recipe.start is not None and not is_colbert(recipe.start):
        stored = load_config(recipe.start)
        sees, shown = sees or stored.use_vision_encoder, stored.context_concat_output_from_vision_encoder
    return bool(sees and recipe.config.get("context_concat_output_from_vision_encoder", shown))


def _continued(recipe: ModelRecipe, seed: int) -> tuple[Any, Any, Any]:
    """The checkpoint that the recipe starts from, with the parts that the recipe adds to it."""
    assert recipe.start is not None
    start, query_tokenizer, context_tokenizer = load_checkpoint(recipe.start)
    if not recipe.config and recipe.vision_tower == "none":
        return start, query_tokenizer, context_tokenizer
    fields = {**own_fields(start.config), **_own_fields(recipe)}
    if recipe.vision_tower != "none":
        if start.config.use_vision_encoder:
            raise InvalidRecipe("[model] vision_tower: the checkpoint in start has one already; leave it out")
        fields |= {"vision_config": _vision_config(recipe), "use_vision_encoder": True}
    config = FLMRConfig(**{name: value for name, value in fields.items() if name != "model_type"})
    model = build_model(config, query_tokenizer, context_tokenizer, seed=seed)
    if recipe.vision_tower != "none":
        _init_vision_tower(model, recipe)
    take_over(model, start)
    return model, query_tokenizer, context_tokenizer


def _init_vision_tower(model: Any, recipe: ModelRecipe) -> None:
    read = {"mobilenet_v2": init_mobilenet, "clip": init_clip_from}.get(recipe.vision_tower)
    if recipe.vision_weights is not None:
        if read is None:
            raise InvalidRecipe(f"[model] vision_weights does not go with vision_tower {recipe.vision_tower!r}")
        read(model, recipe.vision_weights)


def _own_fields(recipe: ModelRecipe) -> dict[str, Any]:
    return _checked(recipe.config, FLMRConfig, "config", refused=("text_config", "vision_config", "use_vision_encoder"))


def _text_config(recipe: ModelRecipe, vocab: Mapping[str, int] | None) -> FLMRTextConfig:
    fields = _checked(recipe.text_config, FLMRTextConfig, "text_config", refused=("vocab_size",))
    if vocab is None:
        config = text_config_from(recipe.text_tower)
        for name, value in fields.items():
            setattr(config, name, value)
        return config
    return FLMRTextConfig(vocab_size=len(vocab), **fields)


def _vocabulary(recipe: ModelRecipe, data: TrainingData) -> dict[str, int]:
    if recipe.vocabulary is not None:
        return read_vocab(recipe.vocabulary.parent if recipe.vocabulary.is_file() else recipe.vocabulary)
    texts = [passage.full_text for passage in data.passages]
    texts += [f"{question.query.instruction} {question.query.text}" for question in data.train.questions]
    return {token: i for i, token in enumerate(build_vocab(texts, recipe.vocabulary_size))}


def _vision_config(recipe: ModelRecipe) -> Any:
    kinds: dict[str, Any] = {"mobilenet_v2": FLMRMobileNetV2Config, "conv": FLMRConvConfig}
    kind = kinds.get(recipe.vision_tower, FLMRVisionConfig)
    fields = _checked(recipe.vision_config, kind, "vision_config")
    if recipe.vision_tower == "clip" and recipe.vision_weights is not None:
        fields = {**own_fields(clip_config_from(recipe.vision_weights)), **fields}
        del fields["model_type"]
    return kind(**fields)


def _checked(table: Mapping[str, Any], kind: Any, name: str, refused: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table, if every key is a field of the configuration class; classes themselves take any key in silence."""
    known = [n for n in inspect.signature(kind.__init__).parameters if n not in ("self", "kwargs", *refused)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise InvalidRecipe(f"[model] {name}: unknown key {key!r}; {hint}")
    return dict(table)


@torch.no_grad()
def _start_linear_at_principal_directions(model: Any, tokenizer: Any, data: TrainingData) -> None:
    """Project token states of training passages with the least loss, leaving out the direction that all share.

    The states of BERT have a large common part; kept, it makes every pair of tokens alike (Ethayarajh 2019).
    """
    step = max(1, len(data.passages) // PCA_PASSAGES)
    texts = [passage.full_text for passage in data.passages[::step]][:PCA_PASSAGES]
    states = []
    for start in range(0, len(texts), 32):
        encoding = tokenizer(texts[start : start + 32])
        width = int(encoding["attention_mask"].sum(1).max())
        ids, attention = encoding["input_ids"][:, :width], encoding["attention_mask"][:, :width]
        last_BLH = model.context_text_encoder(ids, attention)[0]
        states.append(last_BLH[attention.bool()])
    weight_DH = principal_directions(torch.cat(states), model.config.dim)
    for linear in (model.query_text_encoder_linear, model.context_text_encoder_linear):
        linear.weight.copy_(weight_DH)


def principal_directions(states_TH: Tensor, dim: int) -> Tensor:
    """(dim, H) orthonormal rows: where the states vary most, at right angles to their mean.

    Raises InvalidRecipe where dim is not below H.
    """
    if dim >= states_TH.shape[1]:
        raise InvalidRecipe(
            f"[model] init_linear 'pca' needs dim ({dim}) below the text tower's width ({states_TH.shape[1]})"
        )
    states_TH = states_TH.double()
    mean_H = torch.nn.functional.normalize(states_TH.mean(0), dim=0)
    centred_TH = states_TH - (states_TH @ mean_H)[:, None] * mean_H
    centred_TH = centred_TH - centred_TH.mean(0)
    _, vectors_HH = torch.linalg.eigh(centred_TH.T @ centred_TH)
    directions_DH: Tensor = vectors_HH[:, -dim:].flip(1).T.float().contiguous()
    return directions_DH
