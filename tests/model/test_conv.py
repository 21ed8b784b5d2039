"""The small convolutional tower: its grid, its place in the model, what its batch norms keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flmr.errors import InvalidInput
from flmr.model.flmr import FLMRConfig, FLMRConvConfig, FLMRTextConfig
from flmr.model.flmr.conv import BatchNorm
from flmr.model.flmr.new_checkpoint import build_model, build_vocab, load_checkpoint, new_tokenizers, save_checkpoint
from flmr.model.flmr.vision import build_vision_tower
from flmr.model.image_processor import patch_regions

CONFIG = FLMRConvConfig(widths=[4, 8], image_size=16)


def test_patches_are_the_cells_and_the_summary_is_their_mean() -> None:
    torch.manual_seed(0)
    tower = build_vision_tower(CONFIG).eval()
    seen = tower(torch.randn(3, 3, 16, 16))
    assert seen.patches.shape == (3, 16, 8) and seen.summary.shape == (3, 8)
    assert torch.allclose(seen.patches.mean(1), seen.summary)
    assert len(patch_regions((16, 16), CONFIG)) == 16


def test_running_statistics_are_weights_that_only_training_moves() -> None:
    norm, x = BatchNorm(3), torch.randn(5, 3, 4, 4) * 2 + 1
    norm.eval()(x)
    assert (norm.mean == 0).all() and (norm.variance == 1).all()
    out = norm.train()(x)
    assert out.mean().item() == pytest.approx(0, abs=1e-5) and out.std().item() == pytest.approx(1, abs=0.02)
    assert torch.allclose(norm.mean.detach(), 0.05 * x.mean((0, 2, 3)), atol=1e-5)
    out.sum().backward()
    assert norm.mean.grad is None and norm.variance.grad is None and norm.weight.grad is not None
    assert set(norm.state_dict()) == {"weight", "bias", "mean", "variance"}


def test_a_checkpoint_brings_the_running_statistics_back(tmp_path: Path) -> None:
    vocab = build_vocab(["which curve is this"], 260)
    text = FLMRTextConfig(
        vocab_size=len(vocab), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = build_model(FLMRConfig(text_config=text, vision_config=CONFIG, dim=4, mapping_network_prefix_length=2))
    model.query_vision_encoder.train()(torch.randn(4, 3, 16, 16))
    save_checkpoint(tmp_path, model, *new_tokenizers(vocab, 8, 8))
    loaded, _, _ = load_checkpoint(tmp_path)
    assert isinstance(loaded.config.vision_config, FLMRConvConfig) and loaded.config.vision_config.widths == [4, 8]
    pixels = torch.randn(2, 3, 16, 16)
    expected = model.query_vision_encoder.eval()(pixels).patches
    assert torch.equal(loaded.query_vision_encoder(pixels).patches, expected)


def test_widths_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match="multiple of 4"):
        FLMRConvConfig(widths=[4, 8], image_size=18)
    with pytest.raises(InvalidInput, match="hidden_size 8"):
        FLMRConvConfig(widths=[4, 8], image_size=16, hidden_size=9)
    with pytest.raises(InvalidInput, match="at least one stage"):
        FLMRConvConfig(widths=[], image_size=16)
    with pytest.raises(InvalidInput, match="attentions"):
        build_vision_tower(CONFIG)(torch.zeros(1, 3, 16, 16), output_attentions=True)
