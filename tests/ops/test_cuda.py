"""The CUDA library's interface from torch: what it is handed, what it refuses, and what is said where it cannot run."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

torch = pytest.importorskip("torch")

from flmr.errors import InvalidInput, NativeError  # noqa: E402
from flmr.ops import cuda, maxsim_torch, native  # noqa: E402
from flmr.ops.maxsim import maxsim, maxsim_pairs  # noqa: E402

NO_DEVICE = "no CUDA device, or no library for it: the kernels were not run on one"


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_cuda", lambda: None)


@pytest.fixture
def other_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any library that is not ours stands for one that was built from older sources."""
    monkeypatch.setattr(native, "_cuda", lambda: ctypes.CDLL(None))
    yield


def test_the_structures_are_those_of_the_header(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to ask for the header's layout")
    names = {"FlmrItems": cuda.CItems, "FlmrMaxsim": cuda.CMaxsim}
    lines = [
        f'printf("%zu ", offsetof(struct {name}, {field}));'
        for name, kind in names.items()
        for field, _ in kind._fields_
    ]
    lines += [f'printf("%zu ", sizeof(struct {name}));' for name in names]
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "api.h"\n' + f"int main() {{ {' '.join(lines)} return 0; }}"
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, "-I", ROOT / "csrc" / "cuda", source, "-o", program], check=True)
    found = [int(word) for word in subprocess.run([program], capture_output=True, check=True).stdout.split()]
    expected = [getattr(kind, field).offset for kind in names.values() for field, _ in kind._fields_]
    assert found == expected + [ctypes.sizeof(kind) for kind in names.values()]


def test_types_are_numbered_as_in_the_header() -> None:
    header = (ROOT / "csrc" / "cuda" / "api.h").read_text()
    names = {
        "FLMR_FLOAT32": torch.float32,
        "FLMR_FLOAT16": torch.float16,
        "FLMR_BFLOAT16": torch.bfloat16,
        "FLMR_INT8": torch.int8,
        "FLMR_FLOAT8_E4M3": torch.float8_e4m3fn,
    }
    assert cuda.TYPES.keys() == set(names.values())
    for name, dtype in names.items():
        assert f"{name} = {cuda.TYPES[dtype]}" in header


def test_every_function_that_is_called_is_in_the_header() -> None:
    header = (ROOT / "csrc" / "cuda" / "api.h").read_text()
    for name in (*cuda.NEEDED, "maxsim", "device_count", "error"):
        assert f"flmr_cuda_{name}(" in header


def test_items_are_handed_over_in_place_where_their_rows_lie_at_one_distance() -> None:
    wide = torch.randn(6, 5, 20)
    part = wide[..., 4:12]
    items = cuda.Items.padded(part)
    row = items.c()
    assert row.rows == part.data_ptr() and (row.count, row.dim, row.stride) == (30, 8, 20)
    assert (row.items, row.longest, row.begins, row.ends) == (6, 5, None, None)
    turned = cuda.Items.padded(wide.transpose(0, 1))
    assert turned.c().rows != wide.data_ptr() and torch.equal(turned.rows_TD.view(5, 6, 20), wide.transpose(0, 1))
    repeated = cuda.Items.padded(torch.randn(1, 1, 4).expand(3, 2, 4))
    assert repeated.c().stride == 4
    paired = cuda.Items.padded(torch.randn(2, 3, 5, 4), torch.ones(2, 3, 5, dtype=torch.bool))
    assert (paired.count, paired.longest) == (6, 5) and paired.c().mask == paired.mask_T.data_ptr()
    assert cuda.Items.padded(torch.empty(3, 0, 4)).c().count == 0
    with pytest.raises(InvalidInput, match=r"float32, float16, .* not torch\.float64; cast"):
        cuda.Items.padded(wide.double()).c()


def test_winners_take_two_bytes_while_documents_are_short_enough() -> None:
    for rows, dtype in ((32_767, torch.int16), (32_768, torch.int32)):
        assert cuda.winner_type(cuda.Items.padded(torch.empty(1, rows, 1))) == dtype


def test_what_keeps_the_kernels_from_running_is_one_line_with_its_remedy(no_library: None) -> None:
    assert "move the tensors with .cuda()" in str(cuda.why_not(torch.device("cpu")))
    line = cuda.why_not(torch.device("cuda", 0))
    assert line is not None and "FLMR_CUDA=ON python setup.py build_ext" in line and "\n" not in line
    with pytest.raises(NativeError, match="is not built"):
        native.cuda_function("maxsim_forward")


def test_a_library_from_older_sources_is_named_with_what_it_lacks(other_library: None) -> None:
    line = cuda.why_not(torch.device("cuda", 0))
    assert line is not None and "older than its Python side: it has no maxsim_scratch" in line


