"""The CUDA kernels' own source, run by the emulator: MaxSim forward against NumPy.

Rows hold small whole numbers unless said, so that every sum is exact in every type and ties are common.
"""

from __future__ import annotations

from collections.abc import Iterator

import emulated_cuda
import numpy as np
import pytest
from emulated_cuda import TYPES, Side, forward, library
from numpy.typing import NDArray

AWKWARD = [1, 0, 31, 32, 33, 130, 2, 128, 129, 0, 16]  # rows of items; tiles end at 16, 32, 64 and 128
DIMS = [1, 7, 64, 100, 128, 200, 768]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert library().emulator_allocations() == 0
    library().emulator_device(*emulated_cuda.CARD)


@pytest.fixture
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which multiplication the kernels use; wgmma takes queries of more than 64 rows and no float32."""
    assert library().flmr_cuda_set_path(request.param.encode()) == 0
    assert library().flmr_cuda_path() == request.param.encode()
    yield request.param
    library().flmr_cuda_set_path(b"mma")


BOTH = pytest.mark.parametrize("path", ["mma", "wgmma"], indirect=True)
WAYS = [(kind, path) for kind in TYPES for path in ("mma", "wgmma") if (kind, path) != ("float32", "wgmma")]
EACH = pytest.mark.parametrize("kind, path", WAYS, indirect=["path"])


def side(
    rng: np.random.Generator, lengths: list[int], dim: int, kind: str, *, masked: float = 0.0, **more: object
) -> Side:
    rows = rng.integers(-3, 4, (sum(lengths), dim))
    mask = rng.random(len(rows)) >= masked if masked else None
    return Side(rows, lengths, kind, mask_M=mask, **more)  # type: ignore[arg-type]


def expected(queries: Side, documents: Side, per_query: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and winners in NumPy, one pair of items after another."""
    columns = per_query or len(documents.lengths)
    scores = np.full((len(queries.lengths), columns), -np.inf)
    winners = np.full((len(queries.rows_MD), columns), -1)
    for i, (q, q_rows) in enumerate(zip(queries.begins or [], queries.lengths, strict=True)):
        for column in range(columns):
            n = i * per_query + column
            m = (documents.begins or [])[n] + np.arange(documents.lengths[n])
            counts = np.ones(len(m), bool) if documents.mask_M is None else documents.mask_M[m]
            if not counts.any():
                continue
            rows = q + np.arange(q_rows)
            rows = rows if queries.mask_M is None else rows[queries.mask_M[rows]]
            dots = queries.values[rows] @ documents.values[m].T
            if queries.scales_M is not None:
                dots *= queries.scales_M[rows, None]
            if documents.scales_M is not None:
                dots *= documents.scales_M[m]
            dots[:, ~counts] = -np.inf
            scores[i, column] = dots.max(axis=1).sum()
            winners[rows, column] = dots.argmax(axis=1)
    return scores, winners


def assert_right(
    queries: Side, documents: Side, *, per_query: int = 0, winner_bytes: tuple[int, ...] = (0, 4), **how: int
) -> None:
    scores, winners = expected(queries, documents, per_query)
    for each in winner_bytes:
        found, places = forward(queries, documents, per_query=per_query, winner_bytes=each, **how)
        np.testing.assert_array_equal(found, scores)
        if places is not None:
            np.testing.assert_array_equal(places, winners)


@pytest.mark.parametrize("longest", [32, 64, 150])
@EACH
def test_ragged_items_of_every_type_equal_numpy(kind: str, longest: int, path: str) -> None:
    rng = np.random.default_rng(longest)
    queries, documents = side(rng, [3, 0, longest, 1], 128, kind), side(rng, AWKWARD, 128, kind)
    assert_right(queries, documents, winner_bytes=(0, 2, 4) if kind == "float16" else (0, 4))


@pytest.mark.parametrize("dim", DIMS)
@EACH
def test_any_dimension_equals_numpy(kind: str, dim: int, path: str) -> None:
    rng = np.random.default_rng(dim)
    assert_right(side(rng, [70, 5], dim, kind), side(rng, [40, 1, 130], dim, kind))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_largest_dimension_equals_numpy(kind: str) -> None:
    rng = np.random.default_rng(8192)
    assert_right(side(rng, [2], 8192, kind), side(rng, [3, 17], 8192, kind))


