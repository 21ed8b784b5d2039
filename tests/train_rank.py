"""One of two processes, as a launcher starts it: `train_rank.py golden CASE OUT`, `train_rank.py train RECIPE OUT`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from flmr.errors import InvalidInput
from flmr.model.flmr import FLMRModelForRetrieval
from flmr.ops.maxsim import maxsim
from flmr.train import train
from flmr.train.losses import in_batch_loss
from flmr.train.ranks import Ranks, SharedRows, joined_ranks


def start_two(*arguments: object) -> list[subprocess.Popen[str]]:
    """Both processes, with the environment that `torchrun` and `accelerate launch` set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    root = Path(__file__).parents[1]
    return [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and what was said on stderr of each."""
    try:
        return [
            (process.returncode, said)
            for process in processes
            if (said := process.communicate(timeout=300)[1]) is not None
        ]
    finally:
        for process in processes:
            process.kill()


def golden(case: Path, out: Path, ranks: Ranks) -> None:
    """The published loss over the rows of both processes, by the way that a training step goes."""
    inputs = load_file(case / "inputs.safetensors")
    model = FLMRModelForRetrieval.from_pretrained(case).eval()

    def of(side: str, *names: str) -> dict[str, torch.Tensor]:
        return {name: inputs[f"rank{ranks.rank}.{side}_{name}"] for name in names}

    query = model.query(**of("query", "input_ids", "attention_mask", "pixel_values"))
    document = model.doc(**of("context", "input_ids", "attention_mask"))
    mask = document.context_mask[..., 0]
    lengths = [3, 1] if ranks.rank else [2, 2]  # parts of any size
    parts = zip(document.late_interaction_output.split(lengths), mask.split(lengths), strict=True)
    shared = SharedRows(ranks, list(parts))
    scores = torch.cat(
        [
            maxsim(query.late_interaction_output, rows, query_mask=query.query_mask, document_mask=m)
            for rows, m in shared.parts(3)
        ],
        dim=1,
    )
    scores = ranks.gather_with_own_graph(scores)
    labels = 2 * torch.arange(len(scores))
    loss = in_batch_loss(scores, labels, torch.zeros_like(scores, dtype=torch.bool))
    loss.backward()
    shared.backward()
    names = ("query_text_encoder_linear.weight", "context_text_encoder_linear.weight")
    found = {f"rank{ranks.rank}.grad.{name}": dict(model.named_parameters())[name].grad for name in names}
    found[f"rank{ranks.rank}.loss"] = loss.detach()
    save_file(found, out / f"rank{ranks.rank}.safetensors")
    ragged = ranks.gather(torch.full((1 + ranks.rank, 2), float(ranks.rank)))
    assert [len(part) for part in ragged] == [1, 2] and ragged[1].eq(1).all()
    try:
        ranks.first(lambda: (_ for _ in ()).throw(InvalidInput("no room")))
    except Exception as error:
        assert "no room" in str(error)
    else:
        raise AssertionError("both processes should have stopped")


def main(what: str, first: str, out: str) -> None:
    torch.set_num_threads(1)
    if what == "golden":
        with joined_ranks(torch.device("cpu")) as ranks:
            golden(Path(first), Path(out), ranks)
    else:
        train(first, out=out, progress=False, resume=Path(out).exists())


if __name__ == "__main__":
    main(*sys.argv[1:])
