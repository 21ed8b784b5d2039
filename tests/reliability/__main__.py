"""The long runs: `python -m reliability CAMPAIGN`, from the folder tests; one JSON of figures each.

Knows the campaigns and their sizes.  Ends with status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from reliability import damage, hostile, kills, memory, random_operations, readers

CAMPAIGNS: Mapping[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "damage": (damage.campaign, "bits flipped, ends cut off: refused at open or reported by verify"),
    "kills": (kills.campaign, "kill -9 while writing, reopened by another process"),
    "operations": (random_operations.campaign, "random operations against a dict and brute force"),
    "readers": (readers.campaign, "32 readers while a writer writes and is killed"),
    "memory": (memory.campaign, "an index of --count MB searched in a quarter of it, and by eight processes at once"),
    "hostile": (hostile.campaign, "right checksums, wrong contents: refused or answered, never a crash"),
}


def main() -> int:
    """Run one campaign."""
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    names = parser.add_subparsers(dest="campaign", required=True)
    for name, (_, help_text) in CAMPAIGNS.items():
        options = names.add_parser(name, help=help_text)
        options.add_argument("--seconds", type=float)
        options.add_argument("--count", type=int)
        options.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.seconds is None and given.count is None:
        parser.error("say how long or how many: --seconds or --count")
    figures = CAMPAIGNS[given.campaign][0](seconds=given.seconds, count=given.count, seed=given.seed)
    print(json.dumps({"campaign": given.campaign, **figures}, indent=1))
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
