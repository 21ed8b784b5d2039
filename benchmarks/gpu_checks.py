"""Is every kernel right?  The cases of gpu_cases, a path and group at a time, before anything is timed.

Knows how a case is tried and what is said of those that fail.  Knows no case.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.gpu_cases import GROUPS, Case
from benchmarks.gpu_engines import choose_path
from benchmarks.gpu_rows import OURS, Row
from benchmarks.gpu_run import Run, reason_of
from benchmarks.search_rows import digits
from flmr import __version__

NAMED = 5  # failures that a row names


def checks(run: Run) -> None:
    """A row for each path and group: how many of its cases passed, and which did not."""
    for path in run.paths:
        for group, cases in GROUPS.items():
            work = f"check {group}, {path}"
            if run.wanted(work):
                kept = [case for case in cases() if not (run.tiny and case.large)]
                run_group(run, path, work, kept[:: run.thin])


def run_group(run: Run, path: str, work: str, cases: Sequence[Case]) -> None:
    """The cases of a group on one path; one that brings the process down is a failure in the next process's row."""
    failed, worst, tried = [], 0.0, 0
    for case in cases:
        if (work, case.name) in run.past:
            problem = run.past[work, case.name]
        elif not run.begins(work, case.name):
            break
        else:
            ratio, problem = tried_case(case, path, run.device)
            worst = max(worst, ratio)
        tried += 1
        failed += [f"{case.name}: {problem}"] if problem else []
    note = f"FAILED {len(failed)}: {'; '.join(failed[:NAMED])}" if failed else "all passed"
    note += f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    note += f"; {len(cases) - tried} not reached" if tried < len(cases) else ""
    passed = tried - len(failed)
    counts = {"repeats": tried, "median": passed, "least": passed, "most": len(cases)}
    run.row(Row(work, OURS + path, "cases", __version__, **counts, error=digits(worst), allowed=1.0, note=note))
    run.done(work)


def tried_case(case: Case, path: str, device: torch.device) -> tuple[float, str]:
    """The error as a share of what is allowed, and what is wrong, empty where nothing is."""
    try:
        choose_path(path)
        poison(device)
        error, allowed = case.check(device)
    except Exception as problem:  # what a case raises is its failure
        return 0.0, reason_of(problem, device)
    if not error <= allowed:
        return 0.0, f"error {error:.3g}, allowed {allowed:.3g}"
    return error / allowed if allowed else 0.0, ""


def poison(device: torch.device) -> None:
    """Fill what torch hands out next with NaN, so that a result that is not written is no result of an earlier call."""
    if device.type == "cuda":
        held = [torch.full((1 << size,), -1, dtype=torch.int32, device=device) for size in range(7, 24)]
        del held
