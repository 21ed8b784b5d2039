"""The search for the trellis's levels: the same seed gives the same table, and one that is worth searching for."""

from __future__ import annotations

import zlib

import numpy as np

from benchmarks.train_trellis import DIM, step, train, whole
from flmr.ops.trellis import trellis_levels


def test_the_same_seed_gives_the_same_table_on_any_machine_and_a_longer_search_a_better_one() -> None:
    found = [whole(train(1, starts=starts, rounds=4, seed=1, large=1024)) for starts in (1, 4)]
    assert [zlib.crc32(table.tobytes()) for table in found] == [1055201732, 1466885210]
    unseen_TD = np.random.default_rng(9).standard_normal((512, DIM), dtype=np.float32)
    errors = [step(unseen_TD, table, 1)[0] for table in (*found, trellis_levels(1))]
    assert errors[0] > errors[1] > errors[2]
