"""The C interface of the CUDA library: what it refuses, and the entry that takes host memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from emulated_cuda import CARD, Maxsim, Memory, Side, library

from flmr.ops.maxsim import maxsim_reference
from flmr.records import MultiVectors


def items(rng: np.random.Generator, lengths: list[int], dim: int, dtype: type) -> MultiVectors:
    return MultiVectors.from_list([rng.integers(-3, 4, (n, dim)).astype(dtype) for n in lengths])


def host_maxsim(queries: MultiVectors, documents: MultiVectors) -> np.ndarray:
    scores = np.full((len(queries), len(documents)), np.nan, np.float32)
    given: list[object] = []
    for each in (queries, documents):
        given += [each.vectors.ctypes.data, int(each.vectors.dtype == np.float16), each.offsets.ctypes.data, len(each)]
    status = library().flmr_cuda_maxsim(*given, queries.dim, scores.ctypes.data)
    assert status == 0, library().flmr_cuda_error(status).decode()
    assert library().emulator_allocations() == 0
    return scores


@pytest.mark.parametrize("first", [np.float16, np.float32])
@pytest.mark.parametrize("second", [np.float16, np.float32])
@pytest.mark.parametrize("lengths", [[3, 0, 40], [200, 1]])
def test_arrays_of_the_host_equal_numpy_whole_or_in_pieces(first: type, second: type, lengths: list[int]) -> None:
    rng = np.random.default_rng(len(lengths))
    queries, documents = items(rng, lengths, 24, first), items(rng, [5, 130, 0, 1, 64], 24, second)
    try:
        for free_bytes in (1 << 30, 20000):
            library().emulator_device(CARD[0], CARD[1], free_bytes)
            found = host_maxsim(queries, documents)
            np.testing.assert_array_equal(found, maxsim_reference(queries, documents))
    finally:
        library().emulator_device(*CARD)


def test_too_little_memory_is_an_error_and_leaves_nothing() -> None:
    rng = np.random.default_rng(0)
    queries = items(rng, [100], 24, np.float32)
    try:
        library().emulator_device(CARD[0], CARD[1], 1000)
        with pytest.raises(AssertionError, match="out of memory"):
            host_maxsim(queries, queries)
    finally:
        library().emulator_device(*CARD)
    assert library().emulator_allocations() == 0


def change(name: str, value: object) -> Callable[[Maxsim], None]:
    def changed(args: Maxsim) -> None:
        owner, _, field = name.rpartition(".")
        setattr(getattr(args, owner) if owner else args, field, value)

    return changed


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("queries.type", 7, "type"), ("documents.type", 0, "one known type"), ("documents.dim", 7, "one D"),
        ("queries.dim", 0, "1 to 8192"), ("documents.stride", 7, "strides"), ("queries.count", -1, "sizes"),
        ("documents.rows", None, "pointers"), ("documents.ends", None, "pointers"), ("per_query", -1, "sizes"),
        ("per_query", 5, "per_query"), ("winner_bytes", 3, "winners"), ("documents.longest", 40000, "int16"),
        ("scratch_bytes", 3, "scratch"), ("documents.longest", 1 << 40, "sizes"), ("queries.items", 1 << 40, "sizes"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_with_a_reason(name: str, value: object, reason: str) -> None:
    rng = np.random.default_rng(0)
    memory = Memory()
    try:
        sides = [Side(rng.normal(size=(140, 8)), [140], "float16").place(memory) for _ in range(2)]
        scores, winners = memory.empty((1, 1), np.float32), memory.empty((140, 1), np.int16)
        args = Maxsim(*sides, 0, scores.ctypes.data, winners.ctypes.data, 2)
        scratch = memory.empty((library().flmr_cuda_maxsim_scratch(args, 0),), np.uint8)
        args.scratch, args.scratch_bytes = scratch.ctypes.data, scratch.size
        assert library().flmr_cuda_maxsim_forward(args) == 0
        change(name, value)(args)
        status = library().flmr_cuda_maxsim_forward(args)
        assert status < 0
        if name != "scratch_bytes":
            assert library().flmr_cuda_maxsim_scratch(args, 0) == status
        assert reason in library().flmr_cuda_error(status).decode()
    finally:
        memory.close()


def test_gradients_of_more_rows_than_a_grid_has_blocks_are_refused() -> None:
    memory = Memory()
    try:
        rows = Side(np.ones((2, 8)), [2]).place(memory)
        winners, grads = memory.put(np.zeros((2, 1), np.int32)), memory.empty((2, 8), np.float32)
        args = Maxsim(rows, rows, 0, None, winners.ctypes.data, 4)
        given = [memory.put(np.ones((1, 1), np.float32)).ctypes.data, grads.ctypes.data, grads.ctypes.data, 1]
        assert library().flmr_cuda_maxsim_backward(args, *given) == 0
        args.documents.items = 1 << 31
        status = library().flmr_cuda_maxsim_backward(args, *given)
        assert "sizes" in library().flmr_cuda_error(status).decode()
    finally:
        memory.close()


def test_a_device_that_cannot_multiply_a_type_is_named() -> None:
    rows = Side(np.ones((2, 8)), [2], "float8")
    memory = Memory()
    try:
        library().emulator_device(80, 3, 1 << 30)
        args = Maxsim(rows.place(memory), rows.place(memory))
        status = library().flmr_cuda_maxsim_forward(args)
        assert "8-bit floats need compute capability 9.0" in library().flmr_cuda_error(status).decode()
    finally:
        memory.close()
        library().emulator_device(*CARD)
