"""MaxSim of the vectors themselves: the native kernel against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import DIMS, ISAS, LENGTHS, normal, ragged

from flmr.errors import InvalidInput
from flmr.ops.arrays import Precision
from flmr.ops.maxsim import maxsim
from flmr.ops.score import score_flat, score_flat_reference
from flmr.records import MultiVectors


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_flat_scores_are_those_of_maxsim_and_of_the_reference(
    isa: str, dtype: type, dim: int, precision: Precision
) -> None:
    rng = np.random.default_rng(dim)
    items, query = ragged(rng, LENGTHS, dim, dtype), normal(rng, 37, dim)
    found = score_flat(query, None, items.offsets, items.vectors, precision=precision, isa=isa)
    scores = maxsim(MultiVectors.from_list([query]), items, precision=precision, isa=isa)
    np.testing.assert_array_equal(found, scores[0])
    truth = score_flat_reference(query, None, items.offsets, items.vectors, precision=precision)
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-2)


@given(
    rows=st.integers(0, 70),
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=10),
    wanted=st.lists(st.integers(0, 100), max_size=12),
    dim=st.integers(1, 70),
    isa=st.sampled_from(ISAS),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_any_ragged_shape_and_any_choice_of_items_equal_the_reference(
    rows: int, lengths: list[int], wanted: list[int], dim: int, isa: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    items, query = ragged(rng, lengths, dim), normal(rng, rows, dim)
    chosen = (np.array(wanted, np.uint32) % len(lengths)).astype(np.uint32)
    found = score_flat(query, chosen, items.offsets, items.vectors, isa=isa)
    expected = score_flat_reference(query, chosen, items.offsets, items.vectors)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bits_do_not_depend_on_threads_or_on_the_other_items(isa: str, precision: Precision) -> None:
    rng = np.random.default_rng(7)
    items, query = ragged(rng, rng.integers(0, 60, 300).tolist(), 96), normal(rng, 50, 96)
    stored = (items.offsets, items.vectors)
    everything = score_flat(query, None, *stored, precision=precision, threads=1, isa=isa)
    chosen = rng.permutation(300)[:77].astype(np.uint32)
    for threads in (1, 2, 5):
        again = score_flat(query, None, *stored, precision=precision, threads=threads, isa=isa)
        np.testing.assert_array_equal(again, everything)
        some = score_flat(query, chosen, *stored, precision=precision, threads=threads, isa=isa)
        np.testing.assert_array_equal(some, everything[chosen])


def test_memory_maps_and_strided_arrays_are_scored_in_place_or_copied(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items, query = ragged(rng, LENGTHS, 40), normal(rng, 9, 40)
    expected = score_flat(query, None, items.offsets, items.vectors)
    mapped = []
    for name, array in (("offsets", items.offsets), ("vectors", items.vectors)):
        np.save(tmp_path / f"{name}.npy", array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(score_flat(query, None, *mapped), expected)
    strided = [np.repeat(array, 2, axis=0)[::2] for array in (items.offsets, items.vectors)]
    np.testing.assert_array_equal(score_flat(query, None, *strided), expected)
    unaligned = np.frombuffer(b"x" + query.tobytes(), np.float32, offset=1).reshape(query.shape)
    np.testing.assert_array_equal(score_flat(unaligned, None, *mapped), expected)


def test_dimension_8192_and_a_query_of_832_rows_are_scored() -> None:
    rng = np.random.default_rng(1)
    items, query = ragged(rng, (3, 9), 8192), normal(rng, 2, 8192)
    found = score_flat(query, None, items.offsets, items.vectors)
    np.testing.assert_allclose(found, score_flat_reference(query, None, items.offsets, items.vectors), rtol=1e-5)
    items, query = ragged(rng, (30, 90), 64), normal(rng, 832, 64)
    found = score_flat(query, None, items.offsets, items.vectors)
    np.testing.assert_allclose(found, score_flat_reference(query, None, items.offsets, items.vectors), rtol=1e-5)


def test_corrupt_items_and_offsets_are_refused_not_followed() -> None:
    rng = np.random.default_rng(2)
    items, query = ragged(rng, (2, 3), 8), normal(rng, 3, 8)
    with pytest.raises(InvalidInput, match="item 2"):
        score_flat(query, np.array([2], np.uint32), items.offsets, items.vectors)
    for bad in ([0, 2, 6], [0, -2, 5], [3, 2, 5]):
        with pytest.raises(InvalidInput, match="offsets"):
            score_flat(query, None, np.array(bad, np.int64), items.vectors)


def test_wrong_types_and_shapes_are_named() -> None:
    rng = np.random.default_rng(3)
    items, query = ragged(rng, (2, 3), 8), normal(rng, 3, 8)
    with pytest.raises(InvalidInput, match="vectors"):
        score_flat(query, None, items.offsets, items.vectors.astype(np.float64))
    with pytest.raises(InvalidInput, match="D"):
        score_flat(query[:, :-1], None, items.offsets, items.vectors)
    with pytest.raises(InvalidInput, match="precision"):
        score_flat(query, None, items.offsets, items.vectors, precision="int8")
    with pytest.raises(InvalidInput, match="offsets"):
        score_flat(query, None, np.empty(0, np.int64), items.vectors)
