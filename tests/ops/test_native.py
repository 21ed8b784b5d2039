"""The native library: loaded on first use, honest about what is missing, free of the GIL, safe to fork."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from op_samples import ragged

from flmr.errors import InvalidInput, NativeError
from flmr.ops import native
from flmr.ops.maxsim import maxsim


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    native._module.cache_clear()
    monkeypatch.setitem(sys.modules, "flmr._native", None)
    yield
    native._module.cache_clear()


def test_missing_library_is_an_error_that_names_the_build_command(no_library: None) -> None:
    assert not native.available()
    items = ragged(np.random.default_rng(0), (2,), 4)
    with pytest.raises(NativeError, match=r"setup\.py build_ext --inplace"):
        maxsim(items, items)


def test_a_library_from_older_sources_is_an_error_that_names_the_op_and_the_build_command() -> None:
    with pytest.raises(NativeError, match=r"has no transmogrify; build it: python setup\.py"):
        native.call("transmogrify")


def test_the_best_instruction_set_is_the_default_and_an_unknown_one_is_refused() -> None:
    assert native.available()
    assert native.isas()[0] == "scalar"
    assert native.isa() == native.isas()[-1]
    with pytest.raises(InvalidInput, match="mmx"):
        native.isa("mmx")


def test_threads_default_to_the_cores_of_this_process() -> None:
    assert native.thread_count(None) == len(os.sched_getaffinity(0))
    assert native.thread_count(3) == 3
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InvalidInput, match="threads"):
            native.thread_count(wrong)


def test_cuda_devices_are_counted_without_a_driver_too() -> None:
    assert native.cuda_devices() >= 0


def test_other_python_threads_run_while_a_kernel_runs() -> None:
    rng = np.random.default_rng(1)
    queries, documents = ragged(rng, [64] * 40, 128), ragged(rng, [64] * 300, 128)
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        maxsim(queries, documents, threads=1)
        ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    started.wait()
    steps = 0
    while not ended.is_set():
        steps += 1
    worker.join()
    assert steps > 10_000  # with the GIL held this thread would not get a single turn during the call


def _child_sum(items: object) -> float:
    return float(maxsim(items, items, threads=4).sum())  # type: ignore[call-overload]


def test_a_forked_child_may_use_the_kernels_that_its_parent_has_used() -> None:
    items = ragged(np.random.default_rng(2), [40] * 50, 32)
    expected = _child_sum(items)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_child_sum, [items, items]).get(timeout=300) == [expected, expected]


def test_kernels_may_be_called_from_many_threads_at_once() -> None:
    items = ragged(np.random.default_rng(3), [30] * 100, 32)
    expected = maxsim(items, items, threads=1)
    results: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: results.append(maxsim(items, items, threads=3))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 8 and all(np.array_equal(r, expected) for r in results)
