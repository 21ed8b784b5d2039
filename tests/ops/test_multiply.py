"""Vectors times rows: the native kernel against NumPy, and against itself in other company."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import DIMS, ISAS, assert_no_worse_than_twice, normal

from flmr.errors import InvalidInput
from flmr.ops.multiply import multiply, multiply_reference


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_products_are_as_good_as_those_of_numpy(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(dim)
    vectors, rows = normal(rng, 150, dim).astype(dtype), normal(rng, 37, dim)
    for many, few in ((vectors, rows), (rows, vectors)):
        truth = many.astype(np.float64) @ few.astype(np.float64).T
        assert_no_worse_than_twice(multiply(many, few, threads=2, isa=isa), multiply_reference(many, few), truth)


@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_call(isa: str) -> None:
    rng = np.random.default_rng(1)
    vectors, rows = normal(rng, 2500, 300), normal(rng, 130, 300)
    whole = multiply(vectors, rows, threads=1, isa=isa)
    np.testing.assert_array_equal(multiply(vectors, rows, threads=3, isa=isa), whole)
    for step in (1, 7, 131, 1024):
        parts = [multiply(vectors[i : i + step], rows, isa=isa) for i in range(0, 300, step)]
        np.testing.assert_array_equal(np.concatenate(parts)[:300], whole[:300])
    np.testing.assert_array_equal(multiply(vectors, rows[50:60], isa=isa), whole[:, 50:60])


def test_all_vector_instructions_give_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    vectors, rows = normal(rng, 100, 130), normal(rng, 40, 130)
    first, *others = (multiply(vectors, rows, isa=isa) for isa in ISAS if isa != "scalar")
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_nothing_times_anything_is_nothing_and_another_d_is_refused() -> None:
    assert multiply(np.empty((0, 4), np.float32), np.ones((3, 4), np.float32)).shape == (0, 3)
    assert multiply(np.ones((3, 4), np.float32), np.empty((0, 4), np.float32)).shape == (3, 0)
    with pytest.raises(InvalidInput, match="in D"):
        multiply(np.ones((2, 4), np.float32), np.ones((2, 5), np.float32))
