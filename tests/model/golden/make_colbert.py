"""A tiny random checkpoint in colbert-ai's layout and what colbert-ai itself makes of texts, for test_colbert.py.

    python tests/model/golden/make_colbert.py     (colbert-ai 0.2.22, transformers 4.49.0; a CPU)

Writes colbert/ beside this file: the checkpoint as colbert-ai saves it, texts.json, and expected.safetensors with the
ids, the masks of documents and the rows of queries and documents.
"""

from __future__ import annotations

import json
import os
import string
import tempfile
from pathlib import Path

import torch
from colbert.infra import ColBERTConfig
from colbert.modeling.base_colbert import BaseColBERT
from colbert.modeling.checkpoint import Checkpoint
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = ("what", "is", "the", "capital", "of", "france", "who", "wrote", "it", "paris", "river", "se", "##ine", "cafe")
QUERIES = ["What river of France is the Seine?", "", "who wrote it " * 9, "Café: [MASK] is it?", "seine 42 %"]
_OF_THE_RUN = ("meta", "checkpoint", "root", "experiment", "name")
DOCUMENTS = [
    "The river of Paris, a capital, is the Seine.",
    "",
    "The Seine, a river (of Paris!), is it; " * 6,
    "Who wrote it? 1997",
]


def main() -> None:
    folder = Path(__file__).parent / "colbert"
    folder.mkdir(exist_ok=True)
    characters = [*string.ascii_lowercase, *string.digits]
    vocab = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab += [*string.punctuation, *characters, *(f"##{c}" for c in characters), *WORDS]
    with tempfile.TemporaryDirectory() as start:
        (Path(start) / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab))
        BertTokenizerFast(str(Path(start) / "vocab.txt"), model_max_length=64).save_pretrained(start)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        torch.manual_seed(7)
        config = BertConfig(vocab_size=len(vocab), max_position_embeddings=64, initializer_range=0.2, **sizes)
        BertModel(config).save_pretrained(start)
        settings = ColBERTConfig(dim=8, query_maxlen=24, doc_maxlen=40, checkpoint=start)
        torch.manual_seed(8)
        model = BaseColBERT(start, settings)
        torch.nn.init.normal_(model.linear.weight)
        model.save(str(folder))
    (folder / "artifact.metadata").write_text(json.dumps(_settings(folder), indent=2, sort_keys=True) + "\n")
    checkpoint = Checkpoint(str(folder), ColBERTConfig(**_model_settings(folder)))
    query_ids, query_attention = checkpoint.query_tokenizer.tensorize(QUERIES)
    doc_ids, doc_attention = checkpoint.doc_tokenizer.tensorize(DOCUMENTS)
    rows, mask = checkpoint.doc(doc_ids, doc_attention, keep_dims="return_mask")
    tensors = {
        "query_ids": query_ids,
        "query_attention": query_attention,
        "queries": checkpoint.query(query_ids, query_attention),
        "document_ids": doc_ids,
        "documents": rows,
        "document_mask": mask.squeeze(-1).to(torch.uint8),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "expected.safetensors")
    config_fields = json.loads((folder / "config.json").read_text())
    del config_fields["_name_or_path"]
    (folder / "config.json").write_text(json.dumps(config_fields, indent=2) + "\n")
    (folder / "texts.json").write_text(json.dumps({"queries": QUERIES, "documents": DOCUMENTS}, indent=2) + "\n")


def _settings(folder: Path) -> dict[str, object]:
    """What colbert-ai wrote, without paths and dates."""
    stored = json.loads((folder / "artifact.metadata").read_text())
    return {name: value for name, value in stored.items() if name not in _OF_THE_RUN}


def _model_settings(folder: Path) -> dict[str, object]:
    stored = json.loads((folder / "artifact.metadata").read_text())
    names = ("dim", "query_maxlen", "doc_maxlen", "mask_punctuation", "attend_to_mask_tokens", "similarity")
    return {name: stored[name] for name in names}


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
