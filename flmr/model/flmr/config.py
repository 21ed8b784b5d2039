"""The published configuration of FLMR and PreFLMR, and of the vision towers that fit the same seam.

Knows the fields, their defaults (files store only what differs from them) and how nested tables become classes.
Unknown keys are tolerated, as the published files need.  Knows nothing of weights.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig

from flmr.errors import CheckpointError, InvalidInput

BERT_BASE_UNCASED: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
}
"""What `transformer_mapping_config_base = "bert-base-uncased"` means, so that no hub is asked for it."""

_BUILT_IN_BASES = ("bert-base-uncased", "google-bert/bert-base-uncased")


class FLMRTextConfig(PretrainedConfig):  # type: ignore[misc]
    """The text tower: BERT layout of any width and depth."""

    model_type = "flmr_text_model"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        pad_token_id: int = 0,
        position_embedding_type: str = "absolute",
        projection_dim: int = 0,
        text_encoder_base_model: str = "bert-base-uncased",
        query_maxlen: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_kept(kwargs))
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.pad_token_id = pad_token_id
        self.position_embedding_type = position_embedding_type
        self.projection_dim = projection_dim
        self.text_encoder_base_model = text_encoder_base_model
        self.query_maxlen = query_maxlen


class FLMRVisionConfig(PretrainedConfig):  # type: ignore[misc]
    """The published vision tower: a CLIP ViT."""

    model_type = "flmr_vision_model"

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        projection_dim: int = 512,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        num_channels: int = 3,
        image_size: int = 224,
        patch_size: int = 32,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        initializer_range: float = 0.02,
        initializer_factor: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_kept(kwargs))
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.projection_dim = projection_dim
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_channels = num_channels
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_act = hidden_act
        self.layer_norm_eps = layer_norm_eps
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self.initializer_factor = initializer_factor


class FLMRMobileNetV2Config(PretrainedConfig):  # type: ignore[misc]
    """A small vision tower: MobileNetV2, 7 x 7 patches of 1280 for a picture of 224 x 224."""

    model_type = "flmr_mobilenet_v2"

    def __init__(self, hidden_size: int = 1280, image_size: int = 224, **kwargs: Any) -> None:
        super().__init__(**_kept(kwargs))
        if hidden_size != 1280 or image_size < 32:
            raise InvalidInput(
                f"MobileNetV2 gives 1280 features of pictures of at least 32 pixels, not {hidden_size} of {image_size}"
            )
        self.hidden_size = hidden_size
        self.image_size = image_size


class FLMRConvConfig(PretrainedConfig):  # type: ignore[misc]
    """A vision tower to train from nothing: stages of convolutions, each half the sides of the one before.

    widths: of the stages; a patch is a cell of the last one, 2 ** len(widths) pixels a side.
    """

    model_type = "flmr_conv"

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128),
        image_size: int = 96,
        hidden_size: int | None = None,
        patch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_kept(kwargs))
        self.widths = [int(width) for width in widths]
        if not self.widths or min(self.widths) < 1:
            raise InvalidInput(f"widths must name at least one stage, each at least 1 wide, not {self.widths}")
        self.hidden_size, self.patch_size = self.widths[-1], 2 ** len(self.widths)
        if hidden_size not in (None, self.hidden_size) or patch_size not in (None, self.patch_size):
            raise InvalidInput(
                f"widths {self.widths} make hidden_size {self.hidden_size} and patch_size {self.patch_size}, not"
                f" {hidden_size} and {patch_size}; leave both out"
            )
        if image_size < 1 or image_size % self.patch_size:
            raise InvalidInput(f"image_size must be a multiple of {self.patch_size}, not {image_size}")
        self.image_size = image_size


class FLMRConfig(PretrainedConfig):  # type: ignore[misc]
    """FLMR and PreFLMR: what the two sides share, which rows a query and a document have, and the mapping networks.

    text_config, vision_config: a class of this module or a dict; a dict's `model_type` chooses the vision tower.
    transformer_mapping_config_base: "bert-base-uncased" (built in), a folder with a config.json, or a dict of the
    BERT fields (ours), so that a text tower of any width can be mapped to.
    query_missing_image: "none" leaves the image rows out of a query without image; "black" encodes a black picture, as
    the published pipeline does (ours; the towers themselves are the same).
    single_vector: queries and documents are one row, the normalised mean of their rows (ours): the dense retriever of
    the same towers, whose score is a cosine.
    """

    model_type = "flmr"

    def __init__(
        self,
        text_config: FLMRTextConfig | dict[str, Any] | None = None,
        vision_config: PretrainedConfig | dict[str, Any] | None = None,
        mask_punctuation: bool = True,
        mapping_network_prefix_length: int = 32,
        dim: int = 128,
        use_vision_encoder: bool = True,
        initializer_range: float = 0.02,
        separate_query_and_context_text_encoder: bool = False,
        separate_query_and_context_vision_encoder: bool = False,
        query_concat_output_from_vision_encoder: bool = True,
        query_concat_output_from_text_encoder: bool = True,
        context_concat_output_from_vision_encoder: bool = False,
        context_concat_output_from_text_encoder: bool = True,
        use_transformer_mapping_network: bool = False,
        transformer_mapping_config_base: str | dict[str, Any] | None = None,
        transformer_mapping_num_hidden_layers: int | None = None,
        transformer_mapping_cross_attention_length: int = 32,
        mask_instruction_token: str | None = None,
        query_mask_input_ids_skip_list: list[int] | None = None,
        load_cpu_extension: bool = False,
        vision_model_version: str = "openai/clip-vit-base-patch32",
        query_missing_image: str = "none",
        single_vector: bool = False,
        **kwargs: Any,
    ) -> None:
        if query_missing_image not in ("none", "black"):
            raise InvalidInput(f"query_missing_image must be 'none' or 'black', not {query_missing_image!r}")
        super().__init__(**_kept(kwargs))
        self.text_config = _text_config(text_config)
        self.vision_config = _vision_config(vision_config)
        self.mask_punctuation = mask_punctuation
        self.mapping_network_prefix_length = mapping_network_prefix_length
        self.dim = dim
        self.use_vision_encoder = use_vision_encoder
        self.initializer_range = initializer_range
        self.separate_query_and_context_text_encoder = separate_query_and_context_text_encoder
        self.separate_query_and_context_vision_encoder = separate_query_and_context_vision_encoder
        self.query_concat_output_from_vision_encoder = query_concat_output_from_vision_encoder
        self.query_concat_output_from_text_encoder = query_concat_output_from_text_encoder
        self.context_concat_output_from_vision_encoder = context_concat_output_from_vision_encoder
        self.context_concat_output_from_text_encoder = context_concat_output_from_text_encoder
        self.use_transformer_mapping_network = use_transformer_mapping_network
        self.transformer_mapping_config_base = transformer_mapping_config_base
        self.transformer_mapping_num_hidden_layers = transformer_mapping_num_hidden_layers
        self.transformer_mapping_cross_attention_length = transformer_mapping_cross_attention_length
        self.mask_instruction_token = mask_instruction_token
        self.query_mask_input_ids_skip_list = list(query_mask_input_ids_skip_list or [])
        self.load_cpu_extension = load_cpu_extension
        self.vision_model_version = vision_model_version
        self.query_missing_image = query_missing_image
        self.single_vector = single_vector

    @classmethod
    def from_text_vision_configs(
        cls, text_config: FLMRTextConfig, vision_config: PretrainedConfig, **kwargs: Any
    ) -> FLMRConfig:
        """The config of these two towers, other fields as given: `FLMRConfig(text_config, vision_config, ...)`."""
        return cls(text_config=text_config, vision_config=vision_config, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """As transformers does it, and remember the folder: a mapping base may stand beside config.json."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded  # with return_unused_kwargs
        config._name_or_path = str(pretrained_model_name_or_path)
        return loaded


