"""Steps of one training loss in a process of its own: requests come as lines of JSON, answers go back as lines of JSON.

    python -m benchmarks.train_steps PATH THREADS LIMIT_GB

PATH is flmr (MaxSim that keeps no similarities), plain (the formula, all similarities at once) or pylate (its
Contrastive loss).  A step normalises the rows of both sides, scores every question with every passage of the batch,
takes the cross-entropy and goes back to the rows; no encoder takes part.  An allocation that would take the process
above LIMIT_GB fails.  Needs torch and NumPy, and what its path needs: it runs in the environment of PyLate.
"""

# B questions, N passages a question, L rows, D dimension.

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.engines.worker import memory_mb

Loss = Callable[[Tensor, Tensor], Tensor]


def flmr_loss() -> Loss:
    """Ours."""
    from flmr.ops.maxsim import maxsim
    from flmr.train.losses import in_batch_loss

    def loss(queries_BLD: Tensor, documents_BNLD: Tensor) -> Tensor:
        documents = documents_BNLD.flatten(0, 1)
        scores = maxsim(F.normalize(queries_BLD, dim=-1), F.normalize(documents, dim=-1))
        labels = torch.arange(len(queries_BLD)) * documents_BNLD.shape[1]
        return in_batch_loss(scores, labels, torch.zeros_like(scores, dtype=torch.bool))

    return loss


def plain_loss() -> Loss:
    """The formula in one product of all rows, as it is written in papers."""

    def loss(queries_BLD: Tensor, documents_BNLD: Tensor) -> Tensor:
        documents = F.normalize(documents_BNLD.flatten(0, 1), dim=-1)
        similarities = torch.einsum("bqd,nkd->bnqk", F.normalize(queries_BLD, dim=-1), documents)
        labels = torch.arange(len(queries_BLD)) * documents_BNLD.shape[1]
        return F.cross_entropy(similarities.amax(-1).sum(-1), labels)

    return loss


def pylate_loss() -> Loss:
    """PyLate's own class, given a model that hands on rows that are there already."""
    from pylate.losses import Contrastive

    class Rows(torch.nn.Module):
        skiplist: tuple[int, ...] = ()
        do_query_expansion = True

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"token_embeddings": features["rows"]}

    contrastive = Contrastive(Rows())

    def features(rows: Tensor) -> dict[str, Tensor]:
        ids = torch.ones(rows.shape[:2], dtype=torch.int64)
        return {"rows": rows, "input_ids": ids, "attention_mask": ids}

    def loss(queries_BLD: Tensor, documents_BNLD: Tensor) -> Tensor:
        return contrastive([features(queries_BLD), *(features(group) for group in documents_BNLD.unbind(1))])

    return loss


LOSSES: dict[str, Callable[[], Loss]] = {"flmr": flmr_loss, "plain": plain_loss, "pylate": pylate_loss}


def step(loss_of: Loss, batch: int, negatives: int, query_rows: int, document_rows: int, dim: int) -> dict[str, Any]:
    """One step on rows of a seed: seconds, the processor's seconds, megabytes above the rows and their gradients."""
    torch.manual_seed(batch)
    queries = torch.randn(batch, query_rows, dim, requires_grad=True)
    documents = torch.randn(batch, 1 + negatives, document_rows, dim, requires_grad=True)
    queries.grad, documents.grad = torch.zeros_like(queries), torch.zeros_like(documents)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, wall, cpu = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    loss = loss_of(queries, documents)
    loss.backward()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mb": memory_mb("VmHWM") - before,
        "loss": loss.item(),
        "gradient": [queries.grad.norm().item(), documents.grad.norm().item()],
    }


def main() -> None:
    """Read the command line, say which versions take part, then answer; what does not fit is an answer too."""
    path, threads, limit_gb = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(value: dict[str, Any]) -> None:
        channel.write(json.dumps(value) + "\n")
        channel.flush()

    torch.set_num_threads(threads)
    try:
        loss = LOSSES[path]()
    except ImportError as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        return
    version = ""
    if path == "pylate":
        import pylate

        version = f"pylate {pylate.__version__}, "
    step(loss, 4, 1, 8, 8, 8)  # first calls set things up
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gb * 1e9), resource.RLIM_INFINITY))
    answer({"version": f"{version}torch {torch.__version__}"})
    for line in sys.stdin:
        try:
            answer(step(loss, **json.loads(line)))
        except (RuntimeError, MemoryError) as error:  # torch says RuntimeError where an allocation fails
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            answer({"did_not_fit": True})


if __name__ == "__main__":
    main()