@EACH
def test_masked_rows_of_either_side_do_not_count(kind: str, path: str) -> None:
    rng = np.random.default_rng(3)
    documents = side(rng, AWKWARD, 40, kind, masked=0.5)
    assert documents.mask_M is not None
    documents.mask_M[: sum(AWKWARD[:4])] = False  # whole documents
    assert_right(side(rng, [5, 40, 140], 40, kind, masked=0.5), documents)


def test_masked_rows_may_hold_anything() -> None:
    rng = np.random.default_rng(4)
    queries, documents = (side(rng, lengths, 64, "float16", masked=0.5) for lengths in ([40, 3], [50, 200]))
    scores, winners = expected(queries, documents)
    for each, other in ((queries, np.nan), (documents, np.inf)):
        each.stored[~each.mask_M] = other
    found, places = forward(queries, documents, winner_bytes=4)
    np.testing.assert_array_equal(found, scores)
    np.testing.assert_array_equal(places, winners)


@pytest.mark.parametrize("stride, alignment", [(104, 16), (103, 2), (100, 4), (102, 8), (107, 1), (128, 16)])
@EACH
def test_strided_rows_at_any_address_equal_numpy(kind: str, stride: int, alignment: int, path: str) -> None:
    rng = np.random.default_rng(stride)
    size = emulated_cuda.encode(np.zeros((1, 1)), kind).itemsize
    where = {"stride": stride, "alignment": max(alignment, size)}
    assert_right(side(rng, [70, 2], 99, kind, **where), side(rng, [40, 129], 99, kind, **where))


@BOTH
@pytest.mark.parametrize("per_query", [1, 3])
@pytest.mark.parametrize("longest", [20, 140])
def test_queries_meet_their_own_documents(per_query: int, longest: int, path: str) -> None:
    rng = np.random.default_rng(per_query)
    queries = side(rng, [longest, 0, 7], 64, "bfloat16")
    documents = side(rng, [5, 130, 0, 1, 64, 33, 2, 12, 40][: 3 * per_query], 64, "bfloat16", masked=0.2)
    assert_right(queries, documents, per_query=per_query)


def test_padded_items_need_no_bounds() -> None:
    rng = np.random.default_rng(5)
    queries, documents = (
        side(rng, [40] * 3, 64, "float16", padded=True),
        side(rng, [70] * 4, 64, "float16", padded=True),
    )
    assert_right(queries, documents)
    assert_right(queries, side(rng, [70] * 6, 64, "float16", padded=True, masked=0.3), per_query=2)


def test_items_may_lie_anywhere_in_the_rows_and_documents_may_share_them() -> None:
    rng = np.random.default_rng(6)
    queries = side(rng, [9, 33], 32, "float16", begins=[33, 0])
    documents = side(rng, [60, 0, 100, 100], 32, "float16", begins=[100, 160, 3, 50])
    assert_right(queries, documents)


@BOTH
@pytest.mark.parametrize("kind", ["int8", "float8", "float32"])
def test_scales_multiply_the_products_of_their_rows(kind: str, path: str) -> None:
    rng = np.random.default_rng(7)
    queries, documents = side(rng, [33, 4, 140], 96, kind), side(rng, AWKWARD, 96, kind, masked=0.2)
    for each in (queries, documents):
        each.scales_M = 2.0 ** rng.integers(-3, 4, len(each.rows_MD))  # exact: ties stay ties
    assert_right(queries, documents)
    queries.scales_M = None
    assert_right(queries, documents)


@BOTH
def test_thousands_of_rows_and_one_row_equal_numpy(path: str) -> None:
    rng = np.random.default_rng(8)
    assert_right(side(rng, [1], 16, "float16"), side(rng, [5000], 16, "float16"))
    assert_right(side(rng, [700], 16, "float16"), side(rng, [1], 16, "float16"))
    assert_right(side(rng, [1] * 150, 16, "int8"), side(rng, [1] * 70, 16, "int8"))


@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize("dim", [256, 300])
def test_tiles_fit_the_shared_memory_of_every_card(capability: int, dim: int) -> None:
    rng = np.random.default_rng(capability)
    library().emulator_device(capability, *emulated_cuda.CARD[1:])
    assert_right(side(rng, [150, 3], dim, "float16"), side(rng, [140, 2], dim, "float16"))


