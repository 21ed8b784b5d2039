"""What a kernel may be handed: arrays of one type, in row order, aligned.

Knows NumPy, and how an array becomes a tensor on a device and a tensor an array.  A strided or unaligned array is
copied, a read-only one (a memory map) is used as it is; a wrong type or shape is refused by name, never converted
unasked.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from flmr.errors import InvalidInput, MissingExtra

Array = NDArray[Any]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]  # what products are made of: the values, or both sides rounded


def ready(name: str, array: Any, *dtypes: DTypeLike, ndim: int) -> Array:
    """The array itself if a kernel can read it in place, else a contiguous aligned copy.

    Raises InvalidInput where the type is none of `dtypes` (native byte order) or the shape has not `ndim` axes.
    """
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.ndim != ndim:
        raise InvalidInput(f"{name} must have {ndim} axes, not shape {array.shape}")
    if array.dtype not in dtypes:
        wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise InvalidInput(f"{name} must be {wanted}, not {array.dtype}; cast it first")
    return in_place(array)


def in_place(array: Array) -> Array:
    """The array itself if it is contiguous and aligned, else a copy that is."""
    flags = array.flags  # np.require asks the same ten times as slowly, for every array of every call
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=["C", "A"])


def checked_device(device: Any) -> Device:
    """The device, "cpu" or "cuda"; raises InvalidInput for another, NativeError where no CUDA device can be used."""
    if device not in get_args(Device):
        raise InvalidInput(f"device must be 'cpu' or 'cuda', not {device!r}")
    if device == "cuda":  # said before anything is read
        try:
            from flmr.ops.cuda import the_device
        except ImportError:
            raise MissingExtra("a CUDA device is used through torch: pip install torch") from None
        the_device()
    return device  # type: ignore[no-any-return]


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, told without importing torch."""
    return type(value).__module__.partition(".")[0] == "torch" or hasattr(value, "requires_grad_")


def in_memory(values: Any) -> Any:
    """What a tensor holds as an array in the processor's memory, in place where it can be; anything else as it is."""
    if not is_tensor(values):
        return values
    import torch

    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # NumPy has no bfloat16


def placed(values: Any, device: Any) -> Any:
    """What an array holds as a tensor on a device of torch's, for "cuda" on the current CUDA device.

    A tensor stays where it lies, and for "cpu" an array an array.
    """
    if device == "cpu" or is_tensor(values):
        return values
    from flmr.ops.cuda import sent

    return sent(values, None if device == "cuda" else device)


def same(what: str, **sizes: int) -> int:
    """The one value that all sizes have; raises InvalidInput naming those that differ."""
    values = set(sizes.values())
    if len(values) != 1:
        raise InvalidInput(f"arrays disagree in {what}: " + ", ".join(f"{name} has {n}" for name, n in sizes.items()))
    return values.pop()


def item_rows(items: Any, num_items: int) -> Array:
    """The items to score: as given (uint32), or all of them in order for None."""
    return np.arange(num_items, dtype=np.uint32) if items is None else ready("items", items, np.uint32, ndim=1)


def count_items(offsets_N1: Array) -> int:
    """N of offsets (N+1,); raises InvalidInput where there is not even the first offset."""
    if len(offsets_N1) == 0:
        raise InvalidInput("offsets must have shape (N+1,), at least the one zero of no items")
    return len(offsets_N1) - 1


def token_rows(offsets_N1: Array, items: Array) -> list[Array]:
    """The token rows of each item, for references: a list of int64 ranges."""
    return [np.arange(offsets_N1[i], offsets_N1[i + 1]) for i in items]


def in_precision(values: Array, precision: Precision) -> NDArray[np.float64]:
    """The values as products see them, for references: unchanged, or rounded to bfloat16 (to nearest, ties to even)."""
    if precision == "float32":
        return values.astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64)
