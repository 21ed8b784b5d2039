"""MaxSim of tensors: scores, gradients, masks and memory against the plain formula and the published scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

torch = pytest.importorskip("torch")

from flmr.errors import InvalidInput  # noqa: E402
from flmr.ops.maxsim import maxsim, maxsim_pairs  # noqa: E402
from flmr.records import MultiVectors  # noqa: E402


def plain(queries, documents, query_mask=None, document_mask=None):
    """The formula, materialising everything."""
    similarities = torch.einsum("bqd,nkd->bnqk", queries, documents)
    if document_mask is not None:
        similarities = similarities.masked_fill(~document_mask[None, :, None, :], -torch.inf)
    best = similarities.max(dim=3).values
    if query_mask is not None:
        best = best.masked_fill(~query_mask[:, None, :], 0)
    return best.sum(dim=2)


def sample(seed=0, shape=(3, 5, 4, 7, 6), dtype=torch.float32):
    """Queries, documents and masks where every item keeps at least one row."""
    B, Lq, N, Ld, D = shape
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(B, Lq, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    documents = torch.randn(N, Ld, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    query_mask = torch.rand(B, Lq, generator=generator) > 0.3
    document_mask = torch.rand(N, Ld, generator=generator) > 0.3
    query_mask[:, 0] = document_mask[:, -1] = True
    return queries, documents, query_mask, document_mask


@pytest.mark.parametrize("scratch_bytes", [1, 1000, 1 << 28])
@pytest.mark.parametrize("masked", [False, True])
def test_scores_and_gradients_equal_the_plain_formula_in_any_chunks(scratch_bytes: int, masked: bool) -> None:
    queries, documents, *masks = sample()
    masks = masks if masked else [None, None]
    weights = torch.randn(3, 4)
    ours = maxsim(queries, documents, query_mask=masks[0], document_mask=masks[1], scratch_bytes=scratch_bytes)
    theirs = plain(queries, documents, *masks)
    torch.testing.assert_close(ours, theirs)
    found = torch.autograd.grad((ours * weights).sum(), [queries, documents])
    expected = torch.autograd.grad((theirs * weights).sum(), [queries, documents])
    torch.testing.assert_close(found, expected)


def test_gradcheck_in_double() -> None:
    queries, documents, query_mask, document_mask = sample(1, (2, 3, 3, 4, 5), torch.float64)
    assert torch.autograd.gradcheck(
        lambda q, d: maxsim(q, d, query_mask=query_mask, document_mask=document_mask), (queries, documents)
    )
    own = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, d: maxsim_pairs(q, d, query_mask=query_mask), (queries, own))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype) -> None:
    queries, documents, *_ = sample(2, (2, 64, 3, 50, 32), dtype)
    scores = maxsim(queries, documents)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, plain(queries.float(), documents.float()))
    scores.sum().backward()
    assert queries.grad.dtype == documents.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_half_precision_are_those_of_float32_rounded_once(dtype) -> None:
    queries, documents, *masks = sample(9, (3, 20, 4, 30, 32), dtype)
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(9))
    ours = maxsim(queries, documents, query_mask=masks[0], document_mask=masks[1])
    found = torch.autograd.grad((ours * weights).sum(), [queries, documents])
    wide = [tensor.detach().float().requires_grad_() for tensor in (queries, documents)]
    expected = torch.autograd.grad((plain(*wide, *masks) * weights).sum(), wide)
    for gradient, exact in zip(found, expected, strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient, exact.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_autocast_keeps_scores_within_its_rounding_and_gradients_of_the_rows_that_won() -> None:
    queries, documents, *_ = sample(10, (2, 16, 3, 20, 32))
    with torch.autocast("cpu", torch.bfloat16):
        scores = maxsim(queries, documents)
    exact = plain(queries, documents)
    assert scores.dtype == torch.float32
    largest = torch.einsum("bqd,nkd->bnqk", queries.abs(), documents.abs()).max()
    assert (scores - exact).abs().max() <= 16 * 3 * 2**-9 * largest  # two roundings of inputs, one of the product
    assert not torch.equal(scores, exact)
    scores.sum().backward()
    assert queries.grad.dtype == torch.float32 and torch.isfinite(queries.grad).all()


@pytest.mark.parametrize("scratch_bytes", [1, 1 << 28])
def test_of_equal_rows_one_takes_the_whole_gradient(scratch_bytes: int) -> None:
    queries, documents, *_ = sample(11, (3, 5, 4, 8, 6), torch.float64)
    with torch.no_grad():
        documents[:, 4:] = documents[:, :4]  # every row twice
    scores = maxsim(queries, documents, scratch_bytes=scratch_bytes)
    found = torch.autograd.grad(scores.sum(), [queries, documents])
    expected = torch.autograd.grad(plain(queries, documents).sum(), [queries, documents])
    torch.testing.assert_close(found[0], expected[0])
    # Which of two equal rows wins is free; one takes it all, and the two together what the plain formula gives the two.
    torch.testing.assert_close(found[1][:, :4] + found[1][:, 4:], expected[1][:, :4] + expected[1][:, 4:])
    assert ((found[1][:, :4] == 0) | (found[1][:, 4:] == 0)).all() and (found[1] != 0).any()


def test_tensors_and_multivectors_give_the_same_scores() -> None:
    queries, documents, query_mask, document_mask = sample(3)
    query_items = [q[m].detach().numpy() for q, m in zip(queries, query_mask, strict=True)]
    document_items = [d[m].detach().numpy() for d, m in zip(documents, document_mask, strict=True)]
    native = maxsim(MultiVectors.from_list(query_items), MultiVectors.from_list(document_items))
    scores = maxsim(queries, documents, query_mask=query_mask, document_mask=document_mask)
    torch.testing.assert_close(scores.detach(), torch.from_numpy(native))


def test_document_without_rows_scores_minus_infinity_and_passes_no_gradient() -> None:
    queries, documents, query_mask, document_mask = sample(4)
    document_mask[2] = False
    scores = maxsim(queries, documents, query_mask=query_mask, document_mask=document_mask)
    assert torch.isneginf(scores[:, 2]).all() and torch.isfinite(scores[:, [0, 1, 3]]).all()
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 3]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(queries.grad).all() and torch.isfinite(documents.grad).all()
    assert (documents.grad[2] == 0).all()


def test_query_without_rows_scores_zero() -> None:
    queries, documents, query_mask, _ = sample(5)
    query_mask[1] = False
    scores = maxsim(queries, documents, query_mask=query_mask)
    assert (scores[1] == 0).all()
    scores.sum().backward()
    assert (queries.grad[1] == 0).all()


@pytest.mark.parametrize("shape", [(0, 5, 4, 7, 6), (3, 0, 4, 7, 6), (3, 5, 0, 7, 6), (3, 5, 4, 0, 6)])
def test_empty_axes_give_the_right_shape_and_gradients_of_zero(shape: tuple[int, ...]) -> None:
    B, Lq, N, Ld, D = shape
    queries = torch.zeros(B, Lq, D, requires_grad=True)
    documents = torch.zeros(N, Ld, D, requires_grad=True)
    scores = maxsim(queries, documents)
    assert scores.shape == (B, N)
    assert torch.isneginf(scores).all() if Ld == 0 else (scores == 0).all()
    torch.where(torch.isfinite(scores), scores, 0).sum().backward()
    assert (queries.grad == 0).all() and (documents.grad == 0).all()


def test_pairs_equal_each_query_with_its_own_documents() -> None:
    queries, _, query_mask, _ = sample(6)
    documents = torch.randn(3, 2, 7, 6, requires_grad=True)
    document_mask = torch.rand(3, 2, 7) > 0.3
    document_mask[..., 0] = True
    scores = maxsim_pairs(queries, documents, query_mask=query_mask, document_mask=document_mask)
    rows = [
        plain(queries[b : b + 1], documents[b], query_mask[b : b + 1], document_mask[b]) for b in range(len(queries))
    ]
    torch.testing.assert_close(scores, torch.cat(rows))
    found = torch.autograd.grad(scores.sum(), [queries, documents])
    torch.testing.assert_close(found, torch.autograd.grad(torch.cat(rows).sum(), [queries, documents]))


def test_single_items_and_strided_tensors_are_accepted() -> None:
    queries, documents, query_mask, _ = sample(7)
    expected = plain(queries, documents, query_mask)
    single = maxsim(queries[0], documents[1], query_mask=query_mask[0])
    torch.testing.assert_close(single, expected[:1, 1:2])
    strided = documents.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(maxsim(queries, strided, query_mask=query_mask), expected)


@pytest.mark.parametrize("scratch_bytes", [1, 1 << 28])
@pytest.mark.parametrize("winners", [True, False])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_operators_are_what_torch_asks_of_operators(
    masked: bool, paired: bool, winners: bool, scratch_bytes: int
) -> None:
    queries, documents, query_mask, document_mask = sample(12, (2, 3, 4, 5, 6))
    if paired:
        documents = documents.detach().view(2, 2, 5, 6).requires_grad_()
        document_mask = document_mask.view(2, 2, 5)
    masks = (query_mask, document_mask) if masked else (None, None)
    arguments = (queries, documents, *masks, None, None, winners, None, scratch_bytes)
    torch.library.opcheck(torch.ops.flmr.maxsim.default, arguments)
    saved = (queries.detach(), documents.detach(), *masks)
    scores, rows = torch.ops.flmr.maxsim(*saved, None, None, True, None, scratch_bytes)
    for needed in ((True, True), (True, False), (False, False)):
        given = (torch.ones_like(scores), *saved, rows, *needed, False, scratch_bytes)
        torch.library.opcheck(torch.ops.flmr.maxsim_backward.default, given)


@pytest.mark.parametrize("shape", [(0, 5, 4, 7, 6), (3, 0, 4, 7, 6), (3, 5, 0, 7, 6), (3, 5, 4, 0, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_operators_say_of_empty_axes_what_they_do(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    B, Lq, N, Ld, D = shape
    arguments = (torch.zeros(B, Lq, D, dtype=dtype), torch.zeros(N, Ld, D, dtype=dtype), None, None)
    torch.library.opcheck(torch.ops.flmr.maxsim.default, (*arguments, None, None, True, None, 1000))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_a_compiled_graph_is_one_and_gives_the_same_scores_and_gradients(masked: bool, paired: bool) -> None:
    def loss(queries, documents, query_mask, document_mask):
        if paired:
            documents = documents.unflatten(0, (len(queries), -1))
            document_mask = None if document_mask is None else document_mask.unflatten(0, (len(queries), -1))
        score = maxsim_pairs if paired else maxsim
        scores = score(queries, documents, query_mask=query_mask, document_mask=document_mask)
        return -scores.log_softmax(dim=1)[:, 0].mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for seed, shape in enumerate([(3, 5, 6, 7, 6), (2, 4, 8, 9, 6)]):  # the second with sizes that were not seen
        queries, documents, *masks = sample(seed, shape)
        masks = masks if masked else [None, None]
        value, expected = compiled(queries, documents, *masks), loss(queries, documents, *masks)
        torch.testing.assert_close(value, expected)
        found = torch.autograd.grad(value, [queries, documents])
        torch.testing.assert_close(found, torch.autograd.grad(expected, [queries, documents]))


def test_a_compiled_graph_rounds_as_the_autocast_inside_it_says() -> None:
    queries, documents, *_ = sample(13, (2, 16, 3, 20, 32))

    def scores(queries, documents):
        with torch.autocast("cpu", torch.bfloat16):
            return maxsim(queries, documents)

    compiled = torch.compile(scores, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(queries, documents), scores(queries, documents), rtol=0, atol=0)
    assert not torch.equal(scores(queries, documents), maxsim(queries, documents))


def test_scores_without_winners_can_still_be_differentiated_by_making_them_again() -> None:
    queries, documents, *masks = sample(14)
    scores, winners = torch.ops.flmr.maxsim(queries, documents, *masks, None, None, False, None, 1000)
    assert winners.numel() == 0
    found = torch.autograd.grad(scores.sum(), [queries, documents])
    expected = maxsim(queries, documents, query_mask=masks[0], document_mask=masks[1])
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), [queries, documents]))


def test_winners_are_kept_only_for_a_gradient() -> None:
    queries, documents, *_ = sample(15)
    with torch.no_grad():
        assert maxsim(queries, documents).grad_fn is None
    kept = maxsim(queries, documents).grad_fn.saved_tensors[-1]
    assert kept.shape == (15, 4) and kept.dtype == torch.int16
    none = torch.ops.flmr.maxsim(queries.detach(), documents.detach(), None, None, None, None, False, None, 1000)[1]
    assert none.shape == (0, 4)


def rounded(tensor, dtype):
    """Rows as small numbers and a scale each: tensor is about values * scales."""
    most = 127 if dtype == torch.int8 else 448
    scales = tensor.abs().amax(-1) / most
    values = tensor / scales[..., None]
    return (values.round() if dtype == torch.int8 else values).to(dtype), scales


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_rows_of_one_byte_score_as_what_they_stand_for(dtype: torch.dtype, paired: bool) -> None:
    queries, documents, query_mask, document_mask = sample(16, (3, 9, 6, 11, 40))
    (q, q_scales), (d, d_scales) = rounded(queries.detach(), dtype), rounded(documents.detach(), dtype)
    wide = q.float() * q_scales[..., None], d.float() * d_scales[..., None]
    masks = {"query_mask": query_mask, "document_mask": document_mask}
    scales = {"query_scales": q_scales, "document_scales": d_scales}
    score = maxsim
    if paired:
        score, d, wide = maxsim_pairs, d.view(3, 2, 11, 40), (wide[0], wide[1].view(3, 2, 11, 40))
        masks["document_mask"], scales["document_scales"] = document_mask.view(3, 2, 11), d_scales.view(3, 2, 11)
    expected = score(q, d, **scales, **masks)
    torch.testing.assert_close(expected, score(*wide, **masks))
    torch.testing.assert_close(score(q, d), score(q.float(), d.float()))
    with torch.autocast("cpu", torch.bfloat16):  # these are rounded already
        assert torch.equal(score(q, d, **scales, **masks), expected)


def test_rows_of_one_byte_are_refused_where_they_make_no_sense() -> None:
    queries, documents, *_ = sample(17)
    q, scales = rounded(queries.detach(), torch.int8)
    d = documents.detach().to(torch.float8_e4m3fn)
    with pytest.raises(InvalidInput, match="one type"):
        maxsim(q, documents)
    with pytest.raises(InvalidInput, match="one type"):
        maxsim(q, d)
    with pytest.raises(InvalidInput, match="scales are for int8"):
        maxsim(queries, documents, query_scales=scales)
    with pytest.raises(InvalidInput, match="scales of queries must have shape"):
        maxsim(q, q, query_scales=scales[0])
    with pytest.raises(InvalidInput, match=r"must be torch\.float32"):
        maxsim(q, q, query_scales=scales.double())
    with pytest.raises(InvalidInput, match="no gradient"):
        maxsim(d.requires_grad_(), d)


def test_a_gradient_of_a_gradient_is_refused() -> None:
    queries, documents, *_ = sample(18)
    (gradient,) = torch.autograd.grad(maxsim(queries, documents).square().sum(), queries, create_graph=True)
    with pytest.raises(RuntimeError, match="maxsim_backward"):
        gradient.sum().backward()


def test_torch_is_imported_only_with_the_first_tensor() -> None:
    code = "import sys, flmr, flmr.index, flmr.ops.maxsim; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0


def test_wrong_tensors_are_named() -> None:
    queries, documents, query_mask, _ = sample(8)
    with pytest.raises(InvalidInput, match="D"):
        maxsim(queries, documents[..., :3])
    with pytest.raises(InvalidInput, match="bool"):
        maxsim(queries, documents, query_mask=query_mask.long())
    with pytest.raises(InvalidInput, match="shape"):
        maxsim(queries, documents, document_mask=query_mask)
    with pytest.raises(InvalidInput, match="floating"):
        maxsim(queries.long(), documents)
    with pytest.raises(InvalidInput, match="precision"):
        maxsim(queries, documents, precision="bfloat16")
    with pytest.raises(InvalidInput, match=r"where they lie, on cpu; move them with \.cuda\(\)"):
        maxsim(queries, documents, device="cuda")
    with pytest.raises(InvalidInput, match=r"\(B, n, Ld, D\)"):
        maxsim_pairs(queries, documents)


def test_memory_stays_bounded_however_many_similarities_there_are() -> None:
    code = """
