"""Weights on disk and the names that they have been given.

Knows the published key layout, its aliases and the file formats.  Loading is strict: what is missing, unexpected, of
another shape, or contradicts its alias is an error that names it.  Never unpickles code.

One tensor has one canonical name here: `query_*` where the two sides share it, `.bert_model.` in text towers, the
double `vision_model.vision_model.` in CLIP towers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from flmr.errors import CheckpointError
from flmr.model.flmr.config import FLMRConfig

WEIGHTS = "model.safetensors"
FILES = (WEIGHTS, f"{WEIGHTS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_SIDE = re.compile(r"^(query|context)_")
_TEXT_ALIAS = re.compile(r"^((?:query|context)_text_encoder)\.text_model\.")
_CLIP_SHORT = re.compile(
    r"^((?:query|context)_vision_encoder)\.vision_model\.(embeddings|encoder|pre_layrnorm|post_layernorm)\."
)
_SAVED_BEFORE = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
# Buffers that older transformers saved; they hold 0, 1, 2, ... and are made anew.
_BUFFER = re.compile(r"\.embeddings\.position_ids$")


def canonical_name(name: str, config: FLMRConfig) -> str | None:
    """The one name of a weight; None for a saved buffer that is no weight."""
    if _BUFFER.search(name):
        return None
    name = _TEXT_ALIAS.sub(r"\1.bert_model.", name)
    name = _CLIP_SHORT.sub(r"\1.vision_model.vision_model.\2.", name)
    for part, separate in (
        ("text_encoder", config.separate_query_and_context_text_encoder),
        ("vision_", config.separate_query_and_context_vision_encoder),
    ):
        if not separate and name.startswith(f"context_{part}"):
            return _SIDE.sub("query_", name)
    return name


def canonical_state(model: torch.nn.Module, config: FLMRConfig) -> dict[str, torch.Tensor]:
    """The model's own tensors under their canonical names, each once, sorted by name."""
    state = {canonical_name(name, config): tensor for name, tensor in model.state_dict().items()}
    return {name: state[name] for name in sorted(name for name in state if name)}


def load_weights(
    model: torch.nn.Module, config: FLMRConfig, folder: Path, *, rename: Callable[[str], str] = str
) -> torch.dtype:
    """Copy the weights of a folder into the model, one after another; returns the type that they were stored in.

    rename: from the name in another layout to the published one.  Raises CheckpointError naming every missing,
    unexpected, misshapen or contradictory weight.
    """
    named = ((canonical_name(rename(name), config), name, tensor) for name, tensor in read_tensors(folder))
    return fill(canonical_state(model, config), named, folder)


@torch.no_grad()
def fill(
    expected: Mapping[str, torch.Tensor], named: Iterable[tuple[str | None, str, torch.Tensor]], folder: Path
) -> torch.dtype:
    """Copy weights into the tensors of a model, strictly; returns the type that they were stored in.

    named: of each weight its name in the model (None: no weight of it), its stored name, and itself.  Raises
    CheckpointError naming every missing, unexpected, misshapen or contradictory weight.
    """
    stored: torch.dtype | None = None
    loaded: set[str] = set()
    problems: list[str] = []
    for own, name, tensor in named:
        if own is None:
            continue
        if own not in expected:
            problems.append(f"unexpected {name}")
        elif tensor.shape != expected[own].shape:
            problems.append(f"{name} has shape {list(tensor.shape)}, not {list(expected[own].shape)}")
        elif own not in loaded:
            expected[own].copy_(tensor)
        elif not torch.equal(expected[own], tensor.to(expected[own].dtype)):
            problems.append(f"{name} contradicts the other name of the same weight, {own}")
        loaded.add(own)
        stored = stored or tensor.dtype
    problems = [f"missing {name}" for name in expected if name not in loaded] + problems
    if problems or stored is None:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(
            f"checkpoint {str(folder)!r} does not fit its config.json: {shown}. Nothing was loaded; get the whole "
            "checkpoint again or correct config.json"
        )
    return stored


def digest_of(settings: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over settings and weights, in hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        stored: Any = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
        digest.update(stored)
    return digest.hexdigest()


def save_weights(
    model: torch.nn.Module,
    config: FLMRConfig,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    max_shard_size: int | str | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write model.safetensors (replaced by rename), or shards and their index where max_shard_size asks for them."""
    tensors = canonical_state(model, config)
    if state is not None:
        tensors = {own: tensor for name, tensor in state.items() if (own := canonical_name(name, config))}
    tensors = {name: t.detach().to("cpu", dtype).contiguous().clone() for name, t in tensors.items()}
    files, index = {WEIGHTS: list(tensors)}, folder / f"{WEIGHTS}.index.json"
    if max_shard_size is not None:
        from huggingface_hub import split_torch_state_dict_into_shards

        split = split_torch_state_dict_into_shards(tensors, max_shard_size=max_shard_size)
        files = split.filename_to_tensors
    for file_name, names in files.items():
        _write_safetensors({name: tensors[name] for name in names}, folder / file_name)
    if len(files) > 1:
        stored = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        index.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    else:
        index.unlink(missing_ok=True)
    for path in folder.glob("*.safetensors"):  # of what was saved here before, which would be read, or pushed, with it
        if path.name not in files and _SAVED_BEFORE.fullmatch(path.name):
            path.unlink()


def _write_safetensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.touch()
    mode = partial.stat().st_mode  # what a new file gets here; save_file would let its owner alone read it
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(mode)
    os.replace(partial, path)  # noqa: PTH105  (Path.replace would do the same; the atomic rename is the point)


def read_tensors(folder: Path, files: Sequence[str] = FILES) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight of a folder under its stored name, from the first of `files` that is there.

    They are safetensors, an index of shards, or a .bin of plain tensors.  Raises CheckpointError.
    """
    for name in files:
        path = folder / name
        if path.is_file():
            for part in _shards(path) if name.endswith(".json") else [path]:
                yield from _read(part)
            return
    raise CheckpointError(
        f"checkpoint {str(folder)!r} holds no weights ({' or '.join(n for n in files if 'index' not in n)})"
    )


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"weight index {str(index)!r} cannot be read: {error!r}") from None
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise CheckpointError(f"weight index {str(index)!r} names {name!r}, which is not beside it")
    return [index.parent / name for name in names]


def _read(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  (not a dict)
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"weights {str(path)!r} cannot be read: {error}; get the file again") from None
        return
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and end-of-file errors
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"weights {str(path)!r} cannot be read as plain tensors: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"weights {str(path)!r} are not a dict of tensors")
    yield from state.items()


class BareModel(TorchFunctionMode):
    """Inside, parameters are made in `dtype`, and none at random: for a model whose every weight is loaded next."""

    _FILLS = frozenset(("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"))

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in self._FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()  # torch draws truncated normals again until all lie between the bounds
            return tensor
        if func is torch.empty and kwargs.get("dtype") is None:  # how layers allocate their parameters
            kwargs["dtype"] = self._dtype
        return func(*args, **kwargs)
