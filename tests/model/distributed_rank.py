"""One rank of two: `distributed_rank.py RANK GOLDEN_FOLDER OUT_FOLDER` writes what this rank finds."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.nn import functional as F  # noqa: N812

from flmr.errors import InvalidInput
from flmr.model.flmr import FLMRModelForRetrieval
from flmr.model.flmr.loss import gather_ranks


def main(rank: int, golden: Path, out: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    inputs = {
        name.removeprefix(f"rank{rank}."): tensor
        for name, tensor in load_file(golden / "inputs.safetensors").items()
        if name.startswith(f"rank{rank}.")
    }
    model = FLMRModelForRetrieval.from_pretrained(golden)

    def forward(**changes: Any) -> Any:
        return model(
            **{**inputs, **changes}, num_negative_examples=1, in_batch_negatives_from_all_gpus=True, **settings
        )

    settings: dict[str, Any] = {}
    output = forward()
    output.loss.backward()
    found = {"loss": output.loss, "scores": output.scores}
    for name in ("query_text_encoder_linear.weight", "context_text_encoder_linear.weight"):
        found[f"grad.{name}"] = dict(model.named_parameters())[name].grad

    longer = {name: F.pad(inputs[name], (0, 5 * rank)) for name in ("context_input_ids", "context_attention_mask")}
    found["ragged_loss"] = forward(**longer).loss
    settings = {"use_in_batch_negatives": False}
    found["grouped_loss"] = forward().loss
    try:
        gather_ranks(torch.ones(1 + rank, 2, 4), torch.ones(1 + rank, 2, dtype=torch.bool))
        found["refused"] = torch.tensor(0)
    except InvalidInput:
        found["refused"] = torch.tensor(1)
    save_file({name: tensor.detach().clone() for name, tensor in found.items()}, out / f"rank{rank}.safetensors")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
