"""Ids: looked up one by one or together, what is found is the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flmr.index.ids import TOGETHER, encode_ids

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@given(
    stored=st.lists(TEXT, max_size=40),
    others=st.lists(TEXT, max_size=40),
    long=st.integers(0, 3),
    seed=st.integers(0, 9),
    all_alive=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_ids_that_are_looked_up_together_are_found_as_one_by_one(
    stored: list[str], others: list[str], long: int, seed: int, all_alive: bool
) -> None:
    stored = [*stored, *(("x" * 40_000 + str(i)) for i in range(long)), *stored[:5]]  # several rows may have one id
    ids = encode_ids(stored)
    alive = None if all_alive else np.random.default_rng(seed).random(len(stored)) < 0.5
    wanted = [
        *stored,
        *others,
        *(item_id + "\0" for item_id in stored[:3]),
        *(item_id[:-1] or "?" for item_id in stored),
    ]
    wanted += [f"filler {i}" for i in range(TOGETHER)]
    found = ids.find(wanted, alive)
    for item_id in wanted:
        rows = [row for row in ids.rows(item_id) if alive is None or alive[row]]
        assert rows == [
            row for row, stored_id in enumerate(stored) if stored_id == item_id and (alive is None or alive[row])
        ]
        assert found.get(item_id) == (rows[0] if rows else None)
        assert ids.find([item_id], alive).get(item_id) == (rows[0] if rows else None)


def test_looking_up_in_an_empty_segment_finds_nothing() -> None:
    assert encode_ids([]).find([str(i) for i in range(100)], None) == {}
