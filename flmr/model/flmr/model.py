"""FLMR and PreFLMR: queries and documents become rows whose MaxSim is the score.

Knows towers, mapping networks, masks and the order of rows.  The published constructor, methods, arguments and outputs
are kept; what the published code lets crash works or is refused with a reason.

Shapes: B queries, N documents, L positions or rows, R images a query, V vision width, H text width, D dimension,
P prefix rows an image, M patches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers import PreTrainedModel

from flmr.errors import CheckpointError, InvalidInput
from flmr.model.flmr.config import FLMRConfig, mapping_base
from flmr.model.flmr.folder import load_model, save_model
from flmr.model.flmr.inputs import Flags, ImageFeatures, States, batch_size, given_features, row_flags
from flmr.model.flmr.loss import (
    gather_ranks,
    group_scores,
    grouped_loss,
    in_batch_loss,
    own_scores,
    published_score,
)
from flmr.model.flmr.mapping import MLPMapping, TransformerMapping
from flmr.model.flmr.outputs import FLMRContextEncoderOutput, FLMRModelForRetrievalOutput, FLMRQueryEncoderOutput
from flmr.model.flmr.recompute import set_recomputing
from flmr.model.flmr.text import TextTower, context_mask, is_one_of, query_mask
from flmr.model.flmr.tokenizers import FLMRContextEncoderTokenizer, FLMRQueryEncoderTokenizer
from flmr.model.flmr.vision import build_vision_tower
from flmr.ops.maxsim import maxsim


class FLMRModelForRetrieval(PreTrainedModel):  # type: ignore[misc]
    """The retriever.  query_tokenizer and context_tokenizer give the ids of the instruction mark and of punctuation."""

    config_class = FLMRConfig
    base_model_prefix = "flmr"
    main_input_name = "query_input_ids"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True
    supports_gradient_checkpointing = True
    gradient_checkpointing = False  # what transformers asks whether it is on

    def __init__(
        self,
        config: FLMRConfig,
        query_tokenizer: FLMRQueryEncoderTokenizer | None = None,
        context_tokenizer: FLMRContextEncoderTokenizer | None = None,
    ) -> None:
        super().__init__(config)
        self.query_tokenizer, self.context_tokenizer = query_tokenizer, context_tokenizer
        attention = config._attn_implementation
        text, vision = config.text_config, config.vision_config

        self.query_text_encoder = TextTower(text, attention)
        self.query_text_encoder_linear = nn.Linear(text.hidden_size, config.dim, bias=False)
        self.context_text_encoder = self.query_text_encoder
        self.context_text_encoder_linear = self.query_text_encoder_linear
        if config.separate_query_and_context_text_encoder:
            self.context_text_encoder = TextTower(text, attention)
            self.context_text_encoder_linear = nn.Linear(text.hidden_size, config.dim, bias=False)

        if config.use_vision_encoder:
            prefix = (vision.hidden_size, config.mapping_network_prefix_length, config.dim)
            self.query_vision_encoder = build_vision_tower(vision, attention)
            self.query_vision_projection = MLPMapping(*prefix)
            self.context_vision_encoder = self.query_vision_encoder
            self.context_vision_projection = self.query_vision_projection
            if config.separate_query_and_context_vision_encoder:
                self.context_vision_encoder = build_vision_tower(vision, attention)
                self.context_vision_projection = MLPMapping(*prefix)

        if config.use_transformer_mapping_network:
            if not config.use_vision_encoder:
                raise CheckpointError("use_transformer_mapping_network needs use_vision_encoder; correct config.json")
            self.transformer_mapping_input_linear = nn.Linear(vision.hidden_size, text.hidden_size)
            self.transformer_mapping_network = TransformerMapping(mapping_base(config))
            self.transformer_mapping_output_linear = nn.Linear(text.hidden_size, config.dim)
        self.post_init()

    # --- queries and documents -------------------------------------------------------------------------------------

    def query(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        concat_output_from_vision_encoder: Flags = None,
        concat_output_from_text_encoder: Flags = None,
        return_dict: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        *,
        patch_features: torch.Tensor | None = None,
    ) -> Any:
        """Queries as rows [text | MLP rows | mapping rows], L2-normalised, masked rows zero; one row if single_vector.

        input_ids, attention_mask (B, L).  pixel_values (B, 3, S, S) or (B, R, 3, S, S).  image_features (B, V) or
        (B, R, V) replace them; patch_features (B, M, V) or (B, R, M, V) stand beside image_features where there is a
        transformer mapping network.  The concat flags choose the groups, for all or (a list) for each query; None takes
        the config's flag for what was given.  Raises InvalidInput where a wanted group has no input.
        """
        config = self.config
        has_image = pixel_values is not None or image_features is not None
        size = batch_size(input_ids, pixel_values, image_features)
        with_vision = row_flags(
            concat_output_from_vision_encoder,
            config.query_concat_output_from_vision_encoder,
            has_image,
            size,
            "an image",
        )
        with_text = row_flags(
            concat_output_from_text_encoder,
            config.query_concat_output_from_text_encoder,
            input_ids is not None,
            size,
            "text",
        )
        uses_vision = bool(with_vision.any())
        states = States(bool(output_hidden_states), bool(output_attentions))

        groups: list[tuple[torch.Tensor, torch.Tensor]] = []
        text_BLH: torch.Tensor | None = None
        if input_ids is not None and (with_text.any() or (uses_vision and config.use_transformer_mapping_network)):
            input_ids = input_ids.to(self.device)
            text_BLH = states.text(self.query_text_encoder, input_ids, self._attention(attention_mask))
            if with_text.any():
                groups.append(
                    (
                        self.query_text_encoder_linear(text_BLH),
                        self.query_mask(input_ids) & with_text.to(self.device)[:, None],
                    )
                )
        if uses_vision:
            features = self._images("query", pixel_values, image_features, patch_features, states)
            rows_BLD = self._prefix_rows("query", features)
            if config.use_transformer_mapping_network:
                mapped = self._mapping_rows(features, text_BLH, input_ids, states)
                rows_BLD = torch.cat([rows_BLD, mapped], 1)
            mask_BL = with_vision.to(self.device)[:, None].expand(rows_BLD.shape[:2])
            groups.append((rows_BLD, mask_BL))
        if not groups:
            raise InvalidInput("both row groups are switched off for every query; keep text or vision")

        rows_BLD, mask_BL = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
        rows_BLD = rows_BLD * mask_BL[..., None]
        first_BD, rows_BLD = rows_BLD[:, 0], F.normalize(rows_BLD, dim=-1)
        if config.single_vector:
            rows_BLD, mask_BL = mean_row(rows_BLD, mask_BL)
        output = FLMRQueryEncoderOutput(
            pooler_output=first_BD,
            late_interaction_output=rows_BLD,
            query_mask=mask_BL,
            **states.fields(),
        )
        return output if return_dict is not False else output.to_tuple()

    def doc(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        concat_output_from_vision_encoder: Flags = None,
        concat_output_from_text_encoder: Flags = None,
        keep_dims: bool = True,
        return_mask: bool = True,
        return_dict: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> Any:
        """Documents as rows [MLP rows | text], L2-normalised, masked rows zero; float16 on CUDA outside training.

        Arguments as `query` takes them.  keep_dims=False gives a list of (n, D) without masked rows.  Raises
        InvalidInput where a wanted group has no input.
        """
        config = self.config
        has_image = pixel_values is not None or image_features is not None
        size = batch_size(input_ids, pixel_values, image_features)
        with_vision = row_flags(
            concat_output_from_vision_encoder,
            config.context_concat_output_from_vision_encoder,
            has_image,
            size,
            "an image",
        )
        with_text = row_flags(
            concat_output_from_text_encoder,
            config.context_concat_output_from_text_encoder,
            input_ids is not None,
            size,
            "text",
        )
        states = States(bool(output_hidden_states), bool(output_attentions))

        groups: list[tuple[torch.Tensor, torch.Tensor]] = []
        if with_vision.any():
            features = self._images("context", pixel_values, image_features, None, states)
            rows_NLD = self._prefix_rows("context", features)
            groups.append((rows_NLD, with_vision.to(self.device)[:, None].expand(rows_NLD.shape[:2])))
        if input_ids is not None and with_text.any():
            input_ids = input_ids.to(self.device)
            text_NLH = states.text(self.context_text_encoder, input_ids, self._attention(attention_mask))
            mask_NL = self.context_mask(input_ids) & with_text.to(self.device)[:, None]
            groups.append((self.context_text_encoder_linear(text_NLH), mask_NL))
        if not groups:
            raise InvalidInput("both row groups are switched off for every document; keep text or vision")

        rows_NLD, mask_NL = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
        rows_NLD = F.normalize(rows_NLD * mask_NL[..., None], dim=-1)
        if config.single_vector:
            rows_NLD, mask_NL = mean_row(rows_NLD, mask_NL)
        if rows_NLD.is_cuda and not torch.is_grad_enabled():
            rows_NLD = rows_NLD.half()
        rows: Any = rows_NLD if keep_dims else [item[keep] for item, keep in zip(rows_NLD, mask_NL, strict=True)]
        output = FLMRContextEncoderOutput(
            pooler_output=rows_NLD[:, 0],
            late_interaction_output=rows,
            context_mask=mask_NL[..., None] if return_mask else None,
            **{name: value for name, value in states.fields().items() if "mapping" not in name},
        )
        return output if return_dict is not False else output.to_tuple()

    def query_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Which text rows of queries count: (B, L) bool."""
        mark, end_id = self.config.mask_instruction_token, None
        if mark is not None:
            if self.query_tokenizer is None:
                raise InvalidInput(f"the model masks instructions up to {mark!r}; give it its query_tokenizer")
            end_id = self.query_tokenizer.convert_tokens_to_ids(mark)
        return query_mask(input_ids, skip_ids=self.config.query_mask_input_ids_skip_list, instruction_end_id=end_id)

    def context_mask(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Which text rows of documents count: (N, L) bool."""
        if not self.config.mask_punctuation:
            return context_mask(input_ids)
        if self.context_tokenizer is None:
            raise InvalidInput("the model masks punctuation; give it its context_tokenizer")
        return context_mask(input_ids, skip_ids=self.context_tokenizer.punctuation_ids())

    def score(self, Q: torch.Tensor, D_padded: torch.Tensor, D_mask: torch.Tensor | None = None) -> torch.Tensor:
        """MaxSim in the documents' type.

        Q (N, Lq, D) or (1, Lq, D) with D_padded (N, Ld, D): pairs, (N,).  Any other number of queries: all pairs,
        (B, N).  D_padded (B, K, Ld, D): each query with its own, (B, K).  D_mask: bool, D_padded's shape without D, or
        with 1 in its place.
        A document without rows scores -9999 a query row, as published.
        """
        return published_score(Q, D_padded, D_mask)

    # --- training --------------------------------------------------------------------------------------------------

    def forward(
        self,
        query_input_ids: torch.Tensor | None = None,
        query_attention_mask: torch.Tensor | None = None,
        query_pixel_values: torch.Tensor | None = None,
        query_image_features: torch.Tensor | None = None,
        context_input_ids: torch.Tensor | None = None,
        context_attention_mask: torch.Tensor | None = None,
        context_pixel_values: torch.Tensor | None = None,
        context_image_features: torch.Tensor | None = None,
        use_in_batch_negatives: bool = True,
        in_batch_negatives_from_all_gpus: bool = False,
        num_negative_examples: int = 1,
        query_concat_output_from_vision_encoder: Flags = None,
        query_concat_output_from_text_encoder: Flags = None,
        context_concat_output_from_vision_encoder: Flags = None,
        context_concat_output_from_text_encoder: Flags = None,
        return_dict: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        *,
        query_patch_features: torch.Tensor | None = None,
    ) -> Any:
        """The contrastive loss of B queries and their B*(1+n) documents, the positive first in each group.

        With in_batch_negatives_from_all_gpus the queries and documents of all ranks take part.
        """
        query = self.query(
            query_input_ids,
            query_attention_mask,
            query_pixel_values,
            query_image_features,
            query_concat_output_from_vision_encoder,
            query_concat_output_from_text_encoder,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            patch_features=query_patch_features,
        )
        context = self.doc(
            context_input_ids,
            context_attention_mask,
            context_pixel_values,
            context_image_features,
            context_concat_output_from_vision_encoder,
            context_concat_output_from_text_encoder,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        queries_BLD, query_mask_BL = query.late_interaction_output, query.query_mask
        documents_NLD, mask_NL = context.late_interaction_output, context.context_mask[..., 0]
        if len(documents_NLD) != len(queries_BLD) * (1 + num_negative_examples):
            raise InvalidInput(
                f"{len(queries_BLD)} queries with {num_negative_examples} negatives each need "
                f"{len(queries_BLD) * (1 + num_negative_examples)} documents, not {len(documents_NLD)}"
            )
        if in_batch_negatives_from_all_gpus:
            queries_BLD, _ = gather_ranks(queries_BLD, query_mask_BL)
            documents_NLD, mask_NL = gather_ranks(documents_NLD, mask_NL)
        if use_in_batch_negatives:
            scores_BN = maxsim(queries_BLD, documents_NLD, document_mask=mask_NL)
            scores_BG = own_scores(scores_BN, num_negative_examples)
            loss = in_batch_loss(scores_BN, num_negative_examples)
        else:
            scores_BG = group_scores(queries_BLD, documents_NLD, mask_NL, num_negative_examples)
            loss = grouped_loss(scores_BG)
        output = FLMRModelForRetrievalOutput(
            loss=loss,
            scores=scores_BG,
            in_batch_negative_loss=loss if use_in_batch_negatives else None,
            query_late_interaction_output=query.late_interaction_output,
            context_late_interaction_output=context.late_interaction_output,
            query_attentions=query.text_encoder_attentions,
            query_hidden_states=query.text_encoder_hidden_states,
            context_attentions=context.text_encoder_attentions,
            context_hidden_states=context.text_encoder_hidden_states,
        )
        return output if return_dict is not False else output.to_tuple()

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Layers of both towers and of the mapping network keep their input only and run again in the backward pass.

        gradient_checkpointing_kwargs: of torch.utils.checkpoint.checkpoint; use_reentrant is False unless they say
        otherwise.  Raises InvalidInput.
        """
        if offload or every_n_layers < 1:
            raise InvalidInput("layers are recomputed on their device, one in every n from 1 up; leave offload out")
        set_recomputing(self, True, every=every_n_layers, **(gradient_checkpointing_kwargs or {}))
        self.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Layers keep what the backward pass needs, as at first."""
        set_recomputing(self, False)
        self.gradient_checkpointing = False

    # --- pieces ----------------------------------------------------------------------------------------------------

    def _attention(self, attention_mask: torch.Tensor | None) -> torch.Tensor:
        if attention_mask is None:
            raise InvalidInput("input ids need their attention mask; pass both, as the tokenizer returns them")
        return attention_mask.to(self.device)

    def _images(
        self,
        side: str,
        pixel_values: torch.Tensor | None,
        image_features: torch.Tensor | None,
        patch_features: torch.Tensor | None,
        states: States,
    ) -> ImageFeatures:
        """The features of a side's images, from the side's tower or as they were given."""
        if not self.config.use_vision_encoder:
            raise InvalidInput("the model has no vision tower (use_vision_encoder is false); leave the image out")
        if pixel_values is None:
            assert image_features is not None
            width = self.config.vision_config.hidden_size
            return given_features(image_features, patch_features, width).to(self.device)
        if image_features is not None or patch_features is not None:
            raise InvalidInput("give pixel_values or image_features, not both")
        return states.images(getattr(self, f"{side}_vision_encoder"), pixel_values.to(self.device))

    def _prefix_rows(self, side: str, features: ImageFeatures) -> torch.Tensor:
        """The MLP's rows of all images of an item, in the order of the images: (B, R*P, D)."""
        rows: torch.Tensor = getattr(self, f"{side}_vision_projection")(features.summary.flatten(0, 1))
        return rows.reshape(len(features.summary), -1, self.config.dim)

    def _mapping_rows(
        self, features: ImageFeatures, text_BLH: torch.Tensor | None, ids_BL: torch.Tensor | None, states: States
    ) -> torch.Tensor:
        """The transformer mapping's rows of all images of a query, one after another: (B, R*M, D)."""
        if text_BLH is None or ids_BL is None:
            raise InvalidInput("the mapping network attends to the text; pass input_ids, the instruction at least")
        if features.patches is None:
            raise InvalidInput("the mapping network needs patch_features beside image_features, or pixel_values")
        window = self.config.transformer_mapping_cross_attention_length
        hidden_BMH, all_states = self.transformer_mapping_network(
            self.transformer_mapping_input_linear(features.patches.flatten(1, 2)),
            text_BLH[:, :window],
            ~is_one_of(ids_BL[:, :window], self.config.query_mask_input_ids_skip_list),
        )
        states.mapping(all_states)
        rows: torch.Tensor = self.transformer_mapping_output_linear(hidden_BMH)
        return rows

    def _init_weights(self, module: nn.Module) -> None:
        with torch.no_grad():
            if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
                module.weight.normal_(std=self.config.initializer_range)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
            if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm) and module.bias is not None:
                module.bias.zero_()

    @classmethod
    def try_load_torch_extensions(cls, use_gpu: bool = False) -> None:
        """Published scripts call this before they search on a CPU; here there is nothing to load."""

    # --- files -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *model_args: Any, **kwargs: Any) -> Any:
        """Load the published layout, strictly; in evaluation mode, float32 unless `dtype` says otherwise.

        query_tokenizer, context_tokenizer: taken from the folders of these names where they are not given.
        config, dtype (or torch_dtype; "auto" keeps the stored type), device_map (a device), attn_implementation,
        subfolder, output_loading_info and the hub's arguments are as in transformers; other names override config
        fields.  Raises CheckpointError, NotAvailable, InvalidInput.
        """
        if model_args:
            raise InvalidInput("from_pretrained takes keyword arguments after the path")
        return load_model(cls, pretrained_model_name_or_path, **kwargs)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write config.json, model.safetensors (each tied tensor once, as `query_*`) and both tokenizer folders.

        is_main_process, state_dict, max_shard_size, push_to_hub (with repo_id, token, private, revision, create_pr,
        commit_message) are as in transformers; dtype: the type to store in.  Raises InvalidInput, NotAvailable.
        """
        save_model(self, save_directory, *args, **kwargs)


def mean_row(rows_BLD: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised mean of each item's rows, (B, 1, D), and whether it has any, (B, 1); masked rows are zero."""
    return F.normalize(rows_BLD.sum(1, keepdim=True), dim=-1), mask_BL.any(1, keepdim=True)
