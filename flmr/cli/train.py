"""The verb that trains a retriever.

Knows its options, and that of several processes one reports.  Knows nothing of training.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from flmr.cli.options import AsJson, flag
from flmr.cli.result import done


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="what to train, on what")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="the folder of the run")] = None,
    resume: Annotated[bool, flag("--resume", help="go on after a stop")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a retriever and write its checkpoint."""
    from flmr.progress import reporting
    from flmr.show import console, show_facts
    from flmr.train import reports
    from flmr.train import train as run_training

    with reporting(reports()) as report:
        result = run_training(recipe, out=out, resume=resume, progress=report)
    facts = dataclasses.asdict(result)
    if reports():
        done(as_json, facts, lambda: show_facts(console(), facts))
