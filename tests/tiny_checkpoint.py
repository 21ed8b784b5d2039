"""A whole PreFLMR checkpoint of random weights, a megabyte small."""

from __future__ import annotations

import string
from pathlib import Path

COLOURS = ("red", "green", "blue", "white", "black")
WORDS = ("a", "the", "is", "which", "what", "flower", "sky", "leaf", "rose", "snow", "coal", "burns", "cold", *COLOURS)


def write_tiny_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """The published layout with both towers and both mapping networks."""
    from flmr.model.flmr import FLMRConfig, FLMRTextConfig, FLMRVisionConfig
    from flmr.model.flmr.new_checkpoint import RESERVED_TOKENS, build_model, new_tokenizers, save_checkpoint

    letters = string.ascii_lowercase + string.digits
    vocab = [*RESERVED_TOKENS, *string.punctuation, *letters, *(f"##{c}" for c in letters)]
    vocab += [word for word in WORDS if word not in vocab]
    # 160: the default instruction is spelled letter by letter in so small a vocabulary
    tokenizers = new_tokenizers(vocab, query_maxlen=160, doc_maxlen=64)
    config = FLMRConfig(
        text_config=FLMRTextConfig(
            vocab_size=len(vocab), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ).to_dict(),
        vision_config=FLMRVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        ).to_dict(),
        dim=16,
        mapping_network_prefix_length=4,
        use_transformer_mapping_network=True,
        transformer_mapping_config_base={"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32},
        transformer_mapping_num_hidden_layers=1,
        mask_instruction_token=":",
    )
    save_checkpoint(folder, build_model(config, *tokenizers, seed=seed), *tokenizers)
    return folder
