"""How sure a rate is.

Knows counts.  Knows no measure.
"""

from __future__ import annotations

import math

from flmr.errors import InvalidInput


def wilson_interval(num_hits: int, num_trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Bounds of a rate at 95% (z of the normal distribution): the score interval of Wilson (JASA 1927).

    Raises InvalidInput unless 0 <= num_hits <= num_trials and num_trials > 0.
    """
    if not 0 <= num_hits <= num_trials or num_trials == 0:
        raise InvalidInput(f"{num_hits} hits of {num_trials} trials is no rate")
    rate, weight = num_hits / num_trials, z * z / num_trials
    centre = (rate + weight / 2) / (1 + weight)
    half = z * math.sqrt(rate * (1 - rate) / num_trials + weight / (4 * num_trials)) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)
