"""`python -m flmr.data.sample OUT [--splits train valid test]`: write the atlas to a folder."""

from __future__ import annotations

import argparse
import sys

from flmr.data.sample.questions import SPLITS
from flmr.data.sample.render import SIZE
from flmr.data.sample.write import RENDERINGS, write_sample
from flmr.errors import FlmrError


def main() -> int:
    """Exit code: 0 done, 2 the caller's mistake."""
    parser = argparse.ArgumentParser(prog="python -m flmr.data.sample", description="Write the atlas of plane figures.")
    parser.add_argument("out", help="the folder to write")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS)
    parser.add_argument("--renderings", type=int, default=RENDERINGS["train"], help="train pictures for each figure")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def report(stage: str, done: int, total: int | None) -> None:
        if done % 200 == 0 or done == total:
            sys.stderr.write(f"\r{stage} {done}/{total} ")

    try:
        write_sample(
            options.out,
            splits=options.splits,
            renderings={"train": options.renderings},
            size=options.size,
            seed=options.seed,
            progress=report,
        )
    except FlmrError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write("\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