def load_config(folder: Path, config: FLMRConfig | str | Path | None = None) -> FLMRConfig:
    """The config of a checkpoint folder, or the one given: an object, or a folder.  Raises CheckpointError."""
    if isinstance(config, FLMRConfig):
        config._name_or_path = config._name_or_path or str(folder)
        return config
    folder = folder if config is None else Path(config)
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        wrong = "holds no config.json" if folder.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint folder {str(folder)!r} {wrong}; make it first, or give another") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from None
    if not isinstance(fields, dict) or fields.get("model_type") != FLMRConfig.model_type:
        kind = fields.get("model_type") if isinstance(fields, dict) else type(fields).__name__
        raise CheckpointError(f"{str(path)!r} describes {kind!r}, not an FLMR model (model_type 'flmr')")
    config = FLMRConfig(**_without_model_type(fields))
    config._name_or_path = str(folder)
    return config


def save_config(config: FLMRConfig, folder: Path) -> None:
    """Write config.json with every field of this module and nothing else.

    A mapping base that was read from a folder is written out, so that the new folder is whole.
    """
    fields = own_fields(config)
    base = config.transformer_mapping_config_base
    if config.use_transformer_mapping_network and isinstance(base, str) and base not in _BUILT_IN_BASES:
        fields["transformer_mapping_config_base"] = mapping_base(config)
    fields = {"architectures": ["FLMRModelForRetrieval"], **fields}
    (folder / "config.json").write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def own_fields(config: PretrainedConfig) -> dict[str, Any]:
    """The fields that this module defines, nested, without what transformers adds from version to version."""
    names = [n for n in inspect.signature(type(config).__init__).parameters if n not in ("self", "kwargs")]
    fields: dict[str, Any] = {"model_type": type(config).model_type}
    for name in names:
        value = getattr(config, name)
        fields[name] = own_fields(value) if isinstance(value, PretrainedConfig) else value
    return fields


