"""Feedback: what the believed passages share and others lack is added to the query, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from flmr.errors import InvalidInput
from flmr.hybrid import Feedback, expand
from flmr.records import MultiVectors

AXES = np.eye(6, dtype=np.float32)
COMMON, TOPIC, OTHER, ASKED = AXES[0], AXES[1], AXES[2], AXES[3]
BELIEVED = [np.stack([COMMON, TOPIC, ASKED]), np.stack([COMMON, TOPIC])]
OTHERS = MultiVectors.from_list([np.stack([COMMON, OTHER]), np.stack([COMMON, AXES[4]])])


def test_rare_centres_are_added_and_common_ones_are_not() -> None:
    expanded = expand(ASKED[None], BELIEVED, OTHERS, Feedback(clusters=3, rows=3, weight=0.5))
    np.testing.assert_array_equal(expanded[0], ASKED)
    added = {int(row.argmax()): float(row.max()) for row in expanded[1:]}
    assert added == {1: pytest.approx(0.5), 3: pytest.approx(0.5)}  # TOPIC and ASKED, of the query's length


def test_rarest_are_taken_first_and_as_many_as_asked() -> None:
    half_common = MultiVectors.from_list([np.stack([COMMON, ASKED]), COMMON[None]])
    expanded = expand(ASKED[None], BELIEVED, half_common, Feedback(clusters=3, rows=1))
    assert len(expanded) == 2 and expanded[1].argmax() == 1


def test_passages_of_common_rows_or_none_add_nothing() -> None:
    query = ASKED[None]
    np.testing.assert_array_equal(expand(query, [COMMON[None]], OTHERS, Feedback()), query)
    np.testing.assert_array_equal(expand(query, [np.zeros((0, 6), np.float32)], OTHERS, Feedback()), query)


def test_same_input_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(0)
    passages = [rng.standard_normal((40, 6)).astype(np.float32) for _ in range(3)]
    query = rng.standard_normal((5, 6)).astype(np.float32)
    first, second = (expand(query, passages, OTHERS, Feedback()) for _ in range(2))
    assert first.tobytes() == second.tobytes() and len(first) > 5


@pytest.mark.parametrize("wrong", [{"passages": 0}, {"clusters": 1.5}, {"rows": -1}, {"weight": float("nan")}])
def test_wrong_settings_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(wrong))} of feedback must be"):
        Feedback(**wrong)
