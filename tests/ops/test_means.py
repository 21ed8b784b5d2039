"""The mean of each code's vectors: the native kernel against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import DIMS, ISAS, normal

from flmr.errors import InvalidInput
from flmr.ops.means import means, means_reference


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_means_and_counts_equal_the_reference(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(dim)
    vectors, codes = normal(rng, 500, dim).astype(dtype), rng.integers(0, 40, 500).astype(np.uint16)
    found, counts = means(vectors, codes, 45, threads=3, isa=isa)
    expected, expected_counts = means_reference(vectors, codes, 45)
    np.testing.assert_array_equal(found, expected)  # the same sums in the same order
    np.testing.assert_array_equal(counts, expected_counts)
    assert (found[40:] == 0).all() and (counts[40:] == 0).all()


def test_means_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(0)
    vectors, codes = normal(rng, 3000, 20), rng.integers(0, 300, 3000).astype(np.uint16)
    np.testing.assert_array_equal(means(vectors, codes, 300, threads=1)[0], means(vectors, codes, 300, threads=6)[0])


def test_no_vectors_have_no_means_and_a_code_beyond_the_last_is_refused() -> None:
    found, counts = means(np.empty((0, 4), np.float32), np.empty(0, np.uint16), 3)
    assert (found == 0).all() and counts.tolist() == [0, 0, 0]
    with pytest.raises(InvalidInput, match="code 3"):
        means(np.ones((2, 4), np.float32), np.array([0, 3], np.uint16), 3)
    with pytest.raises(InvalidInput, match="in T"):
        means(np.ones((2, 4), np.float32), np.zeros(3, np.uint16), 3)
