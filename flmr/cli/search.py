"""Verbs that ask: search, explain what was found, and fuse runs of several searches.

Knows how one question or a file of them is asked for.  Knows nothing of how it is answered: flmr.retriever does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flmr.cli.options import (
    AsJson,
    EncoderName,
    Exact,
    FeedbackFrom,
    HybridMethod,
    Image,
    IndexPath,
    Instruction,
    PoolVisual,
    Refine,
    Regions,
    ScanDevice,
    Strict,
    Text,
    Weight,
    Where,
    flag,
    hybrid_settings,
    json_object,
    one_query,
    open_retriever,
    search_params,
)
from flmr.cli.result import done
from flmr.errors import InvalidInput

if TYPE_CHECKING:
    from flmr.records import Hit
    from flmr.retriever import Retriever


def search(
    path: IndexPath,
    text: Text = "",
    image: Image = None,
    region: Regions = None,
    instruction: Instruction = "",
    k: Annotated[int, typer.Option("-k", min=1, help="how many passages")] = 5,
    where: Where = None,
    exact: Exact = False,
    device: ScanDevice = "cpu",
    hybrid: HybridMethod = None,
    weight: Weight = None,
    feedback: FeedbackFrom = 0,
    refine: Refine = False,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="many questions: JSONL or Parquet")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where their relative image paths start")] = None,
    run: Annotated[Path | None, typer.Option(metavar="OUT.trec", help="write their results as a TREC run")] = None,
    encoder: EncoderName = None,
    pool_visual: PoolVisual = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question, or a file of questions."""
    from flmr.show import console, hit_document, query_document, show_hits

    asking: dict[str, Any] = {
        "params": search_params(exact, device),
        "where": json_object("--where", where),
        "hybrid": hybrid_settings(hybrid, weight, feedback, refine),
    }
    if queries is not None:
        if text or image or instruction or region:
            raise InvalidInput("give --queries, or one question by --text and --image, not both")
        with open_retriever(path, encoder, pool_visual) as retriever:
            _search_file(retriever, queries, images, run, k, asking, strict, as_json)
        return
    if run is not None:
        raise InvalidInput("--run writes the results of a file of questions; give --queries as well")
    query = one_query(text, image, instruction, region)
    with open_retriever(path, encoder, pool_visual) as retriever:
        hits = retriever.search([query], k, **asking)[0]
        if not hits:
            _warn_of_filter(retriever, asking["where"])
    result = {"query": query_document(query), "hits": [hit_document(hit) for hit in hits]}
    done(as_json, result, lambda: show_hits(console(), hits))


def explain(
    path: IndexPath,
    text: Text = "",
    image: Image = None,
    region: Regions = None,
    instruction: Instruction = "",
    passage_id: Annotated[str | None, typer.Option("--id", help="the passage; by default the best hit")] = None,
    out: Annotated[Path, typer.Option(metavar="PAGE.html", help="the page to write")] = Path("explain.html"),
    encoder: EncoderName = None,
    pool_visual: PoolVisual = None,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows which words and regions matched which words of a passage."""
    from flmr.explain import explanation_document, write_page
    from flmr.show import console

    query = one_query(text, image, instruction, region)
    with open_retriever(path, encoder, pool_visual) as retriever:
        hit: Hit | str | None = passage_id
        if hit is None:
            hit = next(iter(retriever.search([query], 1)[0]), None)
        if hit is None:
            raise InvalidInput("the index found nothing for this question; name a passage with --id")
        explanation = retriever.explain(query, hit)
    write_page(explanation, out)
    result = {"page": str(out), **explanation_document(explanation)}
    done(as_json, result, lambda: console().print(f"wrote {out}", soft_wrap=True))


def fuse(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN.trec...", help="TREC runs of the same questions")],
    out: Annotated[Path, typer.Option(metavar="OUT.trec", help="the run to write")],
    method: Annotated[str, typer.Option(help="rrf (ranks) or weighted (scores)")] = "rrf",
    weights: Annotated[str | None, typer.Option(metavar="W,W,...", help="one a run; equal ones by default")] = None,
    scale: Annotated[str, typer.Option(help="of weighted scores: minmax or z")] = "minmax",
    k: Annotated[int | None, typer.Option("-k", min=1, help="keep the best k of each question; default all")] = None,
    missing_ok: Annotated[bool, flag("--missing-ok", help="a run may have no hit for some questions")] = False,
    as_json: AsJson = False,
) -> None:
    """Make one TREC run of several, whatever systems wrote them."""
    from flmr.evaluate import read_run, write_run
    from flmr.hybrid import fuse_runs
    from flmr.show import console

    fused = fuse_runs(
        [read_run(path) for path in runs],
        method=method,
        weights=_weights(weights),
        scale=scale,
        k=k,
        missing_ok=missing_ok,
    )
    write_run(fused, out)
    result = {"runs": [str(path) for path in runs], "run": str(out), "queries": len(fused)}
    done(as_json, result, lambda: console().print(f"wrote {len(fused):,} questions to {out}", soft_wrap=True))


def _search_file(
    retriever: Retriever,
    queries: Path,
    images: Path | None,
    run: Path | None,
    k: int,
    asking: Mapping[str, Any],
    strict: bool,
    as_json: bool,
) -> None:
    from flmr.data import ReadReport, read_questions
    from flmr.evaluate import write_run
    from flmr.show import console, show_run, skipped

    lines = ReadReport()
    questions = read_questions(queries, strict=strict, report=lines, image_folder=images)
    found = retriever.search_many(questions, k, **asking, strict=strict, progress=True)
    skipped(lines.skipped, found.unreadable, "query")
    if found.run and not any(found.run.values()):
        _warn_of_filter(retriever, asking["where"])
    if run is not None:
        write_run(found.run, run)
    document = {
        "queries": len(found.run),
        "unreadable": found.unreadable,
        "encode_s": round(found.encode_s, 3),
        "search_s": round(found.search_s, 3),
        "run": str(run) if run else {query: [list(pair) for pair in hits] for query, hits in found.run.items()},
    }
    done(as_json, document, lambda: show_run(console(), found.run, run))


def _warn_of_filter(retriever: Retriever, where: Mapping[str, Any] | None) -> None:
    """Say so where the filter leaves nothing to be found: a misspelt field is no error, all passages are without it."""
    from flmr.show import warn

    if where and len(retriever.index) and not retriever.index.searcher().ids(where=where):
        warn(f"--where lets none of the {len(retriever.index):,} passages through; check its fields and values")


def _weights(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(f"--weights takes numbers with commas between, like .7,.3; not {text!r}") from None
