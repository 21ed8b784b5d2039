"""Which items are worth scoring for a query: all are ranked by their means, the best by codes, the best of those
estimated, and a few dozen are left.

Knows parts of segments, the ways in which a query scores them and how many of each a plan asks for.  Knows nothing of
filters, ids or hits.
"""

from __future__ import annotations

import numpy as np

from flmr.index.scoring import Part, Query, Scored
from flmr.index.settings import Plan
from flmr.ops.topk import best_rows


def finalists(query: Query, parts: list[Part], chosen: Plan, usual_lost: float) -> list[Part]:
    """The items that are worth scoring; usual_lost: what merging loses of the sample queries.

    Where the best of them were found far down by means or by rough scores, more are looked at.
    """
    items = sum(part.items for part in parts)
    likely = _probed(query, parts, chosen)
    known = query.likeness > 0
    lost = query.lost(parts) / usual_lost if known else 1.0
    kept = chosen.kept(items, known=known, lost=lost)
    wanted = chosen.candidates(items, query.rows(parts), known=known, lost=lost)
    estimated: list[Scored] = []
    while True:
        near = candidates = likely
        by_means: list[Scored] = []
        by_rough: list[Scored] = []
        if sum(part.items for part in likely) > kept:
            by_means = _best([query.by_means(part) for part in likely], kept)
            near = candidates = [entry.part for entry in by_means]
        if sum(part.items for part in near) > wanted:
            by_rough = _best([query.rough(part) for part in near], wanted)
            candidates = [entry.part for entry in by_rough]
        estimated = _estimate(query, candidates, estimated)
        if not (known and chosen.widens):
            break
        best = _best(estimated, chosen.k)
        more_near = bool(by_means) and chosen.too_deep(_deep(best, by_means, chosen.safely(kept)))
        more_candidates = bool(by_rough) and chosen.too_deep(_deep(best, by_rough, chosen.safely(wanted)))
        if not (more_near or more_candidates):
            break
        kept, wanted = kept * (1 + more_near), wanted * (1 + more_candidates)
    count = chosen.scored(items, vectors=any(part.view.segment.has_vectors for part in parts), lost=lost)
    return [entry.part for entry in _best(estimated, count)]


def _probed(query: Query, parts: list[Part], chosen: Plan) -> list[Part]:
    """What the plan's lists hold, all where it names none."""
    if chosen.nprobe is None:
        return parts
    found = [query.probe(part, chosen.nprobe) for part in parts]
    enough = min(chosen.k, sum(part.filled for part in parts))
    return found if sum(part.filled for part in found) >= enough else parts  # the lists that were probed held too few


def _estimate(query: Query, parts: list[Part], before: list[Scored]) -> list[Scored]:
    """Estimates of these items and of those that have theirs already."""
    estimated = {entry.part.view.segment.name: entry for entry in before}
    for part in parts:
        name = part.view.segment.name
        if name not in estimated:
            estimated[name] = query.estimate(part)
            continue
        old, old_rows = estimated[name], estimated[name].part.all_rows()
        new_rows = np.setdiff1d(part.all_rows(), old_rows, assume_unique=True)
        new = query.estimate(Part(part.view, new_rows))
        rows = np.concatenate([old_rows, new_rows])
        order = np.argsort(rows)
        scores = np.concatenate([old.scores, new.scores])[order]
        estimated[name] = Scored(Part(part.view, rows[order]), scores)
    return list(estimated.values())


def _best(scored: list[Scored], count: int) -> list[Scored]:
    """The best items over all segments, rows ascending; segments that have none are left out."""
    if not scored:
        return []
    if len(scored) == 1:
        shares = [best_rows(scored[0].scores, count)]
    else:
        ends = np.cumsum([len(entry.scores) for entry in scored])
        best = best_rows(np.concatenate([entry.scores for entry in scored]), count)
        starts = np.concatenate(([0], ends[:-1])).astype(np.uint32)
        shares = [
            rows - start for rows, start in zip(np.split(best, np.searchsorted(best, ends[:-1])), starts, strict=True)
        ]
    found = []
    for entry, places in zip(scored, shares, strict=True):
        if len(places):
            rows = places if entry.part.rows is None else entry.part.rows[places]
            found.append(Scored(Part(entry.part.view, rows), entry.scores[places]))
    return found


def _deep(items: list[Scored], ranked: list[Scored], safe: int) -> int:
    """How many of these items are not among the first `safe` of those that were ranked."""
    scores = [entry.scores for entry in ranked]
    scores_N = scores[0] if len(scores) == 1 else np.concatenate(scores)
    if len(scores_N) <= safe:
        return 0
    least = np.partition(scores_N, len(scores_N) - safe)[len(scores_N) - safe]
    by_name = {entry.part.view.segment.name: entry for entry in ranked}
    deep = 0
    for entry in items:
        wanted, known = entry.part.all_rows(), by_name.get(entry.part.view.segment.name)
        if known is None:
            deep += len(wanted)
            continue
        rows = known.part.all_rows()
        places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
        deep += int(np.count_nonzero((rows[places] != wanted) | (known.scores[places] < least)))
    return deep