def mapping_base(config: FLMRConfig) -> dict[str, Any]:
    """The BERT fields of the mapping network: built in, given as a dict, or read from a folder with a config.json.

    A relative folder is looked for beside the config.json that was loaded, then from the working directory.  The
    result has `num_hidden_layers` replaced by the config's own number.  Raises CheckpointError.
    """
    base = config.transformer_mapping_config_base
    if isinstance(base, Mapping):
        fields = {**BERT_BASE_UNCASED, **base}
    elif base in _BUILT_IN_BASES:
        fields = dict(BERT_BASE_UNCASED)
    elif isinstance(base, str):
        fields = {**BERT_BASE_UNCASED, **_read_base(base, Path(str(config.name_or_path or "")))}
    else:
        raise CheckpointError(
            "use_transformer_mapping_network is set but transformer_mapping_config_base is not; "
            "set it to 'bert-base-uncased' or to a dict of BERT fields"
        )
    if config.transformer_mapping_num_hidden_layers is not None:
        fields["num_hidden_layers"] = config.transformer_mapping_num_hidden_layers
    if fields["hidden_size"] != config.text_config.hidden_size:
        raise CheckpointError(
            f"the mapping network is {fields['hidden_size']} wide but the text tower is "
            f"{config.text_config.hidden_size}; give transformer_mapping_config_base as a dict with the text width"
        )
    return {name: fields[name] for name in BERT_BASE_UNCASED}


def _read_base(base: str, folder: Path) -> dict[str, Any]:
    for candidate in (folder / base, Path(base)):
        path = candidate / "config.json" if candidate.is_dir() else candidate
        if path.is_file():
            try:
                fields = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CheckpointError(f"mapping network configuration {str(path)!r} is not JSON: {error}") from None
            if isinstance(fields, dict):
                return fields
            raise CheckpointError(f"mapping network configuration {str(path)!r} is not a JSON object")
    raise CheckpointError(
        f"transformer_mapping_config_base {base!r} is neither built in ('bert-base-uncased') nor a folder with a "
        "config.json; give a dict of BERT fields instead"
    )


def _text_config(value: Any) -> FLMRTextConfig:
    if value is None:
        return FLMRTextConfig()
    if isinstance(value, FLMRTextConfig):
        return value
    if isinstance(value, PretrainedConfig):  # a BertConfig, say
        value = value.to_dict()
    if not isinstance(value, Mapping):
        raise InvalidInput(f"text_config must be an FLMRTextConfig or a dict, not {type(value).__name__}")
    return FLMRTextConfig(**_without_model_type(value))


def _vision_config(value: Any) -> PretrainedConfig:
    if value is None:
        return FLMRVisionConfig()
    if isinstance(value, PretrainedConfig):
        known = (FLMRVisionConfig, FLMRMobileNetV2Config, FLMRConvConfig)
        if type(value) in known and value.model_type == type(value).model_type:
            return value
        kind, fields = value.model_type, value.to_dict()
        if kind == FLMRMobileNetV2Config.model_type:  # FLMRVisionConfig(model_type="flmr_mobilenet_v2")
            return FLMRMobileNetV2Config(image_size=fields.get("image_size", 224))
    elif isinstance(value, Mapping):
        kind, fields = value.get("model_type", FLMRVisionConfig.model_type), dict(value)
    else:
        raise InvalidInput(f"vision_config must be an FLMRVisionConfig or a dict, not {type(value).__name__}")
    towers: dict[str, type[PretrainedConfig]] = {
        FLMRVisionConfig.model_type: FLMRVisionConfig,
        "clip_vision_model": FLMRVisionConfig,
        FLMRMobileNetV2Config.model_type: FLMRMobileNetV2Config,
        FLMRConvConfig.model_type: FLMRConvConfig,
    }
    if kind not in towers:
        raise CheckpointError(f"vision_config has model_type {kind!r}; known vision towers: {', '.join(towers)}")
    return towers[kind](**_without_model_type(fields))


def _kept(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a file says beside the fields, without how attention was computed on the machine that wrote it."""
    return {name: value for name, value in kwargs.items() if name != "_attn_implementation_autoset"}


def _without_model_type(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k != "model_type"}


def register(model: type[Any], query_tokenizer: type[Any], context_tokenizer: type[Any]) -> None:
    """Make transformers' Auto classes know "flmr"; called when the model package is imported, never earlier."""
    AutoConfig.register(FLMRConfig.model_type, FLMRConfig, exist_ok=True)
    AutoModel.register(FLMRConfig, model, exist_ok=True)
    # A tokenizer is found by the class name in its folder; what it is registered under is never looked up.
    AutoTokenizer.register(FLMRTextConfig, fast_tokenizer_class=query_tokenizer, exist_ok=True)
    AutoTokenizer.register(FLMRVisionConfig, fast_tokenizer_class=context_tokenizer, exist_ok=True)
