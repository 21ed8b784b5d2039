"""MaxSim of multi-vectors: the native kernel against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import DIMS, ISAS, LENGTHS, assert_no_worse_than_twice, plain_maxsim, ragged

from flmr.errors import InvalidInput, NativeError
from flmr.ops import native
from flmr.ops.arrays import Precision, in_precision
from flmr.ops.maxsim import maxsim, maxsim_reference
from flmr.records import MultiVectors

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def matrix(queries: MultiVectors, documents: MultiVectors, dtype: type) -> np.ndarray:
    return np.array([[plain_maxsim(q, d, dtype) for d in documents] for q in queries])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_error_is_at_most_twice_that_of_numpy(isa: str, dim: int, dtype: type) -> None:
    rng = np.random.default_rng(dim)
    queries, documents = ragged(rng, (3, 0, 40, 1), dim, dtype), ragged(rng, LENGTHS, dim, dtype)
    truth = matrix(queries, documents, np.float64)
    assert_no_worse_than_twice(maxsim(queries, documents, isa=isa), matrix(queries, documents, np.float32), truth)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_bfloat16_errs_at_most_twice_as_much_as_torch_in_bfloat16(isa: str, dim: int, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(dim)
    queries, documents = ragged(rng, (3, 0, 40, 1), dim, dtype), ragged(rng, LENGTHS, dim, dtype)
    plain = np.full((len(queries), len(documents)), -np.inf, np.float32)
    for b, query in enumerate(queries):
        for n, document in enumerate(documents):
            if len(document):
                pair = [torch.from_numpy(vectors.astype(np.float32)).bfloat16() for vectors in (query, document)]
                plain[b, n] = torch.einsum("qd,kd->qk", *pair).amax(dim=1).sum().item()
    found = maxsim(queries, documents, precision="bfloat16", isa=isa)
    assert_no_worse_than_twice(found, plain, matrix(queries, documents, np.float64))
    # Sharper: nothing is rounded but the inputs.
    rounded = maxsim_reference(queries, documents, precision="bfloat16")
    np.testing.assert_allclose(found, rounded, rtol=1e-5, atol=1e-6 * dim)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_bfloat16_rounds_to_nearest_and_ties_to_even(isa: str, dtype: type) -> None:
    rng = np.random.default_rng(8)
    if dtype is np.float32:
        near_ties = (0x3F80 + rng.integers(0, 512, 3000) << 16) + rng.choice([0, 0x7FFF, 0x8000, 0x8001, 0xFFFF], 3000)
        values = near_ties.astype(np.uint32).view(np.float32)
    else:
        values = np.arange(0x0001, 0x7C00, dtype=np.uint16).view(np.float16)  # every positive float16, small ones too
    documents = MultiVectors(np.concatenate([values, -values])[:, None], np.arange(2 * len(values) + 1, dtype=np.int64))
    one = MultiVectors.from_list([np.ones((1, 1), np.float32)])
    found = maxsim(one, documents, precision="bfloat16", isa=isa)
    np.testing.assert_array_equal(found[0], in_precision(documents.vectors, "bfloat16")[:, 0])
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(found[0], torch.from_numpy(documents.vectors).bfloat16().float()[:, 0])


def test_reference_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    queries, documents = ragged(rng, (3, 0, 4), 5), ragged(rng, LENGTHS, 5)
    np.testing.assert_allclose(maxsim_reference(queries, documents), matrix(queries, documents, np.float64), rtol=1e-6)


@given(
    query_lengths=st.lists(st.integers(0, 40), max_size=6),
    document_lengths=st.lists(st.integers(0, 80), max_size=12),
    dim=st.integers(1, 70),
    halves=st.tuples(st.booleans(), st.booleans()),
    threads=st.integers(1, 3),
    isa=st.sampled_from(ISAS),
    precision=st.sampled_from(PRECISIONS),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_any_ragged_shape_equals_the_reference(
    query_lengths: list[int],
    document_lengths: list[int],
    dim: int,
    halves: tuple[bool, bool],
    threads: int,
    isa: str,
    precision: Precision,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    kinds = [np.float16 if half else np.float32 for half in halves]
    queries, documents = ragged(rng, query_lengths, dim, kinds[0]), ragged(rng, document_lengths, dim, kinds[1])
    found = maxsim(queries, documents, precision=precision, threads=threads, isa=isa)
    expected = maxsim_reference(queries, documents, precision=precision)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bits_do_not_depend_on_threads_or_on_the_rest_of_the_batch(isa: str, precision: Precision) -> None:
    rng = np.random.default_rng(1)
    queries = ragged(rng, [5, 33, 1, 0, 700, 600, 12], 128)
    documents = ragged(rng, rng.integers(0, 60, 300).tolist(), 128)
    full = maxsim(queries, documents, precision=precision, threads=1, isa=isa)
    for threads in (2, 5):
        again = maxsim(queries, documents, precision=precision, threads=threads, isa=isa)
        np.testing.assert_array_equal(again, full)
    one, other = MultiVectors.from_list([queries[5]]), MultiVectors.from_list([documents[17]])
    assert maxsim(one, other, precision=precision, isa=isa)[0, 0] == full[5, 17]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_instruction_sets_with_fused_arithmetic_give_the_same_bits(precision: Precision) -> None:
    # avx512bf16 adds a pair of products at a time
    fused = [isa for isa in ISAS if isa != "scalar" and (precision == "float32" or isa != "avx512bf16")]
    rng = np.random.default_rng(2)
    queries, documents = ragged(rng, (3, 40), 300), ragged(rng, LENGTHS, 300)
    first, *others = [maxsim(queries, documents, precision=precision, isa=isa) for isa in fused]
    for scores in others:
        np.testing.assert_array_equal(scores, first)


def test_empty_document_scores_minus_infinity_and_empty_query_zero() -> None:
    rng = np.random.default_rng(3)
    scores = maxsim(ragged(rng, (2, 0), 4), ragged(rng, (0, 3), 4))
    assert np.isneginf(scores[:, 0]).all()
    assert scores[1, 1] == 0


def test_all_negative_similarities_stay_negative() -> None:
    one = np.ones((1, 100), np.float32)
    queries = MultiVectors.from_list([one])
    assert maxsim(queries, MultiVectors.from_list([-one, -2 * one])).tolist() == [[-100.0, -200.0]]


def test_no_items_give_an_empty_matrix() -> None:
    rng = np.random.default_rng(4)
    some, none = ragged(rng, (2, 3), 8), ragged(rng, (), 8)
    assert maxsim(some, none).shape == (2, 0)
    assert maxsim(none, some).shape == (0, 2)


def test_strided_readonly_and_memory_mapped_vectors_give_the_same_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    queries, documents = ragged(rng, (3, 9), 24), ragged(rng, LENGTHS, 24)
    expected = maxsim(queries, documents)
    wide = np.zeros((2 * len(documents.vectors), 48), np.float32)
    wide[::2, ::2] = documents.vectors
    np.save(tmp_path / "vectors.npy", documents.vectors)
    readonly = documents.vectors.copy()
    readonly.setflags(write=False)
    for vectors in (
        wide[::2, ::2],
        np.asfortranarray(documents.vectors),
        readonly,
        np.load(tmp_path / "vectors.npy", mmap_mode="r"),
    ):
        np.testing.assert_array_equal(maxsim(queries, MultiVectors(vectors, documents.offsets)), expected)


def test_wrong_inputs_are_named() -> None:
    rng = np.random.default_rng(6)
    items = ragged(rng, (2,), 4)
    with pytest.raises(InvalidInput, match="D"):
        maxsim(items, ragged(rng, (2,), 5))
    with pytest.raises(InvalidInput, match="ndarray"):
        maxsim(items.vectors, items)
    with pytest.raises(InvalidInput, match="threads"):
        maxsim(items, items, threads=0)
    with pytest.raises(InvalidInput, match="mask"):
        maxsim(items, items, query_mask=np.ones((1, 2), bool))
    with pytest.raises(InvalidInput, match="precision"):
        maxsim(items, items, precision="float16")
    with pytest.raises(InvalidInput, match="CUDA kernel multiplies in float32"):
        maxsim(items, items, precision="bfloat16", device="cuda")
    with pytest.raises(InvalidInput, match="device must be 'cpu' or 'cuda', not 'gpu'"):
        maxsim(items, items, device="gpu")  # type: ignore[call-overload]


def test_cuda_equals_the_reference_or_says_that_there_is_none() -> None:
    rng = np.random.default_rng(7)
    queries, documents = ragged(rng, (3, 0, 40, 1), 130), ragged(rng, LENGTHS, 130, np.float16)
    if native.cuda_devices() == 0:
        with pytest.raises(NativeError, match=r"CUDA"):
            maxsim(queries, documents, device="cuda")
        pytest.skip("no CUDA device: the kernel was not run")
    found = maxsim(queries, documents, device="cuda")
    np.testing.assert_allclose(found, maxsim_reference(queries, documents), rtol=1e-5, atol=1e-3)
