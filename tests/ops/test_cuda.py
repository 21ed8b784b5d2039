"""The CUDA library's interface from torch: what it is handed, what it refuses, and what is said where it cannot run."""

from __future__ import annotations

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
from flmr.ops.maxsim import maxsim  # noqa: E402

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


def test_memory_that_is_not_there_is_one_line_in_the_words_that_trainers_look_for() -> None:
    with (
        pytest.raises(NativeError, match=r"^CUDA out of memory\. .* make the batch smaller"),
        cuda._told_of_memory(torch.device("cuda", 0)),
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


def test_the_kernels_are_used_only_for_what_they_are_made_for() -> None:
    rows = torch.randn(2, 3, 4)
    assert not maxsim_torch._on_card(rows, rows)
