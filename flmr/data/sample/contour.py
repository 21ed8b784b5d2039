"""Level lines of a function on a grid, by marching squares.

Knows grids and polylines.  Knows nothing of figures' meaning.  Used for implicit curves and Julia sets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# For each of the 16 corner patterns (bits: lower left, lower right, upper right, upper left), the cell edges
# (0 bottom, 1 right, 2 top, 3 left) that the line joins; the two saddles are split one fixed way.
SEGMENTS: tuple[tuple[tuple[int, int], ...], ...] = (
    (),
    ((3, 0),),
    ((0, 1),),
    ((3, 1),),
    ((1, 2),),
    ((3, 0), (1, 2)),
    ((0, 2),),
    ((3, 2),),
    ((2, 3),),
    ((2, 0),),
    ((0, 1), (2, 3)),
    ((2, 1),),
    ((1, 3),),
    ((1, 0),),
    ((0, 3),),
    (),
)


def contour(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    box: tuple[float, float, float, float],
    num: int = 301,
) -> tuple[np.ndarray, ...]:
    """The lines where function(x, y) changes sign inside box (left, right, bottom, top), longest first."""
    x = np.linspace(box[0], box[1], num)
    y = np.linspace(box[2], box[3], num)
    values = function(x[None, :], y[:, None])
    values = np.where(values == 0, 1e-12, values)
    links: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    inside = values > 0
    pattern = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    for row, col in np.argwhere((pattern > 0) & (pattern < 15)):
        for a, b in SEGMENTS[pattern[row, col]]:
            first, second = _edge(int(row), int(col), a), _edge(int(row), int(col), b)
            links.setdefault(first, []).append(second)
            links.setdefault(second, []).append(first)
    lines = [_points(chain, values, x, y) for chain in _chains(links)]
    return tuple(sorted(lines, key=len, reverse=True))


def _edge(row: int, col: int, side: int) -> tuple[int, int, int]:
    """A grid edge's own name, the same from both cells that share it: (row, col, 0 horizontal | 1 vertical)."""
    return ((row, col, 0), (row, col + 1, 1), (row + 1, col, 0), (row, col, 1))[side]


def _chains(links: dict[tuple[int, int, int], list[tuple[int, int, int]]]) -> list[list[tuple[int, int, int]]]:
    """Join the links end to end; open chains are walked from an end, closed ones return to their start."""
    chains = []
    unused = {edge: list(others) for edge, others in links.items()}
    starts = [e for e, o in links.items() if len(o) == 1] + list(links)
    for start in starts:
        if not unused[start]:
            continue
        chain = [start]
        while unused[chain[-1]]:
            here = chain[-1]
            there = unused[here].pop()
            unused[there].remove(here)
            chain.append(there)
        chains.append(chain)
    return chains


def _points(chain: list[tuple[int, int, int]], values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    points = np.empty((len(chain), 2))
    for i, (row, col, upright) in enumerate(chain):
        other = (row + 1, col) if upright else (row, col + 1)
        a, b = values[row, col], values[other]
        t = a / (a - b)
        points[i] = x[col] + t * (x[other[1]] - x[col]), y[row] + t * (y[other[0]] - y[row])
    return points
