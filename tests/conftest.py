"""What every test may use: the folder of shared data, or a skip with the reason, and a whole checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")
