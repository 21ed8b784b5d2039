"""Residuals as streams of a few bits: the native kernels against NumPy, and both against what theory promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import DIMS, ISAS, NBITS, normal

from flmr.errors import InvalidInput
from flmr.ops.trellis import (
    dequantize,
    dequantize_reference,
    packed_size,
    quantize,
    quantize_reference,
    scale_table,
    trellis_levels,
    unpack,
    unpack_reference,
    widest,
)

SCALES = scale_table(1.0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_every_instruction_set_gives_the_bits_of_the_reference(isa: str, nbits: int, dim: int) -> None:
    residuals = normal(np.random.default_rng(dim), 35, dim) * np.float32(0.03)
    residuals[7] = 0
    residuals[8] = 1e-12
    residuals[9, : dim // 2] = 0
    residuals[10] = 25
    packed, scales = quantize(residuals, SCALES, nbits=nbits, threads=2, isa=isa)
    expected_packed, expected_scales = quantize_reference(residuals, SCALES, nbits=nbits)
    np.testing.assert_array_equal(scales, expected_scales)
    np.testing.assert_array_equal(packed, expected_packed)
    assert scales[7] == 0 and scales[8] <= 1 and scales[10] > 150
    found = dequantize(packed, scales, SCALES, nbits=nbits, dim=dim, threads=3, isa=isa)
    np.testing.assert_array_equal(found, dequantize_reference(packed, scales, SCALES, nbits=nbits, dim=dim))
    assert not found[7:9].any()


@given(count=st.integers(0, 40), dim=st.integers(1, 70), nbits=st.sampled_from(NBITS), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_any_bits_unpack_as_the_reference_does(count: int, dim: int, nbits: int, seed: int) -> None:
    packed = np.random.default_rng(seed).integers(0, 256, (count, packed_size(nbits, dim)), dtype=np.uint8)
    levels = unpack(packed, nbits=nbits, dim=dim)
    assert levels.shape == (count, dim) and levels.dtype == np.int8
    np.testing.assert_array_equal(levels, unpack_reference(packed, nbits=nbits, dim=dim))


def test_the_window_is_the_last_six_bits_of_the_stream_with_the_newest_highest() -> None:
    levels = np.arange(64, dtype=np.int8)  # each level is its window
    stream = np.array([[0b11_10_01_11, 0b01]], np.uint8)  # dimensions 3, 1, 2, 3, 1
    found = unpack(stream, nbits=2, dim=5, levels=levels)
    assert found.tolist() == [[0b11_00_00, 0b01_11_00, 0b10_01_11, 0b11_10_01, 0b01_11_10]]
    assert unpack(np.array([[0b101]], np.uint8), nbits=1, dim=3, levels=levels).tolist() == [[32, 16, 40]]
    assert unpack(np.array([[0x5A]], np.uint8), nbits=4, dim=2, levels=levels).tolist() == [[0b1010_00, 0b0101_10]]
    assert unpack(np.array([[1, 128, 255]], np.uint8), nbits=8, dim=3).tolist() == [[-127, 0, 127]]


# Error of a Gaussian, in dB; the best levels of a lone dimension (Lloyd and Max) reach 4.40, 9.30, 14.62 and 20.22.
@pytest.mark.parametrize(("nbits", "least"), [(1, 5.3), (2, 10.82), (3, 16.4), (4, 21.75), (8, 43.3)])
def test_a_gaussian_is_stored_with_the_error_that_was_measured_for_it(nbits: int, least: float) -> None:
    residuals = normal(np.random.default_rng(3), 2000, 128)
    found = dequantize(*quantize(residuals, SCALES, nbits=nbits), SCALES, nbits=nbits, dim=128)
    assert 10 * np.log10(np.square(residuals).sum() / np.square(residuals - found).sum()) > least


@pytest.mark.parametrize("nbits", [1, 2, 3, 4])
def test_no_other_stream_fits_a_short_vector_better(nbits: int) -> None:
    dim = 12 // nbits
    bits = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    every = unpack(np.packbits(bits, axis=1, bitorder="little"), nbits=nbits, dim=dim).astype(np.float64)
    residuals = normal(np.random.default_rng(nbits), 40, dim)
    table = np.zeros(256, np.float32)
    for residual in residuals:  # one scale only, so that the path is sought at it: the width that the levels are for
        width = np.sqrt(np.square(residual).mean()) / widest(nbits)
        table[1:] = width * (1 + np.arange(255, dtype=np.float32) * 1e-6)
        packed, _ = quantize(residual[None], table, nbits=nbits)
        found = unpack(packed, nbits=nbits, dim=dim)[0]
        wanted = np.clip(residual / table[1], -127, 127)
        best = np.square(wanted - every).sum(axis=1).min()
        # Values are rounded to whole numbers before the search, which costs at most that much.
        assert np.sqrt(np.square(wanted - found).sum()) <= np.sqrt(best) + np.sqrt(dim)


@pytest.mark.parametrize("nbits", [1, 2, 3, 4])  # at 8 bits it is the least that holds the largest value
def test_no_scale_of_the_table_fits_better_than_the_one_chosen(nbits: int) -> None:
    residuals = normal(np.random.default_rng(0), 50, 128) * np.float32(0.1)
    packed, scales = quantize(residuals, SCALES, nbits=nbits)

    def error(change: int) -> np.ndarray:
        found = dequantize(packed, (scales.astype(int) + change).astype(np.uint8), SCALES, nbits=nbits, dim=128)
        return np.square(residuals - found).sum(axis=1)

    assert (error(0) <= error(1)).all() and (error(0) <= error(-1)).all()


def test_bits_do_not_depend_on_threads_or_on_the_other_vectors() -> None:
    residuals = normal(np.random.default_rng(1), 1500, 33) * np.float32(0.1)
    for nbits in NBITS:
        one = quantize(residuals, SCALES, nbits=nbits, threads=1)
        for threads in (2, 5):
            again = quantize(residuals, SCALES, nbits=nbits, threads=threads)
            assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
        some = quantize(residuals[700:711], SCALES, nbits=nbits)
        assert all(np.array_equal(a[700:711], b) for a, b in zip(one, some, strict=True))


def test_the_scales_rise_from_zero_by_equal_factors_to_the_largest() -> None:
    for largest in (1e-20, 1.0, 7e20):
        table = scale_table(largest)
        assert table.shape == (256,) and table[0] == 0 and table[-1] == np.float32(largest)
        np.testing.assert_allclose(table[2:] / table[1:-1], 2 ** (1 / 8), rtol=1e-5)
    for bad in (0.0, -1.0, np.inf, np.nan, 1e-40):
        with pytest.raises(InvalidInput, match="scale"):
            scale_table(bad)


@pytest.mark.parametrize("nbits", NBITS)
def test_levels_are_whole_numbers_of_which_none_is_beyond_127(nbits: int) -> None:
    levels = trellis_levels(nbits)
    assert levels.dtype == np.int8 and len(levels) == (256 if nbits == 8 else 64) and levels.min() >= -127


def test_wrong_inputs_are_named() -> None:
    residuals = np.ones((2, 8), np.float32)
    with pytest.raises(InvalidInput, match="nbits"):
        quantize(residuals, SCALES, nbits=5)
    with pytest.raises(InvalidInput, match="levels"):
        quantize(residuals, SCALES, nbits=2, levels=np.zeros(4, np.int8))
    with pytest.raises(InvalidInput, match="rise"):
        quantize(residuals, SCALES[::-1], nbits=2)
    with pytest.raises(InvalidInput, match="scales"):
        quantize(residuals, SCALES[:-1], nbits=2)
    with pytest.raises(InvalidInput, match="bytes"):
        unpack(np.zeros((2, 3), np.uint8), nbits=2, dim=8)
    with pytest.raises(InvalidInput, match="disagree in T"):
        dequantize(np.zeros((2, 2), np.uint8), np.zeros(3, np.uint8), SCALES, nbits=2, dim=8)
    for nbits in NBITS:
        for bad in (np.nan, np.inf, 1e30, 200.0):
            for op in (quantize, quantize_reference):
                wrong = np.ones((3, 8), np.float32)
                wrong[1, 3:] = bad
                with pytest.raises(InvalidInput, match="residual 1 is not finite or beyond the largest scale"):
                    op(wrong, SCALES, nbits=nbits)
