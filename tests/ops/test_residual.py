"""Packing and quantising residuals: the native kernels against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import DIMS, ISAS, NBITS, levels_of, normal

from flmr.errors import InvalidInput
from flmr.ops.residual import (
    dequantize,
    dequantize_reference,
    pack,
    pack_reference,
    packed_size,
    quantize,
    quantize_reference,
    unpack,
    unpack_reference,
)


@given(count=st.integers(0, 5), dim=st.integers(1, 70), nbits=st.sampled_from(NBITS), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_packing_round_trips_and_equals_the_reference(count: int, dim: int, nbits: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**nbits, (count, dim)).astype(np.uint8)
    packed = pack(levels, nbits)
    assert packed.shape == (count, packed_size(nbits, dim))
    np.testing.assert_array_equal(packed, pack_reference(levels, nbits))
    np.testing.assert_array_equal(unpack(packed, nbits, dim), levels)
    np.testing.assert_array_equal(unpack_reference(packed, nbits, dim), levels)


def test_layout_is_little_endian_with_dimensions_in_order() -> None:
    assert pack(np.array([[1, 2, 3, 0, 1]], np.uint8), 2).tolist() == [[0b00_11_10_01, 0b01]]
    assert pack(np.array([[5, 6, 7]], np.uint8), 3).tolist() == [[0b11_110_101, 0b1]]
    assert pack(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1]], np.uint8), 1).tolist() == [[1, 1]]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_quantised_residuals_equal_the_reference(isa: str, nbits: int, dim: int) -> None:
    residuals = normal(np.random.default_rng(dim), 30, dim) * np.float32(0.03)
    residuals[7] = 0
    levels = levels_of(nbits)
    packed, scales = quantize(residuals, levels, nbits=nbits, threads=2, isa=isa)
    expected_packed, expected_scales = quantize_reference(residuals, levels, nbits=nbits)
    # A value within rounding of a boundary may fall to either side: rarely, and by one level.
    numbers, expected = (unpack(p, nbits, dim).astype(int) for p in (packed, expected_packed))
    assert np.abs(numbers - expected).max() <= 1
    assert (numbers != expected).mean() < 1e-3
    same = (numbers == expected).all(axis=1)
    steps = scales[same].view(np.int16).astype(int) - expected_scales[same].view(np.int16)
    assert np.abs(steps).max(initial=0) <= 1  # float64 -> float32 -> float16 may round once more
    assert scales[7] == 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("nbits", NBITS)
@pytest.mark.parametrize("dim", DIMS)
def test_dequantised_residuals_equal_the_reference_exactly(isa: str, nbits: int, dim: int) -> None:
    rng = np.random.default_rng(dim)
    packed = pack(rng.integers(0, 2**nbits, (20, dim)).astype(np.uint8), nbits)
    scales, levels = rng.uniform(0, 2, 20).astype(np.float16), levels_of(nbits)
    found = dequantize(packed, scales, levels, nbits=nbits, dim=dim, threads=3, isa=isa)
    np.testing.assert_array_equal(found, dequantize_reference(packed, scales, levels, nbits=nbits, dim=dim))


@pytest.mark.parametrize("nbits", NBITS)
def test_more_bits_never_fit_worse_and_the_scale_is_the_best_one(nbits: int) -> None:
    residuals = normal(np.random.default_rng(0), 50, 128)
    levels = levels_of(nbits)
    packed, scales = quantize(residuals, levels, nbits=nbits)
    numbers = unpack(packed, nbits, 128)

    def error(factor: float) -> np.ndarray:
        fitted = dequantize(pack(numbers, nbits), (scales * factor).astype(np.float16), levels, nbits=nbits, dim=128)
        return np.square(residuals - fitted).sum(axis=1)

    assert (error(1.0) <= error(0.98)).all() and (error(1.0) <= error(1.02)).all()


def test_bits_do_not_depend_on_threads() -> None:
    residuals = normal(np.random.default_rng(1), 1500, 33)
    one = quantize(residuals, levels_of(4), nbits=4, threads=1)
    for threads in (2, 5):
        again = quantize(residuals, levels_of(4), nbits=4, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_every_float16_scale_is_read_exactly_and_stored_exactly() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    packed, levels = np.full((len(halves), 1), 1, np.uint8), np.array([-1, 1], np.float32)
    for isa in ISAS:
        read = dequantize(packed, halves, levels, nbits=1, dim=1, isa=isa)[:, 0]
        np.testing.assert_array_equal(read, halves.astype(np.float32))
    values = np.abs(halves.astype(np.float32))
    _, scales = quantize(values[:, None], levels, nbits=1)
    np.testing.assert_array_equal(scales, values.astype(np.float16))


def test_wrong_inputs_are_named() -> None:
    residuals, levels = np.ones((2, 8), np.float32), levels_of(2)
    with pytest.raises(InvalidInput, match="nbits"):
        quantize(residuals, levels, nbits=5)
    with pytest.raises(InvalidInput, match="levels"):
        quantize(residuals, levels, nbits=4)
    with pytest.raises(InvalidInput, match="rise"):
        quantize(residuals, levels[::-1], nbits=2)
    with pytest.raises(InvalidInput, match="level number 4"):
        pack(np.full((1, 4), 4, np.uint8), 2)
    with pytest.raises(InvalidInput, match="bytes"):
        unpack(np.zeros((2, 3), np.uint8), 2, 8)
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(InvalidInput, match="residual"):
            quantize(np.full((1, 8), bad, np.float32), levels, nbits=2)
        with pytest.raises(InvalidInput, match="residual"):
            quantize_reference(np.full((1, 8), bad, np.float32), levels, nbits=2)
