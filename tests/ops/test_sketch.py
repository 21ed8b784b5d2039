"""Sketches: the native kernels against NumPy, bit for bit, and what one bit a dimension keeps of a mean."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import DIMS, ISAS, LENGTHS, normal

from flmr.errors import InvalidInput
from flmr.ops.sketch import sketch, sketch_scores, sketch_scores_reference
from flmr.ops.trellis import scale_table

TABLE = scale_table(0.01)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
def test_products_equal_the_reference_to_the_bit(isa: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    packed = rng.integers(0, 256, (1700, (dim + 7) // 8)).astype(np.uint8)  # more than one thread takes at a time
    scales, rows = rng.integers(0, 256, 1700).astype(np.uint8), normal(rng, 19, dim)
    expected = sketch_scores_reference(rows, packed, scales, TABLE)
    for threads, some in ((1, 19), (3, 19), (1, 8), (1, 1), (1, 0)):
        found = sketch_scores(rows[:some], packed, scales, TABLE, isa=isa, threads=threads)
        np.testing.assert_array_equal(found, expected[:some])
    for some in (0, 1, 2, 95, 97):
        found = sketch_scores(rows, packed[:some], scales[:some], TABLE, isa=isa)
        np.testing.assert_array_equal(found, expected[:, :some])


def test_a_sketch_points_the_way_of_the_mean_and_nothing_has_no_mean() -> None:
    rng = np.random.default_rng(0)
    rows = 0.1 * normal(rng, sum(LENGTHS), 128)
    packed, scales = sketch(rows, np.array(LENGTHS), TABLE)
    assert packed.shape == (len(LENGTHS), 16) and packed.dtype == scales.dtype == np.uint8
    start = 0
    for number, count in enumerate(LENGTHS):
        mean = rows[start : start + count].mean(axis=0) if count else np.zeros(128, np.float32)
        start += count
        product = sketch_scores(mean[None], packed[number : number + 1], scales[number : number + 1], TABLE)[0, 0]
        assert 0.5 * float(mean @ mean) <= product <= 1.1 * float(mean @ mean)  # by least squares, so too short
    assert (scales[[i for i, count in enumerate(LENGTHS) if not count]] == 0).all()


@pytest.mark.parametrize("isa", ISAS)
def test_zeros_and_great_rows_give_finite_products(isa: str) -> None:
    packed, scales = np.full((3, 16), 255, np.uint8), np.array([0, 7, 255], np.uint8)
    assert (sketch_scores(np.zeros((1, 128), np.float32), packed, scales, TABLE, isa=isa) == 0).all()
    great = sketch_scores(np.full((1, 128), 1e30, np.float32), packed, scales, TABLE, isa=isa)
    np.testing.assert_array_equal(
        great, sketch_scores_reference(np.full((1, 128), 1e30, np.float32), packed, scales, TABLE)
    )
    assert np.isfinite(great).all()


def test_wrong_arrays_are_refused_by_name() -> None:
    packed, scales, rows = np.zeros((3, 16), np.uint8), np.zeros(3, np.uint8), np.ones((1, 128), np.float32)
    for arguments, message in (
        ((rows[:, :120], packed, scales, TABLE), "bytes a sketch"),
        ((rows, packed, scales[:2], TABLE), "packed"),
        ((rows.astype(np.float64), packed, scales, TABLE), "rows"),
        ((rows * np.float32(np.nan), packed, scales, TABLE), "NaN"),
        ((rows, packed, scales, TABLE[:9]), "number of scales"),
    ):
        with pytest.raises(InvalidInput, match=message):
            sketch_scores(*arguments)
    with pytest.raises(InvalidInput, match="T"):
        sketch(np.ones((4, 8), np.float32), np.array([1, 2]), TABLE)
