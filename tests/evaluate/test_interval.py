"""The interval of a rate."""

from __future__ import annotations

import pytest

from flmr.errors import InvalidInput
from flmr.evaluate.interval import wilson_interval


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (500, 1000, 0.4691, 0.5309)],
)
def test_wilson_interval_of_known_rates(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (2, 1), (-1, 3)])
def test_what_is_no_rate_is_refused(hits: int, trials: int) -> None:
    with pytest.raises(InvalidInput, match="is no rate"):
        wilson_interval(hits, trials)
