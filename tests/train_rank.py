"""One of two processes, as a launcher starts it: `train_rank.py golden CASE OUT`, `train_rank.py train RECIPE OUT`.

`train_rank.py gradients RECIPE OUT` also writes what every step moves the weights by, to OUT.gradients.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

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


@contextmanager
def keeping_gradients(folder: Path) -> Iterator[None]:
    """Write the gradients of every optimiser step, as the optimiser is given them, to STEP-RANK.safetensors."""
    folder.mkdir(exist_ok=True)
    steps = itertools.count()

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        found = {str(i): weight.grad for i, weight in enumerate(weights) if weight.grad is not None}
        save_file(found, folder / f"{next(steps)}-{os.environ.get('RANK', '0')}.safetensors")

    hook = register_optimizer_step_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def main(what: str, first: str, out: str) -> None:
    torch.set_num_threads(1)
    if what == "golden":
        with joined_ranks(torch.device("cpu")) as ranks:
            golden(Path(first), Path(out), ranks)
        return
    with keeping_gradients(Path(f"{out}.gradients")) if what == "gradients" else nullcontext():
        train(first, out=out, progress=False, resume=Path(out).exists())


if __name__ == "__main__":
    main(*sys.argv[1:])
