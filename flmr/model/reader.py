"""A transformers model in the reader's role: a question and one passage at a time in, an answer out.

Knows prompts, encoder-decoder models (T5, BART) and models that read text and pictures (LLaVA, BLIP-2, Qwen-VL), LoRA,
and how probable an answer is.  Knows no retriever: what a passage scored comes with it.
Source: Lin et al., "Fine-grained late-interaction multi-modal retrieval for retrieval augmented visual question
answering", NeurIPS 2023 (one prompt a passage; the answer of the best joint probability).
"""

# N prompts, T target tokens, L prompt tokens, V vocabulary.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flmr.errors import CheckpointError, InvalidInput, MissingExtra
from flmr.images import load_image
from flmr.model.encoder import find_device
from flmr.model.hub import checkpoint_folder
from flmr.records import Answer, Hit, Query

SETTINGS = "reader.json"
ADAPTER = "adapter_config.json"
READER_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "sentencepiece*")


@dataclass(frozen=True)
class ReaderSettings:
    """How a reader is asked; kept beside its weights in reader.json.

    prompt: with {question} and {passage}.  max_prompt: tokens, of which the passage takes what the rest leaves.
    max_answer: tokens.  beams: of the search for the likeliest answer.
    """

    prompt: str = "Question: {question} Knowledge: {passage} Answer:"
    max_prompt: int = 512
    max_answer: int = 10
    beams: int = 2

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt or "{passage}" not in self.prompt:
            raise InvalidInput(f"a reader's prompt needs {{question}} and {{passage}}; {self.prompt!r} has not both")
        if min(self.max_prompt, self.max_answer, self.beams) < 1:
            raise InvalidInput("a reader's max_prompt, max_answer and beams must be at least 1")


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters in place of all weights.  targets: names of layers; none means every linear layer.

    Source: Hu et al., "LoRA", ICLR 2022.
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadTargets:
    """How probable targets are.

    log_p_NT: of each token given those before it, float32.  mask_NT: bool, the tokens that count.
    first_right_N: bool, the likeliest first token of the answer is the target's; no gradient.
    """

    log_p_NT: Tensor
    mask_NT: Tensor
    first_right_N: Tensor

    @property
    def log_p(self) -> Tensor:
        """Of each whole target: (N,)."""
        return self.log_p_NT.where(self.mask_NT, 0.0).sum(1)

    @property
    def mean_log_p(self) -> Tensor:
        """Of a token of each target, on average: (N,)."""
        return self.log_p / self.mask_NT.sum(1)


