"""Making checkpoints: a model from a config, towers from known weights, a vocabulary from texts, folders out and in.

Knows the published folder layout and where weights of parts may come from.  Knows nothing of training.
"""

from __future__ import annotations

import importlib.util
import json
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr.checkpoint import canonical_name, canonical_state, read_tensors
from flmr.model.flmr.colbert import is_colbert, load_colbert
from flmr.model.flmr.config import FLMRConfig, FLMRTextConfig, FLMRVisionConfig, own_fields
from flmr.model.flmr.mobilenet import load_mobilenet_v2
from flmr.model.flmr.model import FLMRModelForRetrieval
from flmr.model.flmr.tokenizers import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer, read_json
from flmr.model.flmr.vision import MobileNetTower
from flmr.model.hub import checkpoint_folder

# The first 104 ids are bert-base-uncased's: [PAD] 0, [unused0] 1 .. [unused98] 99, [UNK] 100, [CLS], [SEP], [MASK] 103.
RESERVED_TOKENS = ("[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_model(
    config: FLMRConfig,
    query_tokenizer: FLMRQueryEncoderTokenizer | None = None,
    context_tokenizer: FLMRContextEncoderTokenizer | None = None,
    *,
    seed: int = 0,
) -> FLMRModelForRetrieval:
    """A model with random weights, in evaluation mode; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FLMRModelForRetrieval(config, query_tokenizer, context_tokenizer)
        model.eval()
        return model


def save_checkpoint(
    folder: str | Path,
    model: FLMRModelForRetrieval,
    query_tokenizer: FLMRQueryEncoderTokenizer,
    context_tokenizer: FLMRContextEncoderTokenizer,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the published layout; dtype=torch.float16 halves the file (it loads as float32)."""
    folder = Path(folder)
    model.save_pretrained(folder, dtype=dtype)
    query_tokenizer.save_pretrained(folder / "query_tokenizer")
    context_tokenizer.save_pretrained(folder / "context_tokenizer")


def load_checkpoint(
    folder: str | Path,
) -> tuple[FLMRModelForRetrieval, FLMRQueryEncoderTokenizer, FLMRContextEncoderTokenizer]:
    """The model (float32, evaluation mode, CPU) and its tokenizers, also of a folder in colbert-ai's layout.

    Raises CheckpointError.
    """
    folder = Path(folder)
    if is_colbert(folder):
        return load_colbert(folder)
    for part in ("config.json", "query_tokenizer", "context_tokenizer"):
        if not (folder / part).exists():
            raise CheckpointError(f"{str(folder)!r} holds no {part}; it is not a checkpoint in the published layout")
    model: FLMRModelForRetrieval = FLMRModelForRetrieval.from_pretrained(folder)
    assert model.query_tokenizer is not None and model.context_tokenizer is not None
    return model, model.query_tokenizer, model.context_tokenizer


def new_tokenizers(
    vocab: Iterable[str] | Mapping[str, int], query_maxlen: int = 32, doc_maxlen: int = 512
) -> tuple[FLMRQueryEncoderTokenizer, FLMRContextEncoderTokenizer]:
    """The two tokenizers of a vocabulary, given as tokens in the order of their ids or as {token: id}."""
    ids = dict(vocab) if isinstance(vocab, Mapping) else {token: i for i, token in enumerate(vocab)}
    wrong = [
        token for i, token in enumerate(RESERVED_TOKENS) if ids.get(token) != i and not token.startswith("[unused")
    ]
    wrong += [token for token, i in (("[unused0]", 1), ("[unused1]", 2)) if ids.get(token) != i]
    if wrong:
        raise InvalidInput(f"{', '.join(wrong)} must have the ids of bert-base-uncased; start from build_vocab")
    return (
        FLMRQueryEncoderTokenizer(vocab=ids, query_maxlen=query_maxlen),
        FLMRContextEncoderTokenizer(vocab=ids, doc_maxlen=doc_maxlen),
    )


