"""The CUDA kernels' own source, run by the emulator: nearest centroids against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_cuda import CARD, TYPES, Side, assign, library


def whole(rng: np.random.Generator, rows: int, dim: int, kind: str) -> Side:
    return Side(rng.integers(-3, 4, (rows, dim)), [rows], kind, padded=True)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows, centroids, dim", [(1, 1, 5), (40, 300, 64), (130, 700, 33)])
def test_codes_are_the_nearest_centroids_the_lowest_on_ties(kind: str, rows: int, centroids: int, dim: int) -> None:
    rng = np.random.default_rng(rows)
    x, c = whole(rng, rows, dim, kind), whole(rng, centroids, dim, kind)
    norms = (np.square(c.values).sum(axis=1) / 2).astype(np.float32)
    values = x.values @ c.values.T
    for bias, expected in ((norms, values - norms), (None, values)):
        codes, best = assign(x, c, bias)
        np.testing.assert_array_equal(codes, expected.argmax(axis=1))
        np.testing.assert_array_equal(best, expected.max(axis=1))
        np.testing.assert_array_equal(assign(x, c, bias, best=False)[0], codes)


def test_parts_of_the_centroids_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(7)
    x, c = whole(rng, 20, 8, "int8"), whole(rng, 5000, 8, "int8")
    values = x.values @ c.values.T
    try:
        for processors in (1, 100):  # with a hundred, twenty rows leave most of them idle
            library().emulator_device(CARD[0], processors, CARD[2])
            codes, best = assign(x, c, None)
            np.testing.assert_array_equal(codes, values.argmax(axis=1))
            np.testing.assert_array_equal(best, values.max(axis=1))
    finally:
        library().emulator_device(*CARD)


def test_no_rows_have_no_codes_and_no_centroids_are_refused() -> None:
    rng = np.random.default_rng(8)
    none, some = whole(rng, 0, 8, "float16"), whole(rng, 3, 8, "float16")
    assert len(assign(none, some, None)[0]) == 0
    with pytest.raises(AssertionError, match="sizes"):
        assign(some, none, None)
