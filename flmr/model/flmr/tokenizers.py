"""The published tokenizers: lower-cased word pieces with a marker for the side, queries padded with [MASK].

Knows the published folder (vocab.txt, tokenizer_config.json, special_tokens_map.json, added_tokens.json) and turns
texts into ids.  Knows nothing of the model.  The transformers base class lends its API (decode, add_tokens and so on);
which file is read and what a call returns is decided here, so that it is the same in every version of transformers.

Shapes: B texts, L positions.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.hub import UPLOAD_ARGUMENTS, checkpoint_folder, upload

SPECIAL_TOKENS: Mapping[str, str] = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
MAX_DOCUMENT_TOKENS = 512
# Arguments of transformers' tokenizers that ask for what is done here anyway.
_DONE: Mapping[str, bool] = {
    "add_special_tokens": True, "return_attention_mask": True, "return_token_type_ids": False, "verbose": True
}  # fmt: skip
_HUB_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Tokens:
    """One text as ids, unpadded, markers included; spans are (start, end) characters of the text, None for markers."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...]


class _SidedTokenizer(PreTrainedTokenizerFast):  # type: ignore[misc]
    """What the two sides share: position 1 holds the side's marker."""

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012  (the base class declares a list)
    marker = ""
    _PREFIX = ". "  # its one word piece is overwritten by the marker

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        *,
        vocab: Mapping[str, int] | None = None,
        tokenizer_object: Tokenizer | None = None,
        added_tokens: Mapping[str, int] | None = None,
        do_lower_case: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        model_max_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        if tokenizer_object is None:
            if (vocab_file is None) == (vocab is None):
                raise InvalidInput("give either vocab_file or vocab={token: id}")
            entries = dict(vocab) if vocab is not None else _read_vocab_txt(Path(vocab_file or ""))
            tokenizer_object = _word_pieces(
                entries, added_tokens or {}, do_lower_case, strip_accents, tokenize_chinese_chars
            )
        ignored = {"text_config", "vocab", "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"}
        super().__init__(
            tokenizer_object=tokenizer_object,
            model_max_length=model_max_length or int(1e30),
            **{**SPECIAL_TOKENS, **{k: v for k, v in kwargs.items() if k not in ignored}},
        )
        self.normalizer_settings = {
            "do_lower_case": do_lower_case,
            "strip_accents": strip_accents,
            "tokenize_chinese_chars": tokenize_chinese_chars,
        }
        self.marker_id = self._tokenizer.token_to_id(self.marker)

    def tokenize_texts(self, texts: Sequence[str], max_length: int) -> list[Tokens]:
        """Each text as ids of at most max_length (at least 3), without padding.  Raises InvalidInput."""
        if not isinstance(max_length, int) or max_length < 3:
            raise InvalidInput(f"max_length must be at least 3 ([CLS], the marker, [SEP]), not {max_length!r}")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidInput(f"text {i} must be a string, not {type(text).__name__}")
        backend = self._tokenizer
        if backend.truncation or backend.padding:  # left behind by another call of the base class
            backend = Tokenizer.from_str(backend.to_str())
            backend.no_truncation()
            backend.no_padding()
        encodings = backend.encode_batch([self._PREFIX + text for text in texts], add_special_tokens=False)
        return [self._framed(encoding, max_length) for encoding in encodings]

    def _framed(self, encoding: Any, max_length: int) -> Tokens:
        ids = (self.cls_token_id, self.marker_id, *encoding.ids[1 : max_length - 2], self.sep_token_id)
        shift = len(self._PREFIX)
        spans = [(start - shift, end - shift) for start, end in encoding.offsets[1 : max_length - 2]]
        return Tokens(ids, (None, None, *spans, None))

    def pad_tokens(self, tokens: Sequence[Tokens], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and attention mask of texts, padded: two (B, length) int64."""
        ids_BL = torch.zeros(len(tokens), length, dtype=torch.long)
        mask_BL = torch.zeros(len(tokens), length, dtype=torch.long)
        for row, item in enumerate(tokens):
            ids_BL[row, : len(item.ids)] = torch.tensor(item.ids)
            mask_BL[row, : len(item.ids)] = 1
        return ids_BL, mask_BL

    def describe(self) -> dict[str, Any]:
        """Everything that decides which ids a text becomes."""
        settings = {name: getattr(self, name) for name in self._SETTINGS if name not in self.normalizer_settings}
        return {**self.normalizer_settings, **settings, "vocab": self._tokenizer.get_vocab(with_added_tokens=True)}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *inputs: Any, **kwargs: Any) -> Any:
        """Read the published folder, or `subfolder` of it, or of a hub repository.

        Keyword arguments override the fields of tokenizer_config.json; `text_config` and `trust_remote_code` are taken
        for the sake of published scripts.  Raises CheckpointError, NotAvailable.
        """
        subfolder = kwargs.pop("subfolder", None) or ""
        hub = {
            k: kwargs.pop(k)
            for k in ("revision", "cache_dir", "token", "local_files_only", "force_download")
            if k in kwargs
        }
        kwargs.pop("trust_remote_code", None)
        files = [f"{subfolder}/{name}" if subfolder else name for name in _HUB_FILES]
        folder = checkpoint_folder(pretrained_model_name_or_path, files=files, needs=files[:2], **hub) / subfolder
        if not folder.is_dir():
            raise CheckpointError(f"no tokenizer folder {subfolder!r} in {str(pretrained_model_name_or_path)!r}")
        settings = read_json(folder / "tokenizer_config.json")
        added = {entry["content"]: int(id_) for id_, entry in settings.get("added_tokens_decoder", {}).items()}
        added |= read_json(folder / "added_tokens.json")
        return cls(
            vocab=read_vocab(folder),
            added_tokens=added,
            **{**{name: settings[name] for name in cls._SETTINGS if name in settings}, **kwargs},
        )

    _SETTINGS: tuple[str, ...] = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "model_max_length")

    def save_pretrained(
        self, save_directory: str | Path, *args: Any, push_to_hub: bool = False, **kwargs: Any
    ) -> tuple[str, ...]:
        """Write the published folder, and upload it where push_to_hub says so; returns the names of its files."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        base = self.word_pieces()
        decoder = dict(sorted(self._tokenizer.get_added_tokens_decoder().items()))
        extra = {token.content: id_ for id_, token in decoder.items() if id_ >= len(base)}
        settings: dict[str, Any] = {
            "added_tokens_decoder": {str(id_): _token_entry(token) for id_, token in decoder.items()},
            "additional_special_tokens": list(extra),
            **SPECIAL_TOKENS,
            **self.normalizer_settings,
            **{name: getattr(self, name) for name in self._SETTINGS if name not in self.normalizer_settings},
            "tokenizer_class": type(self).__name__,
        }
        special: dict[str, Any] = {**SPECIAL_TOKENS}
        files = {
            "vocab.txt": "".join(f"{token}\n" for token in sorted(base, key=base.__getitem__)),
            "tokenizer_config.json": json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        }
        if extra:
            special["additional_special_tokens"] = list(extra)
            files["added_tokens.json"] = json.dumps(extra, indent=2, ensure_ascii=False) + "\n"
        files["special_tokens_map.json"] = json.dumps(special, indent=2) + "\n"
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        if push_to_hub:
            pushing = {name: kwargs[name] for name in UPLOAD_ARGUMENTS if name in kwargs}
            upload(folder, pushing.pop("repo_id", None), [*files], **{"commit_message": "Upload tokenizer", **pushing})
        return tuple(str(folder / name) for name in files)

    def word_pieces(self) -> dict[str, int]:
        """The vocabulary without the tokens that were added to it: {token: id}."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=False))

    def punctuation_ids(self) -> tuple[int, ...]:
        """The ids of the 32 ASCII punctuation marks, in their order; a mark that the vocabulary lacks is left out."""
        ids = (self._tokenizer.token_to_id(mark) for mark in string.punctuation)
        return tuple(id_ for id_ in ids if id_ is not None)


class FLMRQueryEncoderTokenizer(_SidedTokenizer):
    """Queries: [CLS] [unused0] text [SEP], padded with [MASK] to query_maxlen; the padding is kept as rows.

    attend_to_mask_tokens: whether BERT attends to the padding.
    """

    marker = "[unused0]"
    _SETTINGS = (*_SidedTokenizer._SETTINGS, "query_maxlen", "attend_to_mask_tokens")

    def __init__(
        self, *args: Any, query_maxlen: int | None = None, attend_to_mask_tokens: bool = False, **kwargs: Any
    ) -> None:
        default: Any = getattr(kwargs.get("text_config"), "query_maxlen", 32)
        self.query_maxlen = int(query_maxlen or default)
        self.attend_to_mask_tokens = attend_to_mask_tokens
        super().__init__(*args, **kwargs)

    def __call__(  # type: ignore[override]
        self, text: str | Sequence[str], max_length: int | None = None, return_tensors: str = "pt", **kwargs: Any
    ) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, (B, max_length or query_maxlen) int64; a str is one text.

        padding: "max_length" (the default) or "longest".  Raises InvalidInput where another argument is not known.
        """
        length = max_length or self.query_maxlen
        tokens = self.tokenize_texts(_listed(text), length)
        ids_BL, mask_BL = self.pad_tokens(tokens, _width(tokens, length, **kwargs))
        return _as_tensors({"input_ids": ids_BL, "attention_mask": mask_BL}, return_tensors)

    def pad_tokens(self, tokens: Sequence[Tokens], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and attention mask of texts, padded with [MASK]: two (B, length) int64."""
        ids_BL, mask_BL = super().pad_tokens(tokens, length)
        ids_BL[ids_BL == 0] = self.mask_token_id
        return ids_BL, torch.ones_like(mask_BL) if self.attend_to_mask_tokens else mask_BL


class FLMRContextEncoderTokenizer(_SidedTokenizer):
    """Documents: [CLS] [unused1] text [SEP], padded with [PAD] to doc_maxlen (512 at most)."""

    marker = "[unused1]"
    _SETTINGS = (*_SidedTokenizer._SETTINGS, "doc_maxlen")

    def __init__(self, *args: Any, doc_maxlen: int | None = None, **kwargs: Any) -> None:
        self.doc_maxlen = doc_maxlen or MAX_DOCUMENT_TOKENS
        super().__init__(*args, **kwargs)

    def __call__(  # type: ignore[override]
        self, text: str | Sequence[str], max_length: int | None = None, return_tensors: str = "pt", **kwargs: Any
    ) -> dict[str, Any]:
        """`input_ids` and `attention_mask`, (B, max_length or doc_maxlen, 512 at most) int64; a str is one text.

        padding: "max_length" (the default) or "longest".  Raises InvalidInput where another argument is not known.
        """
        length = min(MAX_DOCUMENT_TOKENS, max_length or self.doc_maxlen)
        tokens = self.tokenize_texts(_listed(text), length)
        ids_BL, mask_BL = self.pad_tokens(tokens, _width(tokens, length, **kwargs))
        return _as_tensors({"input_ids": ids_BL, "attention_mask": mask_BL}, return_tensors)


def _listed(text: str | Sequence[str]) -> list[str]:
    if not isinstance(text, Iterable):
        raise InvalidInput(f"texts must be a string or a list of strings, not {type(text).__name__}")
    return [text] if isinstance(text, str) else list(text)


def _width(
    tokens: Sequence[Tokens], length: int, padding: Any = "max_length", truncation: Any = True, **others: Any
) -> int:
    """How wide texts are padded; the arguments are those of transformers.  Raises InvalidInput for what is not done."""
    for name, value in others.items():
        if name not in _DONE or value not in (None, _DONE[name]):
            raise InvalidInput(f"{name}={value!r} is not known to this tokenizer; leave it out")
    if truncation not in (True, "longest_first") or padding not in ("max_length", "longest", True):
        raise InvalidInput(
            f"padding={padding!r}, truncation={truncation!r}: texts are padded to 'max_length' or to the 'longest', and"
            " cut at max_length"
        )
    return length if padding == "max_length" else max((len(item.ids) for item in tokens), default=0)


def read_vocab(folder: str | Path) -> dict[str, int]:
    """The word pieces of a BERT-like folder: vocab.txt, or tokenizer.json's model.  Raises CheckpointError."""
    folder = Path(folder)
    if (folder / "vocab.txt").is_file():
        return _read_vocab_txt(folder / "vocab.txt")
    model = read_json(folder / "tokenizer.json").get("model", {})
    if model.get("type") == "WordPiece" and isinstance(model.get("vocab"), dict):
        return {str(token): int(id_) for token, id_ in model["vocab"].items()}
    raise CheckpointError(f"tokenizer folder {str(folder)!r} holds neither vocab.txt nor a WordPiece tokenizer.json")


def _word_pieces(
    vocab: dict[str, int], added: Mapping[str, int], lower: bool, accents: bool | None, chinese: bool
) -> Tokenizer:
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise CheckpointError("the ids of a vocabulary must run from 0 without a gap")
    missing = [t for t in (*SPECIAL_TOKENS.values(), "[unused0]", "[unused1]") if t not in vocab]
    if missing or vocab["[PAD]"] != 0:
        raise CheckpointError(f"the vocabulary lacks {', '.join(missing)}" if missing else "[PAD] must have id 0")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=accents, lowercase=lower
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    names = [*SPECIAL_TOKENS.values(), *sorted((t for t in added if t not in vocab), key=added.__getitem__)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    for name, id_ in added.items():
        if tokenizer.token_to_id(name) != id_:
            raise CheckpointError(
                f"added token {name!r} has id {id_}, which does not follow the vocabulary of {len(vocab)}"
            )
    return tokenizer


def _read_vocab_txt(path: Path) -> dict[str, int]:
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")  # one token a line; other line breaks may be in tokens
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"vocabulary {str(path)!r} cannot be read: {error}") from None
    if lines and not lines[-1]:
        lines.pop()
    vocab = {line.rstrip("\r"): i for i, line in enumerate(lines)}
    if len(vocab) != len(lines):
        raise CheckpointError(f"vocabulary {str(path)!r} holds a token twice")
    return vocab


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} where there is no file.  Raises CheckpointError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object")
    return value


def _token_entry(token: AddedToken) -> dict[str, Any]:
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {name: getattr(token, name) for name in names}


def _as_tensors(encoding: dict[str, torch.Tensor], kind: str | None) -> dict[str, Any]:
    if kind == "pt":
        return encoding
    if kind == "np":
        return {name: value.numpy() for name, value in encoding.items()}
    if kind is None:
        return {name: value.tolist() for name, value in encoding.items()}
    raise InvalidInput(f"return_tensors must be 'pt', 'np' or None, not {kind!r}")