def build_vocab(texts: Iterable[str], size: int) -> list[str]:
    """Learn word pieces of lower-cased texts: at most `size` tokens, in the order of their ids.

    The reserved tokens come first, then ASCII punctuation, letters and digits and the commonest other characters, each
    at the start of a word and inside one, then the learned pieces.  The same texts give the same vocabulary.  Raises
    InvalidInput if size leaves no room.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    texts = list(texts)
    alphabet = [*string.punctuation, *string.ascii_lowercase, *string.digits]
    smallest = len(RESERVED_TOKENS) + 2 * len(alphabet)
    if size < smallest:
        raise InvalidInput(f"a vocabulary needs at least {smallest} tokens, not {size}")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts = Counter(char for text in texts for char in tokenizer.normalizer.normalize_str(text) if not char.isspace())
    others = sorted((char for char in counts if char not in alphabet), key=lambda char: (-counts[char], char))
    alphabet += others[: (size - smallest) // 8]  # a quarter of the room at most; the rest is for whole words
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        # The trainer numbers characters in the order of a hash map and breaks ties by number; named here, their
        # numbers are the same in every run.
        special_tokens=[*RESERVED_TOKENS, *alphabet, *(f"##{char}" for char in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def text_config_from(folder_or_package: str | Path) -> FLMRTextConfig:
    """The text config of a BERT-like folder (config.json), or of an installed package that carries one in `model/`."""
    fields = json.loads((_bert_folder(folder_or_package) / "config.json").read_text(encoding="utf-8"))
    if fields.get("model_type") != "bert":
        raise CheckpointError(f"{str(folder_or_package)!r} holds a {fields.get('model_type')!r} model, not BERT")
    known = FLMRTextConfig()
    return FLMRTextConfig(**{k: v for k, v in fields.items() if hasattr(known, k) and not k.startswith("_")})


def init_text_tower_from(model: FLMRModelForRetrieval, folder_or_package: str | Path) -> Path:
    """Copy a BERT-like checkpoint into the model's text towers, query and context; returns its folder.

    The source's names may carry a `bert.` prefix and a head; every weight of the tower itself must be there in its
    shape, except the unused pooler.  Raises CheckpointError.
    """
    folder = _bert_folder(folder_or_package)
    stored = {name.removeprefix("bert."): tensor for name, tensor in read_tensors(folder)}
    towers = {id(tower): tower for tower in (model.query_text_encoder, model.context_text_encoder)}
    for tower in towers.values():
        own = tower.bert_model.state_dict()
        wrong = [
            name
            for name, tensor in own.items()
            if (name not in stored and not name.startswith("pooler."))
            or (name in stored and stored[name].shape != tensor.shape)
        ]
        if wrong:
            raise CheckpointError(
                f"{str(folder)!r} does not fit the text tower: {', '.join(wrong[:4])}"
                f"{' and more' if len(wrong) > 4 else ''}; build the config with text_config_from"
            )
        tower.bert_model.load_state_dict({**own, **{name: stored[name] for name in own if name in stored}})
    return folder


def init_mobilenet(model: FLMRModelForRetrieval, npz: str | Path) -> None:
    """Copy MobileNetV2 weights into the model's vision towers.  Raises CheckpointError."""
    weights = load_mobilenet_v2(npz).state_dict()
    for tower in (model.query_vision_encoder, model.context_vision_encoder):
        if not isinstance(tower, MobileNetTower):
            raise CheckpointError("the model's vision tower is not MobileNetV2; set vision_config.model_type")
        tower.vision_model.load_state_dict(weights)


def clip_config_from(folder: str | Path) -> FLMRVisionConfig:
    """The vision config of a published CLIP's folder, of transformers or of open_clip.  Raises CheckpointError."""
    fields, _ = _published_clip(Path(folder))
    if fields.get("model_type") not in ("clip", "clip_vision_model"):
        raise CheckpointError(f"{str(folder)!r} holds a {fields.get('model_type')!r} model, not CLIP")
    fields = fields.get("vision_config", fields)
    known = own_fields(FLMRVisionConfig()).keys() - {"model_type"}
    return FLMRVisionConfig(**{name: value for name, value in fields.items() if name in known})


def init_clip_from(model: FLMRModelForRetrieval, folder: str | Path) -> None:
    """Copy the vision tower of a published CLIP into the model's vision towers.  Raises CheckpointError."""
    _, named = _published_clip(Path(folder))
    stored = {
        own.removeprefix("vision_model."): tensor
        for own, _, tensor in named
        if own is not None and own.startswith("vision_model.")
    }
    towers: dict[int, Any] = {id(t): t for t in (model.query_vision_encoder, model.context_vision_encoder)}
    for tower in towers.values():
        own_state = tower.vision_model["vision_model"].state_dict()
        wrong = [name for name in own_state if name not in stored or stored[name].shape != own_state[name].shape]
        wrong += [name for name in stored if name not in own_state]
        if wrong:
            raise CheckpointError(f"{str(folder)!r} does not fit the vision tower: {', '.join(wrong[:4])}")
        tower.vision_model["vision_model"].load_state_dict(stored)


def _published_clip(folder: Path) -> tuple[dict[str, Any], Iterator[tuple[str | None, str, torch.Tensor]]]:
    """The config of a CLIP's folder, and its weights with their names, both in transformers' terms."""
    from flmr.model import clip, open_clip  # which need this package

    if (folder / open_clip.CONFIG).is_file() and not (folder / "config.json").is_file():
        fields = open_clip.clip_fields(read_json(folder / open_clip.CONFIG), folder)
        return {"model_type": "clip", **fields}, open_clip.open_clip_tensors(folder)
    return read_json(folder / "config.json"), clip.hf_tensors(folder)


@torch.no_grad()
def take_over(model: FLMRModelForRetrieval, start: FLMRModelForRetrieval) -> None:
    """Copy every weight of `start` into a model that has them all, perhaps twice, and perhaps others beside.

    Raises CheckpointError where the model has no place for a weight.
    """
    given, used = canonical_state(start, start.config), set()
    for name, own in canonical_state(model, model.config).items():
        source = canonical_name(name, start.config)
        if source in given and given[source].shape == own.shape:
            own.copy_(given[source])
            used.add(source)
    if left := sorted(given.keys() - used):
        raise CheckpointError(
            f"the new config has no place for {', '.join(left[:4])} of the checkpoint; keep its shape"
        )


def _bert_folder(folder_or_package: str | Path) -> Path:
    folder = Path(folder_or_package).expanduser()
    if not folder.is_dir() and "/" in str(folder_or_package):
        folder = checkpoint_folder(folder_or_package, files=("*.json", "vocab.txt", "*.safetensors"))
    if not folder.is_dir() and str(folder_or_package).isidentifier():
        spec: Any = importlib.util.find_spec(str(folder_or_package))
        if spec is not None and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{str(folder_or_package)!r} is neither a BERT folder nor an installed package with one")
    return folder
