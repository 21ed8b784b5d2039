"""What every test may use: the folder of shared data, or a skip with the reason, and a whole checkpoint."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tiny_checkpoint import write_tiny_checkpoint

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """The folder of golden tensors and real data: $FLMR_SHARED, or ../shared beside the repository."""
    folder = Path(os.environ.get("FLMR_SHARED", ROOT.parent / "shared"))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("shared data not found: set FLMR_SHARED or put it in ../shared")
    return folder


@pytest.fixture
def emulated_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors in the processor's memory go the way of a CUDA device's, to the kernels as the emulator runs them."""
    torch = pytest.importorskip("torch")
    emulated_cuda = pytest.importorskip("emulated_cuda")
    from flmr.ops import cuda, native

    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler: the CUDA kernels cannot be built for the processor")
    library = ctypes.CDLL(str(emulated_cuda.build()))
    library.emulator_device.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t]
    library.emulator_device(*emulated_cuda.CARD)
    monkeypatch.setattr(native, "_cuda", lambda: library)
    monkeypatch.setattr(cuda, "is_there", lambda tensor: tensor.device.type == "cpu")
    monkeypatch.setattr(cuda, "why_not", lambda device: None)
    monkeypatch.setattr(cuda, "the_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(cuda, "free_bytes", lambda device: 1 << 30)


@pytest.fixture(params=["emulated", "real"])
def card(request: pytest.FixtureRequest) -> Any:
    """The device whose memory is a card's: the processor for the emulated card; a real one where there is one."""
    torch = pytest.importorskip("torch")
    from flmr.ops import cuda

    if request.param == "emulated":
        request.getfixturevalue("emulated_card")
        return torch.device("cpu")
    device = torch.device("cuda", 0)
    if not torch.cuda.is_available() or cuda.why_not(device) is not None:
        pytest.skip("there is no CUDA device that the kernels run on")
    return device


@pytest.fixture
def sent_rows(card: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each array had that was sent to the card and may be vectors, of which none is int8."""
    from flmr.ops import cuda

    rows: list[int] = []
    send = cuda.sent

    def counted(array: Any, *where: Any) -> Any:
        if array.ndim == 2 and array.dtype.kind == "f":
            rows.append(len(array))
        return send(array, *where)

    monkeypatch.setattr(cuda, "sent", counted)
    return rows


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")