import resource, torch
from flmr.ops.maxsim import maxsim
torch.set_num_threads(1)
q, d = torch.randn(8, 64, 16, requires_grad=True), torch.randn(256, 512, 16, requires_grad=True)
maxsim(q[:1], d[:1]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
maxsim(q, d, scratch_bytes=16 << 20).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 130  # MB; the similarities alone would be 256


def golden(shared: Path) -> tuple[dict, dict]:
    load_file = pytest.importorskip("safetensors.torch").load_file
    folder = shared / "golden" / "maxsim"
    return load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")


def test_published_scores_losses_and_gradients_are_reproduced(shared: Path) -> None:
    inputs, expected = golden(shared)
    queries, documents = inputs["Q"].requires_grad_(), inputs["D"].requires_grad_()
    mask = inputs["D_mask"].squeeze(2)
    scores = maxsim(queries, documents, document_mask=mask)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(scores, expected["score_matrix"], **close)
    pairs = maxsim_pairs(queries, documents.view(3, 2, 10, 8), document_mask=mask.view(3, 2, 10))
    torch.testing.assert_close(pairs, expected["scores"], **close)
    loss = torch.nn.functional.cross_entropy(scores, torch.arange(3) * 2)
    torch.testing.assert_close(loss, expected["loss_in_batch"], **close)
    grouped = torch.nn.functional.cross_entropy(pairs, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(grouped, expected["loss_grouped"], **close)
    grad_q, grad_d = torch.autograd.grad(loss, [queries, documents])
    torch.testing.assert_close(grad_q, expected["grad_Q"], **close)
    torch.testing.assert_close(grad_d, expected["grad_D"], **close)


def test_published_empty_document_differs_only_in_its_own_column(shared: Path) -> None:
    inputs, expected = golden(shared)
    scores = maxsim(inputs["Q"], inputs["D"], document_mask=inputs["D_mask_with_empty_doc"].squeeze(2))
    published = expected["score_matrix_with_empty_doc"]
    others = [0, 1, 2, 4, 5]
    torch.testing.assert_close(scores[:, others], published[:, others], atol=2e-5, rtol=1e-4)
    assert torch.isneginf(scores[:, 3]).all()  # where the published code has -9999 a query row
