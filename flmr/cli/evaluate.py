"""The verb that measures an index.

Knows its options.  What is measured, and how, is in flmr.measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flmr.cli.options import (
    AsJson,
    EncoderName,
    Exact,
    FeedbackFrom,
    HybridMethod,
    IndexPath,
    PoolVisual,
    Refine,
    ScanDevice,
    Split,
    Strict,
    TaskName,
    Weight,
    flag,
    hybrid_settings,
    open_retriever,
    search_params,
)
from flmr.cli.result import done
from flmr.errors import InvalidInput


def evaluate(
    path: IndexPath,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="questions: JSONL or Parquet")] = None,
    qrels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="judgments: TREC or BEIR; else positive_ids")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="RECIPE.toml", help=r"measure its \[evaluate] tables")] = None,
    task: TaskName = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="where the files of the task lie")] = None,
    split: Split = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    ks: Annotated[
        str | None, typer.Option("-k", metavar="K,K,...", help="cut-offs; default 5,10,100, or the task's own")
    ] = None,
    exact: Exact = False,
    device: ScanDevice = "cpu",
    hybrid: HybridMethod = None,
    weight: Weight = None,
    feedback: FeedbackFrom = 0,
    refine: Refine = False,
    by: Annotated[
        str | None, typer.Option(metavar="META_KEY", help="report per value of this key of the questions")
    ] = None,
    drop_image: Annotated[bool, flag("--drop-image", help="control: ask without the pictures")] = False,
    drop_text: Annotated[bool, flag("--drop-text", help="control: ask without the words")] = False,
    drop_instruction: Annotated[
        bool, flag("--drop-instruction", help="ask without the questions' instructions")
    ] = False,
    against_exact: Annotated[bool, flag("--against-exact", help="recall of the search against --exact")] = False,
    run: Annotated[Path | None, typer.Option(metavar="OUT.trec", help="write the results as a TREC run")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RESULTS.json", help="write the measures")] = None,
    encoder: EncoderName = None,
    pool_visual: PoolVisual = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Measure an index: strict and pseudo recall, MRR, nDCG, each beside its chance level."""
    from flmr.measure import Options, measure, question_sets, results_document, write_results
    from flmr.show import console, show_measures, skipped

    params = search_params(exact, device)
    of_task = {"task": task or "", "root": data, "split": split or ""}
    cutoffs = _cutoffs(ks) if ks is not None else ()
    sets = question_sets(queries, qrels, recipe, **of_task, images=images, ks=cutoffs, by=by)
    asking = hybrid_settings(hybrid, weight, feedback, refine)
    options = Options(params, drop_image, drop_text, drop_instruction, against_exact, strict, asking)
    with open_retriever(path, encoder, pool_visual) as retriever:
        measured = [measure(retriever, name, questions, options, progress=True) for name, questions in sets.items()]
        document = results_document(measured, retriever, path)
    for one in measured:
        skipped(one.lines.skipped, one.unreadable, "query")
    write_results(measured, document, run=run, out=out)
    done(as_json, document, lambda: show_measures(console(), measured))


def _cutoffs(text: str) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        ks = ()
    if not ks or ks[0] < 1:
        raise InvalidInput(f"-k takes whole numbers from 1 up, with commas between, like 5,10,100; not {text!r}")
    return ks
