"""The processes of one run: what each encodes, what they exchange, what only the first one does.

Knows torch's process group, which accelerate sets up where a launcher has started several processes
(`accelerate launch -m flmr train ...`, `torchrun`).  Knows nothing of models, losses or recipes.  One process exchanges
nothing and needs no accelerate.
"""

# n passages of a part, L rows, D dimension, T packed rows.

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.nn.utils.rnn import pad_sequence

from flmr.errors import FlmrError, MissingExtra

R = TypeVar("R")
PATIENCE = timedelta(hours=12)  # the first process validates while the others wait


@dataclass(frozen=True)
class Ranks:
    """This process's number among `world`, from 0, and the device it computes on."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def own(self, count: int) -> slice:
        """This process's share of `count` things, in their order; shares differ by one at most."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def gather(self, own: Tensor) -> list[Tensor]:
        """The tensors of all processes, in order, without gradient; they may differ in length, in nothing else."""
        if self.world == 1:
            return [own.detach()]
        lengths = [torch.empty(1, dtype=torch.int64, device=own.device) for _ in range(self.world)]
        distributed.all_gather(lengths, torch.tensor([len(own)], device=own.device))
        filled = own.new_zeros((max(map(int, lengths)), *own.shape[1:]))
        filled[: len(own)] = own.detach()
        tensors = [torch.empty_like(filled) for _ in lengths]
        distributed.all_gather(tensors, filled)
        return [tensor[: int(length)] for tensor, length in zip(tensors, lengths, strict=True)]

    def gather_with_own_graph(self, own: Tensor) -> Tensor:
        """The tensors of all processes after one another; this process's keeps its gradient, the others have none."""
        tensors = self.gather(own)
        tensors[self.rank] = own
        return torch.cat(tensors)

    def add_up_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the sum of the gradients; a weight without one anywhere stays without."""
        if self.world == 1:
            return
        weights = list(weights)
        moved = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32, device=self.device)
        distributed.all_reduce(moved)
        for weight, processes in zip(weights, moved.tolist(), strict=True):
            if processes:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                distributed.all_reduce(weight.grad)

    def of_first(self, work: Callable[[], R]) -> R:
        """What `work` gives in the first process, which alone does it; it is the same in all."""
        result: R = self._after_first(work, lambda told: told)
        return result

    def first(self, work: Callable[[], R]) -> R:
        """Do the work in every process, in the others once the first has done it: it leaves files that they read."""
        result: R = self._after_first(work, lambda _: work(), tell=False)
        return result

    def _after_first(self, work: Callable[[], Any], then: Callable[[Any], Any], *, tell: bool = True) -> Any:
        """Raises in the others, too, where the first process fails."""
        if self.world == 1:
            return work()
        told: list[Any] = [None, None]
        if not self.is_first:
            distributed.broadcast_object_list(told, src=0)
            if told[1] is not None:
                raise FlmrError(f"the first process of the run stopped: {told[1]}")
            return then(told[0])
        try:
            result = work()
        except Exception as error:
            distributed.broadcast_object_list([None, str(error)], src=0)
            raise
        distributed.broadcast_object_list([result if tell else None, None], src=0)
        return result


class SharedRows:
    """The rows of all processes' passages, of which this one has encoded its own.

    own: rows (n, L, D) and mask (n, L), part by part.  Only rows that count travel.
    """

    def __init__(self, ranks: Ranks, own: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._ranks = ranks
        self._own_TD = torch.cat([rows[mask] for rows, mask in own])
        packed = ranks.gather(self._own_TD)
        self._lengths = torch.cat(ranks.gather(torch.cat([mask.sum(1) for _, mask in own])))
        self._first = sum(len(rows_TD) for rows_TD in packed[: ranks.rank])
        self._all_TD = torch.cat(packed).requires_grad_()

    def parts(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """Rows and masks of all passages, `size` at a time, in the order of the processes."""
        items = torch.split(self._all_TD, self._lengths.tolist())
        padded = []
        for start in range(0, len(items), size):
            lengths = self._lengths[start : start + size, None]
            rows = pad_sequence(list(items[start : start + size]), batch_first=True)
            padded.append((rows, torch.arange(rows.shape[1], device=rows.device) < lengths))
        return padded

    def backward(self) -> None:
        """Add what every process found for this one's rows to the gradient of its parts."""
        grad_TD = self._all_TD.grad if self._all_TD.grad is not None else torch.zeros_like(self._all_TD)
        distributed.all_reduce(grad_TD)
        if self._own_TD.requires_grad:
            torch.autograd.backward(self._own_TD, grad_TD[self._first : self._first + len(self._own_TD)])


@contextlib.contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """This process among those that a launcher has started, until the block ends; raises MissingExtra.

    A group that was there before stays.  One that was made here ends here, once all have come to their end: left to the
    end of the interpreter, a thread of it may outlive what it works on and abort the process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(device)
        return
    try:
        from accelerate import PartialState
    except ImportError:
        raise MissingExtra("several processes need accelerate: pip install 'flmr[train]'") from None
    ours = not distributed.is_initialized()
    state = PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
    try:
        yield Ranks(state.device, state.process_index, state.num_processes)
        if ours:
            distributed.barrier()
    finally:
        if ours:
            distributed.destroy_process_group()
            PartialState._reset_state()


def reports() -> bool:
    """Whether this process is the one that prints: the launcher's first, or the only one."""
    return os.environ.get("RANK", "0") == "0"