def test_nothing_at_all_is_no_error() -> None:
    rng = np.random.default_rng(9)
    some = side(rng, [3, 40], 8, "float16")
    for none in (side(rng, [], 8, "float16"), side(rng, [0, 0], 8, "float16")):
        assert_right(none, some)
        assert_right(some, none)
        assert_right(none, none)


@BOTH
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_smaller_scratch_gives_the_same_bits(kind: str, path: str) -> None:
    rng = np.random.default_rng(10)
    rows = [rng.normal(size=(n, 24)) for n in (470, 900)]
    queries, documents = Side(rows[0], [300, 0, 170], kind), Side(rows[1], [100, 0, 350, 50, 399, 1], kind)
    whole, winners = forward(queries, documents, winner_bytes=2)
    for limit in (0, 3 * 3 * 4 * 2, 3 * 3 * 4 * 5):
        part, places = forward(queries, documents, winner_bytes=2, scratch_bytes=limit)
        assert part.tobytes() == whole.tobytes()
        np.testing.assert_array_equal(places, winners)


@EACH
def test_a_pair_has_the_same_bits_in_any_company_and_any_order_of_warps(kind: str, path: str) -> None:
    rng = np.random.default_rng(11)
    lengths, others = [30, 150, 3, 64], [100, 20, 128, 7]
    queries, documents = (Side(rng.normal(size=(sum(n), 72)) * 4, n, kind) for n in (lengths, others))
    together, _ = forward(queries, documents)
    for seed in range(1, 5):
        assert forward(queries, documents, seed=seed)[0].tobytes() == together.tobytes()
    for i, (q, q_rows) in enumerate(zip(queries.begins or [], lengths, strict=True)):
        for n, (m, m_rows) in enumerate(zip(documents.begins or [], others, strict=True)):
            query = Side(queries.rows_MD[q : q + q_rows], [q_rows], kind)
            document = Side(documents.rows_MD[m : m + m_rows], [m_rows], kind)
            assert forward(query, document)[0][0, 0] == together[i, n]


@BOTH
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float8"])
def test_sums_err_by_at_most_their_rounding(kind: str, path: str) -> None:
    rng = np.random.default_rng(12)
    queries, documents = (Side(rng.normal(size=(n, 320)), [n], kind) for n in (100, 260))
    scores, _ = expected(queries, documents)
    found, _ = forward(queries, documents)
    most = np.abs(queries.values) @ np.abs(documents.values).T
    assert abs(found[0, 0] - scores[0, 0]) <= (320 + 100) * 2.0**-24 * most.max(axis=1).sum()


@BOTH
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float8"])
def test_a_nan_makes_the_score_nan_and_minus_infinity_stays(kind: str, path: str) -> None:
    rng = np.random.default_rng(13)
    queries, documents = side(rng, [70, 2], 16, kind), side(rng, [140, 20, 30], 16, kind)
    documents.rows_MD = documents.rows_MD.astype(float)
    documents.rows_MD[130, 5] = np.nan
    queries.rows_MD = np.abs(queries.rows_MD) + 1.0
    if kind != "float8":  # it has no infinity
        documents.rows_MD[140:160] = -np.inf
    queries.__post_init__()
    documents.__post_init__()
    with np.errstate(invalid="ignore"):
        scores, _ = expected(queries, documents)
    found, winners = forward(queries, documents, winner_bytes=4)
    np.testing.assert_array_equal(found, scores)
    assert winners is not None
    assert np.isnan(found[:, 0]).all() and (winners >= 0).all()
    assert ((winners[:, 0] < 140) & (winners[:, 1] < 20) & (winners[:, 2] < 30)).all()
    assert (kind == "float8") or (winners[:, 1] == 0).all()


def test_rows_of_nothing_but_minus_infinity_give_the_first_that_counts() -> None:
    documents = Side(np.full((300, 4), -np.inf), [150, 150], "float32", mask_M=np.arange(300) % 150 >= 140)
    found, winners = forward(Side(np.ones((3, 4)), [3], "float32"), documents, winner_bytes=2)
    assert np.isneginf(found).all()
    assert winners is not None and (winners == 140).all()


def test_fragments_are_read_without_bank_conflicts() -> None:
    rng = np.random.default_rng(14)
    before = library().emulator_fetches()
    assert_right(side(rng, [128], 200, "float16"), side(rng, [130], 200, "float16"))
    assert library().emulator_fetches() > before
    assert library().emulator_conflicts() == 0
