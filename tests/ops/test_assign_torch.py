"""Nearest centroids of tensors: the arrays' own results in the processor's memory, the kernels' on a card."""

from __future__ import annotations

import numpy as np
import pytest
from op_samples import assert_no_worse_than_twice, normal

torch = pytest.importorskip("torch")

from flmr.errors import InvalidInput, NativeError  # noqa: E402
from flmr.ops import assign_torch, cuda  # noqa: E402
from flmr.ops.assign import assign, assign_reference, assign_rounded, round_rows  # noqa: E402
from flmr.ops.means import means  # noqa: E402
from flmr.ops.multiply import multiply  # noqa: E402


@pytest.fixture(params=["processor", "card"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "card":
        request.getfixturevalue("emulated_card")
        monkeypatch.setattr(assign_torch, "CHUNK_BYTES", 5000)
    return str(request.param)


def vectors_and_centroids(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = (normal(rng, 150, 24) * rng.uniform(0.01, 100, (150, 1))).astype(dtype)
    vectors[3], vectors[5, 2], vectors[7, 1], vectors[9] = 0, np.nan, np.inf, 1e-30
    return vectors, normal(rng, 37, 24) * rng.uniform(0.01, 100, (37, 1)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_nearest_centroid_of_a_tensor_is_that_of_the_array(anywhere: str, dtype: type) -> None:
    vectors, centroids = vectors_and_centroids(dtype)
    codes, distances = assign(torch.from_numpy(vectors), torch.from_numpy(centroids))
    expected_codes, expected = assign(vectors, centroids)
    assert codes.dtype == torch.int32 and distances.dtype == torch.float32
    finite = np.isfinite(vectors).all(axis=1)
    assert (codes.numpy()[finite] == expected_codes[finite]).mean() > 0.99
    assert codes[5] == 0 and torch.isnan(distances[5])
    near = distances.numpy()[finite] - expected[finite]
    size = np.square(vectors[finite].astype(np.float64)).sum(1) + np.square(centroids).sum(1).max()
    assert (near <= 8 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rounded_tensors_are_the_rounded_arrays_to_the_bit(anywhere: str, dtype: type) -> None:
    vectors, _ = vectors_and_centroids(dtype)
    for found, expected in zip(round_rows(torch.from_numpy(vectors)), round_rows(vectors), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rounded_codes_of_a_tensor_are_those_of_the_array(anywhere: str, dtype: type) -> None:
    vectors, centroids = vectors_and_centroids(dtype)
    rounded = round_rows(centroids)
    codes, distances = assign_rounded(torch.from_numpy(vectors), *map(torch.from_numpy, rounded))
    expected_codes, expected = assign_rounded(vectors, *rounded)
    np.testing.assert_array_equal(codes.numpy(), expected_codes)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("of_centroids", assign_torch.FLOATS)
@pytest.mark.parametrize("of_vectors", assign_torch.FLOATS)
def test_either_side_may_be_narrow_and_is_assigned_as_its_values(
    anywhere: str, of_vectors: torch.dtype, of_centroids: torch.dtype
) -> None:
    vectors, centroids = (torch.from_numpy(normal(np.random.default_rng(seed), n, 24)) for seed, n in ((1, 40), (2, 9)))
    vectors, centroids = vectors.to(of_vectors).requires_grad_(), centroids.to(of_centroids)
    codes, distances = assign(vectors, centroids)
    # No two of these centroids are equally near by what float32 rounds.
    expected_codes, expected = assign_reference(vectors.detach().float().numpy(), centroids.float().numpy())
    assert torch.equal(codes, torch.from_numpy(expected_codes.astype(np.int32)))
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-5)


def test_means_of_tensors_are_those_of_arrays(anywhere: str) -> None:
    rng = np.random.default_rng(3)
    vectors, codes = normal(rng, 200, 5), rng.integers(0, 9, 200).astype(np.uint16)
    codes[codes == 4] = 3
    found, counts = means(torch.from_numpy(vectors), torch.from_numpy(codes.astype(np.int32)), 9)
    expected, expected_counts = means(vectors, codes, 9)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=0)
    np.testing.assert_array_equal(counts.numpy(), expected_counts)
    assert counts[4] == 0 and (found[4] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_products_of_tensors_are_as_near_as_those_of_arrays(anywhere: str, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(4)
    vectors, rows = torch.from_numpy(normal(rng, 150, 24)).to(dtype), torch.from_numpy(normal(rng, 24, 24))
    truth = vectors.double().numpy() @ rows.double().numpy().T
    found = multiply(vectors, rows)
    assert found.dtype == torch.float32
    assert_no_worse_than_twice(found.numpy(), multiply(vectors.float().numpy(), rows.numpy()), truth)
    assert torch.equal(multiply(vectors[50:57], rows), found[50:57])
    with pytest.raises(InvalidInput, match="in D"):
        multiply(vectors, rows[:, 1:])


def test_no_vectors_give_no_codes(anywhere: str) -> None:
    codes, distances = assign(torch.empty(0, 4), torch.ones(2, 4))
    assert len(codes) == len(distances) == 0


def test_wrong_tensors_are_named(anywhere: str) -> None:
    rows = torch.ones(3, 4)
    with pytest.raises(InvalidInput, match="centroids must be float32 or float16 or bfloat16, not float64; cast"):
        assign(rows, torch.ones(2, 4, dtype=torch.float64))
    with pytest.raises(InvalidInput, match="vectors must be float32 or float16 or bfloat16, not int8; cast"):
        means(rows.to(torch.int8), torch.zeros(3, dtype=torch.int32), 1)
    with pytest.raises(InvalidInput, match="centroids must be int8, not float32"):
        assign_rounded(rows, rows, torch.ones(3))
    with pytest.raises(InvalidInput, match="must be a tensor of shape"):
        round_rows(rows[0])
    with pytest.raises(InvalidInput, match="D"):
        assign(rows, torch.ones(3, 5))
    with pytest.raises(InvalidInput, match="at least one centroid"):
        assign(rows, torch.ones(0, 4))
    with pytest.raises(InvalidInput, match="65,536"):
        assign_rounded(rows, torch.zeros(65_537, 4, dtype=torch.int8), torch.ones(65_537))
    with pytest.raises(InvalidInput, match="scales"):
        assign_rounded(rows, torch.zeros(2, 4, dtype=torch.int8), torch.ones(3))


def test_a_card_without_the_kernels_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_there", lambda tensor: True)
    with pytest.raises(NativeError, match=r"\.cuda\(\); or give vectors in the processor's memory"):
        assign(torch.ones(3, 4), torch.ones(2, 4))


def test_a_card_without_room_is_said_in_one_line(emulated_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("no room", "and a page of advice")

    monkeypatch.setattr(assign_torch, "_chunks", full)
    vectors, centroids = map(torch.from_numpy, vectors_and_centroids())
    rounded = torch.zeros(3, 24, dtype=torch.int8), torch.ones(3)
    codes = torch.zeros(len(vectors), dtype=torch.int32)
    for op, arguments in (
        (assign, (vectors, centroids)),
        (round_rows, (vectors,)),
        (assign_rounded, (vectors, *rounded)),
        (means, (vectors, codes, 3)),
        (multiply, (vectors, centroids)),
    ):
        with pytest.raises(NativeError, match=r"^CUDA out of memory\..*free memory there$"):
            op(*arguments)
