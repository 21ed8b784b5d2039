"""Rows of a file that lie on a CUDA device as well, where they were made, so that none of them is sent there again.

Knows numbers of rows, tensors and how much memory nobody holds.  Knows nothing of what the rows wait for.  Imports
torch, so it is imported where tensors are.
"""

# T rows of the file, R wanted ones, D dim.

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flmr.ops import cuda
from flmr.ops.arrays import Array
from flmr.ops.assign_torch import FLOATS

SHARE = 0.5  # of the memory that would be free without them: the rest is for the encoder and for k-means


class Waiting:
    """Blocks of rows, each as long as it was given, on one device; what does not fit there is in the file alone."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._firsts: list[int] = []  # the number of the first row of each block
        self._blocks: list[Tensor] = []
        self._bytes = 0

    def hold(self, first: int, rows_TD: Tensor) -> None:
        """Keep rows `first`, `first` + 1, ... of the file, which come after those that are kept, if there is room."""
        room = SHARE * (self._bytes + cuda.free_bytes(self._device))
        if rows_TD.device == self._device and self._bytes + rows_TD.nbytes <= room:
            self._firsts.append(first)
            self._blocks.append(rows_TD)
            self._bytes += rows_TD.nbytes

    def cut(self, count: int) -> None:
        """Forget the rows from number `count` on, which begin a block."""
        while self._firsts and self._firsts[-1] >= count:
            self._firsts.pop()
            self._bytes -= self._blocks.pop().nbytes

    def rows(self, numbers_R: Array, read: Callable[[Array], Array]) -> Tensor:
        """The rows of these numbers, int64 and rising, on the device: (R, D).

        Those that are not there are read from the file, by their numbers, and sent.
        """
        parts: list[Tensor] = []
        done, block = 0, max(0, bisect_right(self._firsts, int(numbers_R[0])) - 1)
        with cuda.told_of_memory(self._device):
            while block < len(self._blocks) and done < len(numbers_R):
                first, end = self._firsts[block], self._firsts[block] + len(self._blocks[block])
                low, high = numbers_R.searchsorted((first, end))
                if done < low:
                    parts.append(cuda.sent(read(numbers_R[done:low]), self._device))
                if low < high:
                    parts.append(self._blocks[block][torch.from_numpy(numbers_R[low:high] - first)])
                done, block = max(done, high), block + 1
            if done < len(numbers_R):
                parts.append(cuda.sent(read(numbers_R[done:]), self._device))
            return torch.cat(parts)


def left_at(device: torch.device, value: Any) -> Tensor | None:
    """A tensor of floats of 16 or 32 bits that lies there, without its gradient; None for anything else."""
    there = isinstance(value, Tensor) and value.device == device and value.layout == torch.strided
    return value.detach() if there and value.dtype in FLOATS else None


@torch.no_grad()
def joined(rows: Sequence[Tensor]) -> Tensor:
    """Matrices on one device below each other, as float16 in memory of their own."""
    with cuda.told_of_memory(rows[0].device):
        return torch.cat(list(rows)).half()