def test_without_a_device_an_explicit_wish_for_one_is_an_error_that_names_the_remedy() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(NativeError, match="device='cpu'"):
        cuda.the_device()


def test_tensors_on_a_card_without_the_library_are_multiplied_by_torch_with_a_warning_that_says_why(
    no_library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = maxsim(random(2, 3, 4), random(5, 6, 4))
    monkeypatch.setattr(cuda, "is_there", lambda tensor: True)
    monkeypatch.setattr(cuda, "why_not", lambda device: cuda._why_not(torch.device("cuda", 0), native._cuda()))
    with pytest.warns(UserWarning, match="torch's own product, which is slower: flmr's CUDA library is not built"):
        assert torch.equal(maxsim(random(2, 3, 4), random(5, 6, 4)), expected)


def test_memory_that_is_not_there_is_one_line_in_the_words_that_trainers_look_for() -> None:
    with (
        pytest.raises(NativeError, match=r"^CUDA out of memory\. .* make the batch smaller"),
        cuda.told_of_memory(torch.device("cuda", 0)),
    ):
        raise torch.OutOfMemoryError


@pytest.mark.skipif(
    not torch.cuda.is_available() or cuda.why_not(torch.device("cuda", 0)) is not None, reason=NO_DEVICE
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_device_scores_and_gradients_are_those_of_the_processor(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, documents = (torch.randn(*shape, 64, generator=generator).to(dtype) for shape in ((5, 40), (9, 70)))
    mask = torch.rand(9, 70, generator=generator) > 0.2
    results = []
    for device in ("cpu", "cuda"):
        sides = [tensor.to(device).requires_grad_() for tensor in (queries, documents)]
        scores = maxsim(*sides, document_mask=mask.to(device))
        results.append([scores.cpu(), *(of.cpu() for of in torch.autograd.grad(scores.sum(), sides))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_what_lies_in_the_processors_memory_stays_there() -> None:
    rows = torch.randn(2, 3, 4)
    assert not maxsim_torch._on_card(rows, rows)


HALF = {"rtol": 2e-2, "atol": 2e-2}  # both round a float32 gradient once, to 8 or 11 bits


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def masks(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """The first item of each keeps all its rows, the second none."""
    made = [torch.rand(*shape, generator=torch.Generator().manual_seed(1)) > 0.3 for shape in shapes]
    for mask in made:
        mask.view(-1, mask.shape[-1])[0], mask.view(-1, mask.shape[-1])[1] = True, False
    return made


def scores_and_gradients(score, queries: torch.Tensor, documents: torch.Tensor, **more: object) -> list[torch.Tensor]:
    """The scores, and the gradients of a loss that is NaN where a score is infinite."""
    sides = [of.detach().requires_grad_(of.dtype not in cuda.QUANTIZED) for of in (queries, documents)]
    scores = score(*sides, **more)
    if not scores.requires_grad:
        return [scores]
    weights = torch.where(scores.isfinite(), random(*scores.shape, seed=2), torch.nan)
    return [scores.detach(), *torch.autograd.grad(scores, sides, weights)]


def assert_as_on_the_processor(request: pytest.FixtureRequest, score, *sides: torch.Tensor, **more: object) -> None:
    expected = scores_and_gradients(score, *sides, **more)
    request.getfixturevalue("emulated_card")
    for found, wanted in zip(scores_and_gradients(score, *sides, **more), expected, strict=True):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(
            found, wanted, **({"rtol": 1e-5, "atol": 1e-4} if found.dtype == torch.float32 else HALF)
        )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_kernels_give_the_scores_and_gradients_of_torch(
    request: pytest.FixtureRequest, dtype: torch.dtype, paired: bool, masked: bool
) -> None:
    queries, documents = random(3, 35, 20, dtype=dtype), random(6, 40, 20, seed=3, dtype=dtype)
    more = dict(zip(("query_mask", "document_mask"), masks((3, 35), (6, 40)), strict=True)) if masked else {}
    if paired:
        documents = documents.view(3, 2, 40, 20)
        more = {name: mask.view(3, 2, 40) if name == "document_mask" else mask for name, mask in more.items()}
    assert_as_on_the_processor(request, maxsim_pairs if paired else maxsim, queries, documents, **more)


@pytest.mark.parametrize("shape", [(0, 5, 4, 7, 6), (3, 0, 4, 7, 6), (3, 5, 0, 7, 6), (3, 5, 4, 0, 6)])
def test_the_kernels_agree_on_empty_axes(request: pytest.FixtureRequest, shape: tuple[int, ...]) -> None:
    B, Lq, N, Ld, D = shape
    assert_as_on_the_processor(request, maxsim, random(B, Lq, D), random(N, Ld, D))


def test_the_kernels_read_strided_rows_and_two_types_at_once(request: pytest.FixtureRequest) -> None:
    wide = random(4, 9, 50)
    queries, documents = wide[..., 3:27], random(9, 5, 24, seed=4, dtype=torch.float16).transpose(0, 1)
    assert_as_on_the_processor(request, maxsim, queries, documents)


@pytest.mark.parametrize("dtype", cuda.QUANTIZED)
@pytest.mark.parametrize("scaled", [False, True])
def test_the_kernels_multiply_rows_of_one_byte(
    request: pytest.FixtureRequest, dtype: torch.dtype, scaled: bool
) -> None:
    queries, documents = (random(*shape, seed=5).mul(20).round().to(dtype) for shape in ((3, 9, 40), (5, 30, 40)))
    more = {"query_scales": random(3, 9), "document_scales": random(5, 30)} if scaled else {}
    assert_as_on_the_processor(request, maxsim, queries, documents, **more)


def test_a_compiled_graph_runs_the_kernels(emulated_card: None) -> None:
    queries, documents = random(3, 5, 8).requires_grad_(), random(4, 7, 8, seed=6).requires_grad_()

    def loss(queries, documents):
        return maxsim(queries, documents).log_softmax(dim=1)[:, 0].sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(queries, documents)
    found = torch.autograd.grad(compiled, [queries, documents])
    torch.testing.assert_close(found, torch.autograd.grad(loss(queries, documents), [queries, documents]))
    arguments = (queries, documents, None, None, None, None, True, None, 1000)
    torch.library.opcheck(torch.ops.flmr.maxsim.default, arguments)


def test_any_scratch_gives_the_same_bits_and_too_little_memory_takes_the_least(
    emulated_card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, documents = random(2, 300, 16), random(50, 9, 16, seed=7)
    asked: list[int] = []
    empty = torch.empty

    def scarce(*shape: object, **how: object) -> torch.Tensor:
        if how.get("dtype") == torch.uint8:
            asked.append(int(shape[0]))  # type: ignore[call-overload]
            if asked[-1] > 500:
                raise torch.OutOfMemoryError
        return empty(*shape, **how)

    whole = maxsim(queries, documents)
    monkeypatch.setattr(torch, "empty", scarce)
    assert torch.equal(maxsim(queries, documents), whole)
    assert len(asked) == 2 and asked[0] > 500 >= asked[1]
    asked.clear()
    assert torch.equal(maxsim(queries, documents, scratch_bytes=400), whole)
    assert len(asked) == 1 and asked[0] <= 400


def test_what_depends_on_the_device_is_asked_while_it_is_the_current_one(
    emulated_card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[torch.device] = []
    function = native.cuda_function
    asked: list[str] = []

    @contextlib.contextmanager
    def guard(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield None
        current.pop()

    def noted(op: str, *result: object) -> object:
        assert current, op
        asked.append(op)
        return function(op, *result)

    monkeypatch.setattr(cuda, "_stream_of", guard)
    monkeypatch.setattr(native, "cuda_function", noted)
    maxsim(random(2, 300, 8), random(3, 9, 8))
    cuda.assign(cuda.Items.whole(random(5, 8)), cuda.Items.whole(random(3, 8)), torch.zeros(3))
    assert asked == ["maxsim_scratch", "maxsim_forward", "assign_scratch", "assign"]


def test_gradients_are_added_in_a_fixed_order_where_torch_is_told_so(
    emulated_card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    backward = cuda.maxsim_backward
    monkeypatch.setattr(
        cuda, "maxsim_backward", lambda *of, **how: (told.append(how["deterministic"]), backward(*of, **how))[1]
    )
    found = []
    for wanted in (False, True):
        torch.use_deterministic_algorithms(wanted)
        try:
            found.append(scores_and_gradients(maxsim, random(3, 9, 8), random(4, 20, 8, seed=8)))
        finally:
            torch.use_deterministic_algorithms(False)
    assert told == [False, True]
    torch.testing.assert_close(*found)


def test_what_the_library_refuses_is_said_with_its_own_line(emulated_card: None) -> None:
    queries, documents = (cuda.Items.padded(random(2, 3, dim)) for dim in (8, 9))
    with pytest.raises(InvalidInput, match=r"^maxsim_forward: .*one D"):
        cuda.maxsim_forward(queries, documents)
    with pytest.raises(NativeError, match=r"^maxsim_forward failed on the CUDA device: .*: update the NVIDIA driver"):
        cuda._refuse("maxsim_forward", 35)
