"""A model and its folder in the published layout: config.json, weights, query_tokenizer/, context_tokenizer/.

Knows what the parts of the folder are and which arguments transformers' loader and writer take.  Knows nothing of how
weights are named (checkpoint) or what a config means (config).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr.checkpoint import BareModel, load_weights, save_weights
from flmr.model.flmr.config import FLMRConfig, load_config, save_config
from flmr.model.flmr.tokenizers import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer, read_json
from flmr.model.hub import UPLOAD_ARGUMENTS, checkpoint_folder, upload

_TOKENIZERS: dict[str, Any] = {
    "query_tokenizer": FLMRQueryEncoderTokenizer,
    "context_tokenizer": FLMRContextEncoderTokenizer,
}
_HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
# Arguments of transformers' loader that have no meaning here: loading is strict, safe and whole in every case.
_IGNORED_ARGUMENTS = frozenset(
    ("trust_remote_code", "low_cpu_mem_usage", "use_safetensors", "adapter_kwargs", "code_revision", "weights_only")
)
_SAVED_FILES = ("config.json", "model*.safetensors*", "query_tokenizer/*", "context_tokenizer/*")
# And of its writer: the format is one, and a token is needed by push_to_hub alone.
_IGNORED_IN_SAVING = frozenset(("save_function", "safe_serialization", "variant", "use_auth_token"))
_IGNORED_IN_SAVING |= {"save_peft_format", "save_original_format", "distributed_checkpoint"}


def load_model(kind: Any, name_or_path: str | Path, **kwargs: Any) -> Any:
    """A model of a class, from a folder or a hub name; the arguments are those of `from_pretrained`.

    Raises CheckpointError, NotAvailable, InvalidInput.
    """
    hub = {name: kwargs.pop(name) for name in _HUB_ARGUMENTS if name in kwargs}
    folder = checkpoint_folder(name_or_path, **hub) / (kwargs.pop("subfolder", None) or "")
    config = load_config(folder, kwargs.pop("config", None))
    tokenizers = {name: _tokenizer(folder / name, kwargs.pop(name, None), config) for name in _TOKENIZERS}
    words = [tokenizer.word_pieces() for tokenizer in tokenizers.values() if tokenizer is not None]
    if not config.separate_query_and_context_text_encoder and words and words[0] != words[-1]:
        raise CheckpointError(
            f"query_tokenizer has {len(words[0])} word pieces and context_tokenizer others, {len(words[-1])}, but one "
            "text tower reads both; take both from the same checkpoint"
        )
    dtype, torch_dtype = kwargs.pop("dtype", None), kwargs.pop("torch_dtype", None)
    asked = _dtype(dtype or torch_dtype)
    device = _device(kwargs.pop("device_map", None))
    with_info = kwargs.pop("output_loading_info", False)
    if (attention := kwargs.pop("attn_implementation", None)) is not None:
        config._attn_implementation = attention
    _override(config, kwargs)

    with torch.random.fork_rng(devices=[]), BareModel(None if asked == "auto" else asked):
        model = kind(config, **tokenizers)
    stored = load_weights(model, config, folder)
    model.to(device=device, dtype=stored if asked == "auto" else asked).eval()
    info: dict[str, list[str]] = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
    return (model, info) if with_info else model


def save_model(
    model: Any,
    save_directory: str | Path,
    is_main_process: bool = True,
    state_dict: dict[str, torch.Tensor] | None = None,
    *,
    push_to_hub: bool = False,
    max_shard_size: int | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> None:
    """Write a model's folder, its tokenizers included; the arguments are those of `save_pretrained`.

    push_to_hub: upload it too, to repo_id, or to a repository of the folder's name.  Raises InvalidInput where an
    argument is not known, or is not done here; NotAvailable where the hub does not take what was saved.
    """
    pushing = {name: kwargs.pop(name) for name in UPLOAD_ARGUMENTS if name in kwargs}
    if not push_to_hub and pushing.keys() - {"token"}:
        raise InvalidInput(f"{min(pushing.keys() - {'token'})} is of an upload; pass push_to_hub=True with it")
    for name in kwargs.keys() - _IGNORED_IN_SAVING:
        raise InvalidInput(f"save_pretrained does not know the argument {name!r}")
    if kwargs.get("variant") is not None or kwargs.get("safe_serialization") is False:
        raise InvalidInput("weights are written as model.safetensors only; leave variant and safe_serialization out")
    if not is_main_process:
        return
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    save_config(model.config, folder)
    save_weights(model, model.config, folder, dtype=dtype, max_shard_size=max_shard_size, state=state_dict)
    for name in _TOKENIZERS:
        if (tokenizer := getattr(model, name)) is not None:
            tokenizer.save_pretrained(folder / name)
    if push_to_hub:
        upload(folder, pushing.pop("repo_id", None), _SAVED_FILES, **{"commit_message": "Upload model", **pushing})


def _tokenizer(folder: Path, given: Any, config: FLMRConfig) -> Any:
    """The tokenizer that was given, or the folder's own, checked against each other and against the model."""
    kind = _TOKENIZERS[folder.name]
    if given is not None and not isinstance(given, kind):
        raise InvalidInput(f"{folder.name} must be a flmr.{kind.__name__}, not {type(given).__name__}")
    own = kind.from_pretrained(folder) if folder.is_dir() else None
    stored = read_json(folder / "tokenizer_config.json").get("tokenizer_class")
    if stored in {other.__name__ for other in _TOKENIZERS.values()} - {kind.__name__}:
        raise CheckpointError(f"{str(folder)!r} holds a {stored}; the two tokenizers' folders have changed places")
    tokenizer = own if given is None else given
    if tokenizer is None:
        return None
    if own is not None and tokenizer.word_pieces() != own.word_pieces():
        raise InvalidInput(
            f"{folder.name} has {len(tokenizer.word_pieces())} word pieces, which are not those that the model was"
            f" trained with; load it from {str(folder)!r}"
        )
    check_vocabulary(tokenizer, config, folder.name)
    return tokenizer


def check_vocabulary(tokenizer: Any, config: FLMRConfig, name: str) -> None:
    """Raise CheckpointError where a tokenizer has more word pieces than the text tower knows."""
    count, size = len(tokenizer.word_pieces()), config.text_config.vocab_size
    if count > size:
        raise CheckpointError(
            f"{name} has {count} word pieces but the text tower knows {size}; take the tokenizer of the same checkpoint"
        )


def _override(config: FLMRConfig, arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        if hasattr(config, name):
            setattr(config, name, value)
        elif not (name.startswith("_") or name in _IGNORED_ARGUMENTS):
            raise InvalidInput(f"from_pretrained does not know the argument {name!r}")


def _dtype(asked: Any) -> Any:
    """A torch dtype, "auto" or None.  Raises InvalidInput."""
    if asked is None or asked == "auto":
        return asked
    found = getattr(torch, asked, None) if isinstance(asked, str) else asked
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InvalidInput(f"dtype must be a floating type such as torch.bfloat16, or its name, not {asked!r}")
    return found


def _device(asked: Any) -> Any:
    if isinstance(asked, dict):
        if len(set(asked.values())) != 1:
            raise InvalidInput("device_map must name one device; the model is not split over several")
        asked = next(iter(asked.values()))
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
