"""FLMR and PreFLMR under their published names, and the helpers that make new checkpoints.

Importing this package makes transformers' Auto classes know "flmr"; nothing else in flmr does.
"""

from flmr.model.flmr.config import (
    FLMRConfig,
    FLMRConvConfig,
    FLMRMobileNetV2Config,
    FLMRTextConfig,
    FLMRVisionConfig,
    register,
)
from flmr.model.flmr.model import FLMRModelForRetrieval
from flmr.model.flmr.new_checkpoint import (
    build_model,
    build_vocab,
    init_mobilenet,
    init_text_tower_from,
    load_checkpoint,
    new_tokenizers,
    save_checkpoint,
    text_config_from,
)
from flmr.model.flmr.tokenizers import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer

__all__ = [
    "FLMRConfig",
    "FLMRContextEncoderTokenizer",
    "FLMRConvConfig",
    "FLMRMobileNetV2Config",
    "FLMRModelForRetrieval",
    "FLMRQueryEncoderTokenizer",
    "FLMRTextConfig",
    "FLMRVisionConfig",
    "build_model",
    "build_vocab",
    "init_mobilenet",
    "init_text_tower_from",
    "load_checkpoint",
    "new_tokenizers",
    "save_checkpoint",
    "text_config_from",
]

register(FLMRModelForRetrieval, FLMRQueryEncoderTokenizer, FLMRContextEncoderTokenizer)
