"""Verbs that need nothing of one's own: the demo, and the sample knowledge base that it asks.

Knows their options.  What they do is in flmr.demo and flmr.data.sample.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flmr.cli.options import AsJson
from flmr.cli.result import done


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="where pictures, index and page are written")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Build a sample index offline, ask it picture questions, and measure it."""
    from flmr.demo import run_demo
    from flmr.show import console

    result = run_demo(out, console=None if as_json else console(), progress=True)
    done(as_json, result, lambda: None)


def sample(
    out: Annotated[Path, typer.Option(metavar="DIR", help="the folder to write")],
    as_json: AsJson = False,
) -> None:
    """Write the sample knowledge base: pictures, passages and questions."""
    from flmr.data.sample import write_sample
    from flmr.progress import reporting
    from flmr.show import console

    with reporting(True) as report:
        write_sample(out, progress=report)
    done(as_json, {"folder": str(out)}, lambda: console().print(f"wrote {out}"))
