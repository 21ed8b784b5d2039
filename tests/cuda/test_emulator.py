"""The emulator itself: it notices what a GPU lets pass, else the tests that run in it would prove little."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_cuda import Memory, float8_values, library

FROM = np.arange(64, dtype=np.float32)


def run(name: str, seed: int) -> tuple[int, np.ndarray]:
    memory = Memory()
    library().emulator_seed(seed)
    try:
        given, out = memory.put(FROM, alignment=4), memory.empty((64,), np.float32, alignment=4)
        status = library().emulator_fault(name.encode(), given.ctypes.data, out.ctypes.data)
        return status, out.copy()
    finally:
        memory.close()


def test_a_sound_kernel_runs() -> None:
    for seed in range(5):
        status, out = run("none", seed)
        assert status == 0
        np.testing.assert_array_equal(out, np.roll(FROM, -32))


def test_products_of_a_warpgroup_are_there_only_after_the_wait() -> None:
    assert (run("product", 0)[1] == 32).all()
    assert np.isnan(run("product that is not waited for", 0)[1]).all()


@pytest.mark.parametrize("name", ["no wait", "no barrier", "early reuse"])
def test_shared_memory_that_is_read_at_the_wrong_time_gives_wrong_numbers(name: str) -> None:
    wrong = [not np.array_equal(run(name, seed)[1], np.roll(FROM, -32)) for seed in range(5)]
    assert any(wrong)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("copies left", "copies under way"),
        ("reads beyond", "no memory at address"),
        ("writes beyond", "no memory at address"),
        ("writes far beyond", "no memory at address"),
        ("half a barrier", "32 threads have ended, 32 wait at a barrier"),
        ("half a warp", "wait at a shuffle"),
        ("two meetings", "meet at a"),
        ("odd copy", "between them"),
        ("copy outside", "outside shared memory"),
        ("odd fragment", "not a multiple of 16"),
        ("product without a beginning", "before wgmma.fence"),
        ("product without a fence", "without fence.proxy.async"),
        ("product without a commit", "not committed"),
    ],
)
def test_a_fault_is_an_error_that_says_what(name: str, reason: str) -> None:
    status, _ = run(name, 0)
    assert reason in library().flmr_cuda_error(status).decode()
    assert run("none", 0)[0] == 0  # and the next kernel runs


def test_the_bytes_of_8_bit_floats_stand_for_what_the_standard_says() -> None:
    values = float8_values()
    assert values[0x7E] == 448 and values[0x01] == 2.0**-9 and values[0x08] == 2.0**-6 and values[0xB8] == -1.0
    assert np.isnan(values[[0x7F, 0xFF]]).all() and np.isfinite(np.delete(values, [0x7F, 0xFF])).all()