class TransformersReader:
    """A language model, with its processor where it reads pictures too; in evaluation mode until told otherwise."""

    def __init__(self, model: Any, processor: Any, settings: ReaderSettings | None = None, *, name: str = "") -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.settings = settings or ReaderSettings()
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.reads_images = self.tokenizer is not processor
        texts = getattr(model.config, "text_config", model.config)
        self.encodes = bool(model.config.is_encoder_decoder or texts.is_encoder_decoder)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def prompts(self, queries: Sequence[Query], passages: Sequence[str]) -> list[str]:
        """The prompt of each query with its passage, which is cut where it would push the rest out."""
        made = []
        for query, passage in zip(queries, passages, strict=True):
            empty = self.settings.prompt.format(question=query.text.strip(), passage="")
            room = self.settings.max_prompt - len(self.tokenizer(empty)["input_ids"])
            ids = self.tokenizer(passage, add_special_tokens=False)["input_ids"]
            if len(ids) > room:
                passage = self.tokenizer.decode(ids[: max(0, room)], skip_special_tokens=True)
            made.append(self.settings.prompt.format(question=query.text.strip(), passage=passage))
        return made

    def read(self, queries: Sequence[Query], passages: Sequence[str], targets: Sequence[str]) -> ReadTargets:
        """How probable each target is, given its query and its passage; differentiable."""
        inputs = self._inputs(queries, passages)
        if self.encodes:
            ids_NT, mask_NT = self._target_ids(text_target=list(targets))
            labels_NT = ids_NT.masked_fill(~mask_NT, -100)
            logits_NTV = self.model(**inputs, labels=labels_NT, use_cache=False).logits
        else:
            end = self.tokenizer.eos_token or ""
            ids_NT, mask_NT = self._target_ids([f" {target}{end}" for target in targets], add_special_tokens=False)
            logits_NTV = self.model(**_followed_by(inputs, ids_NT, mask_NT), use_cache=False).logits
            logits_NTV = logits_NTV[:, -ids_NT.shape[1] - 1 : -1]
        log_p_NT = logits_NTV.float().log_softmax(-1).gather(2, ids_NT[..., None])[..., 0]
        special = torch.tensor(self.tokenizer.all_special_ids, device=ids_NT.device)
        first_N1 = (mask_NT & ~torch.isin(ids_NT, special)).int().argmax(1, keepdim=True)
        right_NT = logits_NTV.detach().argmax(-1) == ids_NT
        return ReadTargets(log_p_NT, mask_NT, right_NT.gather(1, first_N1)[:, 0])

    @torch.no_grad()
    def generate(self, queries: Sequence[Query], passages: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest answer of each query from its passage, with the mean log-probability of its tokens."""
        inputs = self._inputs(queries, passages)
        limits = {"num_beams": self.settings.beams, "max_new_tokens": self.settings.max_answer}
        ids_NT = self.model.generate(**inputs, **limits, do_sample=False, pad_token_id=self.tokenizer.pad_token_id)
        if not self.encodes:
            ids_NT = ids_NT[:, inputs["input_ids"].shape[1] :]
        answers = [text.strip() for text in self.tokenizer.batch_decode(ids_NT, skip_special_tokens=True)]
        return list(zip(answers, self.read(queries, passages, answers).mean_log_p.tolist(), strict=True))

    def answers(self, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> list[Answer]:
        """Each query's answer: of those that its passages give, the one of the best log p(passage) + mean log p(token).

        p(passage) is the softmax of the hits' scores; the hits come back best first by the sum.  A query without hits
        is answered without a passage.  Raises InvalidInput where a hit has no passage.
        """
        pairs: list[tuple[int, Hit | None]] = []
        for i, found in enumerate(hits):
            pairs += [(i, hit) for hit in found] or [(i, None)]
        texts = [_text_of(hit) for _, hit in pairs]
        said = self.generate([queries[i] for i, _ in pairs], texts) if pairs else []
        answers = []
        for i, found in enumerate(hits):
            own = [text for (row, _), text in zip(pairs, said, strict=True) if row == i]
            log_p = torch.tensor([hit.score for hit in found] or [0.0]).log_softmax(0)
            joint = log_p + torch.tensor([mean for _, mean in own])
            order = joint.argsort(descending=True, stable=True).tolist()
            read = tuple(found[k] for k in order) if found else ()
            answers.append(Answer(own[order[0]][0], joint[order[0]].item(), read))
        return answers

    def answer(self, query: Query, hits: Sequence[Hit]) -> Answer:
        """`answers` for one query."""
        return self.answers([query], [hits])[0]

    def save(self, folder: str | Path) -> None:
        """Weights (adapters alone where there are some), tokenizer or processor, and settings."""
        folder = Path(folder)
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / SETTINGS).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")

    def _inputs(self, queries: Sequence[Query], passages: Sequence[str]) -> dict[str, Tensor]:
        texts: list[str] = self.prompts(queries, passages)
        kwargs: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        self.tokenizer.padding_side = "right" if self.encodes else "left"
        if self.reads_images:
            missing = [query.id or query.text for query in queries if query.image is None]
            if missing:
                raise InvalidInput(f"reader {self.name!r} reads pictures, and query {missing[0]!r} has none")
            kwargs["images"] = [load_image(query.image) for query in queries if query.image is not None]
            texts = [self._with_picture(text) for text in texts]
        inputs = self.processor(text=texts, **kwargs)
        taken = {name: value for name, value in inputs.items() if name != "token_type_ids" or not self.encodes}
        return {name: value.to(self.model.device) for name, value in taken.items()}

    def _with_picture(self, text: str) -> str:
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": text}]
            said = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False))
        mark = getattr(self.processor, "image_token", None)
        return f"{mark}\n{text}" if isinstance(mark, str) else text  # BLIP-2's own processor puts its marks itself

    def _target_ids(self, text: list[str] | None = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.tokenizer.padding_side = "right"
        made = self.tokenizer(text, **kwargs, padding=True, return_tensors="pt").to(self.model.device)
        return made["input_ids"], made["attention_mask"].bool()


def load_reader(
    name_or_path: str | Path,
    *,
    lora: Lora | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> TransformersReader:
    """The reader of a folder or hub name: a sequence-to-sequence or an image-text-to-text model with its tokenizer.

    A folder of adapters, as `TransformersReader.save` leaves one, is put on the model that it names.  lora: new
    adapters on a model whose own weights then rest.  settings: fields of ReaderSettings that differ from those kept in
    the folder.  Raises NotAvailable, CheckpointError, InvalidInput, MissingExtra (LoRA without peft).
    """
    place = find_device(device)  # said before anything is read
    folder = checkpoint_folder(name_or_path, files=READER_FILES)
    kept = json.loads((folder / SETTINGS).read_text(encoding="utf-8")) if (folder / SETTINGS).exists() else {}
    asked = replace(ReaderSettings(**kept), **settings)
    adapter = folder / ADAPTER
    named = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"] if adapter.exists() else None
    if not any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern)):
        raise CheckpointError(
            f"reader {str(name_or_path)!r} holds no tokenizer ({', '.join(TOKENIZER_FILES[:5])}); save its tokenizer"
            " or processor there"
        )
    model = _load_model(folder if named is None else checkpoint_folder(named, files=READER_FILES))
    processor = _load_processor(model, folder)
    if adapter.exists():
        model = _peft().PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    elif lora is not None:
        model = _with_lora(model, lora)
    return TransformersReader(model.to(place, dtype), processor, asked, name=str(name_or_path))


def _load_model(folder: Path) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoModelForSeq2SeqLM
    from transformers.models.auto import modeling_auto

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"reader {str(folder)!r} has no config.json that can be read: {error}") from None
    kinds: dict[Any, Mapping[str, str]] = {
        AutoModelForSeq2SeqLM: modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        AutoModelForImageTextToText: modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    }
    for kind, names in kinds.items():
        if config.model_type in names:
            try:
                model, info = kind.from_pretrained(folder, config=config, output_loading_info=True)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"the weights of reader {str(folder)!r} cannot be read: {error}") from None
            if info["missing_keys"]:
                raise CheckpointError(f"reader {str(folder)!r} lacks the weights {sorted(info['missing_keys'])[:3]}")
            return model
    raise CheckpointError(
        f"reader {str(folder)!r} is a {config.model_type!r} model; readers are sequence-to-sequence models (T5, BART)"
        " and models that read pictures and text (LLaVA, BLIP-2, Qwen-VL)"
    )


def _load_processor(model: Any, folder: Path) -> Any:
    from transformers import AutoProcessor, AutoTokenizer

    kind = AutoProcessor if hasattr(model.config, "vision_config") else AutoTokenizer
    try:
        return kind.from_pretrained(folder)
    except Exception as error:  # transformers raises many kinds for a damaged or half a tokenizer
        raise CheckpointError(f"the tokenizer or processor of reader {str(folder)!r} cannot be read: {error}") from None


def _with_lora(model: Any, lora: Lora) -> Any:
    peft = _peft()
    task = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    targets = list(lora.targets) or "all-linear"
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type=task
    )
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise InvalidInput(f"LoRA targets {list(lora.targets)} do not fit this reader: {error}") from None


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("adapters of a reader (LoRA) need peft: pip install 'flmr[train]'") from None
    return peft


def _followed_by(inputs: Mapping[str, Tensor], ids_NT: Tensor, mask_NT: Tensor) -> dict[str, Tensor]:
    """The inputs of a prompt (N, L) with target tokens behind; pictures stay as they are."""
    behind = {"input_ids": ids_NT, "attention_mask": mask_NT.to(inputs["attention_mask"].dtype)}
    shape = inputs["input_ids"].shape
    return {
        name: torch.cat([value, behind.get(name, torch.zeros_like(ids_NT, dtype=value.dtype))], 1)
        if value.shape == shape
        else value
        for name, value in inputs.items()
    }


def _text_of(hit: Hit | None) -> str:
    if hit is None:
        return ""
    if hit.passage is None:
        raise InvalidInput(f"hit {hit.id!r} brings no passage to read; build the index with passages")
    return hit.passage.full_text
