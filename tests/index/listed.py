"""Small indexes with all that only large ones have otherwise: inverted lists, sketches, a measured plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from flmr.index.segment_writer import Settings


@contextmanager
def lists_from(vectors: int) -> Iterator[None]:
    """Within it, segments of so many vectors are written with lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flmr.index.writer.Settings", partial(Settings, lists_from=vectors))
        yield


@contextmanager
def as_if_large() -> Iterator[None]:
    """Within it, indexes are written as if they were large: with lists, with sketches, with a plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flmr.index.writer.Settings", partial(Settings, lists_from=1, sketches_from=0))
        patch.setattr("flmr.index.writer.SCAN_VECTORS", 0)
        patch.setattr("flmr.index.calibrate.LEAST_ITEMS", 1)
        yield
