"""Small indexes with inverted lists, which only segments of millions of vectors get otherwise."""

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
