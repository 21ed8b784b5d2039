"""The command line: one thin verb a task.

Knows options, exit codes and what goes to which stream.  Holds no logic: every verb is a call or two of the library,
and imports what it needs when it runs, so that `flmr --help` is instant.
Exit codes: 0 done, 2 the caller's mistake (one line says what to do), 1 our fault, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flmr.errors import CorruptIndex, FlmrError, InvalidInput

if TYPE_CHECKING:
    from flmr.build import Account
    from flmr.hybrid import Hybrid
    from flmr.records import Hit, Query
    from flmr.retriever import Retriever

app = typer.Typer(
    name="flmr",
    help="Ask with words and pictures, find passages: late-interaction multimodal retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

IndexPath = Annotated[Path, typer.Argument(metavar="DIR", help="the folder of an index")]
Text = Annotated[str, typer.Option(help="the question")]
Image = Annotated[Path | None, typer.Option(metavar="PATH", help="the picture it is about")]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="L,T,R,B", help="a part of the picture, in fractions of its sides; may be repeated"
    ),
]
Instruction = Annotated[str, typer.Option(help="what kind of passage is sought")]
EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", metavar="NAME_OR_PATH", help="a hub name, a checkpoint folder, or `bundled`"),
]
Where = Annotated[str | None, typer.Option(metavar="JSON", help='a filter on metadata: {"year": {"gte": 2020}}')]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="a published task: m2kr/okvqa, infoseek, wit, ...")
]
Split = Annotated[str | None, typer.Option(metavar="SPLIT", help="of the task: train, valid or test")]
Exact = Annotated[bool, typer.Option("--exact", help="score every passage instead of the likely ones")]
HybridMethod = Annotated[
    str | None, typer.Option("--hybrid", metavar="rrf|weighted", help="search by words too and fuse both rankings")
]
Weight = Annotated[float | None, typer.Option(metavar="0..1", help="of --hybrid: the share of the rows; default .7")]
FeedbackFrom = Annotated[
    int, typer.Option("--feedback", min=0, metavar="N", help="of --hybrid: ask again with rows of the best N passages")
]
Refine = Annotated[
    bool, typer.Option("--refine", help="of --hybrid: ask again with rows that agree more with the words' scores")
]
Strict = Annotated[bool, typer.Option("--strict", help="stop at the first bad line or unreadable image")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]


def _print_version(asked: bool) -> None:
    if asked:
        from flmr import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="show the traceback of an error (or set FLMR_DEBUG=1)")
    ] = False,
) -> None:
    if debug:
        os.environ["FLMR_DEBUG"] = "1"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="where pictures, index and page are written")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Build a sample index offline, ask it picture questions, and measure it."""
    from flmr.demo import run_demo
    from flmr.show import console

    result = run_demo(out, console=None if as_json else console(), progress=True)
    _done(as_json, result, lambda: None)


@app.command()
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
    _done(as_json, {"folder": str(out)}, lambda: console().print(f"wrote {out}"))


@app.command()
def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PASSAGES|RECIPE.toml|FOLDER", help="a JSONL or Parquet file, a recipe, or the data of a --task"
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="the folder of the new index")],
    task: TaskName = None,
    split: Split = None,
    encoder: EncoderName = None,
    nbits: Annotated[int | None, typer.Option(help="bits a dimension: 0 (float16), 1, 2, 3, 4 or 8; default 2")] = None,
    pool: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="store one row for every N of a passage; default 1: all")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="passages encoded at once; default 128")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with an interrupted build; a finished one stays")
    ] = False,
    strict: Strict = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an index that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode passages and build an index of them."""
    from flmr.build import Account, index_recipe
    from flmr.retriever import build_from_recipe

    recipe = index_recipe(
        source, task=task, split=split, encoder=encoder, nbits=nbits, pool=pool, batch_size=batch_size, images=images
    )
    account, started = Account(), time.perf_counter()
    try:
        retriever = build_from_recipe(
            recipe, out, overwrite=overwrite, resume=resume, strict=strict, account=account, progress=True
        )
    except KeyboardInterrupt:
        print("flmr: stopped; the same command with --resume goes on from here", file=sys.stderr)
        raise
    with retriever:
        facts = retriever.index.info()
    _index_changed(as_json, out, facts, account, time.perf_counter() - started)


@app.command()
def add(
    path: IndexPath,
    passages: Annotated[Path, typer.Argument(metavar="PASSAGES", help="a JSONL or Parquet file")],
    update: Annotated[bool, typer.Option("--update", help="replace the passages of the same ids")] = False,
    encoder: EncoderName = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Add passages to an index."""
    started = time.perf_counter()
    with _open(path, encoder) as retriever:
        account = retriever.add(passages, update=update, image_folder=images, strict=strict, progress=True)
        facts = retriever.index.info()
    _index_changed(as_json, path, facts, account, time.perf_counter() - started)


@app.command()
def delete(
    path: IndexPath,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="the ids of passages")],
    as_json: AsJson = False,
) -> None:
    """Delete passages from an index."""
    from flmr.index import Index
    from flmr.show import console

    with Index.open(path) as opened:
        opened.delete(ids)
        opened.commit()
        left = len(opened)
    result = {"deleted": len(ids), "items": left}
    _done(as_json, result, lambda: console().print(f"deleted {len(ids):,}; {left:,} passages left"))


@app.command()
def merge(path: IndexPath, as_json: AsJson = False) -> None:
    """Join an index's segments and free the space of deleted passages."""
    from flmr.index import Index
    from flmr.show import console, show_facts

    with Index.open(path) as opened:
        before = opened.info()
        opened.merge()
        after = opened.info()
    result = {name: {"before": before[name], "after": after[name]} for name in ("segments", "bytes")}
    _done(as_json, result, lambda: show_facts(console(), result))


@app.command()
def calibrate(
    path: IndexPath,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="as they will be asked: JSONL or Parquet")],
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where their relative image paths start")] = None,
    encoder: EncoderName = None,
    as_json: AsJson = False,
) -> None:
    """Show an index 16 of these questions: then it finds the same and looks at far fewer passages."""
    from flmr.data import read_questions
    from flmr.show import console, show_facts

    with _open(path, encoder) as retriever:
        asked = [question.query for question in read_questions(questions, strict=True, image_folder=images)]
        retriever.calibrate(asked, progress=True)
        result = {"questions": len(asked), "kept": retriever.index.info()["sample_queries"]}
    _done(as_json, result, lambda: show_facts(console(), result))


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="a folder of colbert-ai, fast-plaid or PyLate, or what export wrote"),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="the folder of the new index")],
    kind: Annotated[
        str | None, typer.Option(help="colbert, fast-plaid, pylate, parquet or npy; default what it looks like")
    ] = None,
    nbits: Annotated[int, typer.Option(help="bits a dimension: 0 (float16), 1, 2, 3, 4 or 8")] = 8,
    ids: Annotated[Path | None, typer.Option(metavar="FILE", help="the ids of its items in order, one a line")] = None,
    passages: Annotated[
        Path | None, typer.Option(metavar="FILE", help="their passages in order: JSONL, Parquet or a collection.tsv")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted import")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an index that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over an index of colbert-ai, fast-plaid or PyLate."""
    from flmr.data import read_passages
    from flmr.index.interop import import_index, open_foreign, read_ids
    from flmr.show import console, show_facts

    foreign = open_foreign(source, kind)
    with import_index(
        foreign,
        out,
        nbits=nbits,
        ids=read_ids(ids) if ids else None,
        passages=read_passages(passages, strict=True) if passages else None,
        overwrite=overwrite,
        resume=resume,
        progress=True,
    ) as made:
        facts = made.info()
    document = {"index": str(out), **foreign.facts(), **facts}
    shown = (*foreign.facts(), "index", "items", "vectors", "dim", "nbits", "bytes", "bytes_per_vector")
    _done(as_json, document, lambda: show_facts(console(), {name: document[name] for name in shown}))


@app.command()
def export(
    path: IndexPath,
    out: Annotated[Path, typer.Option(metavar="FILE.parquet|FOLDER", help="what to write; must not exist")],
    format: Annotated[str | None, typer.Option(help="parquet or npy; default by the name")] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32")] = "float16",
    as_json: AsJson = False,
) -> None:
    """Write an index's vectors, ids and passages as Parquet or .npy."""
    from flmr.index import Index, export_index
    from flmr.show import console

    with Index.open(path) as opened:
        export_index(opened, out, format, dtype=dtype, progress=True)
        result = {"written": str(out), "items": len(opened), "vectors": opened.info()["vectors"]}
    _done(as_json, result, lambda: console().print(f"wrote {result['items']:,} items to {out}", soft_wrap=True))


@app.command()
def info(path: IndexPath, as_json: AsJson = False) -> None:
    """What an index holds."""
    from flmr.index import Index
    from flmr.show import console, show_facts

    with Index.open(path) as opened:
        facts = opened.info()
    _done(as_json, facts, lambda: show_facts(console(), facts))


@app.command()
def verify(path: IndexPath, as_json: AsJson = False) -> None:
    """Check every file of an index against its checksum; exit code 1 where something is wrong."""
    from flmr.index import Index
    from flmr.show import console

    try:
        with Index.open(path) as opened:
            problems = opened.verify()
    except CorruptIndex as error:  # so damaged that it does not open
        problems = [str(error)]
    result = {"index": str(path), "problems": problems}
    _done(as_json, result, lambda: console().print("\n".join(problems) or f"{path} is sound", soft_wrap=True))
    if problems:
        raise typer.Exit(1)


@app.command()
def search(
    path: IndexPath,
    text: Text = "",
    image: Image = None,
    region: Regions = None,
    instruction: Instruction = "",
    k: Annotated[int, typer.Option("-k", min=1, help="how many passages")] = 5,
    where: Where = None,
    exact: Exact = False,
    hybrid: HybridMethod = None,
    weight: Weight = None,
    feedback: FeedbackFrom = 0,
    refine: Refine = False,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="many questions: JSONL or Parquet")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where their relative image paths start")] = None,
    run: Annotated[Path | None, typer.Option(metavar="OUT.trec", help="write their results as a TREC run")] = None,
    encoder: EncoderName = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question, or a file of questions."""
    from flmr.index import SearchParams
    from flmr.show import console, hit_document, query_document, show_hits

    asking: dict[str, Any] = {
        "params": SearchParams(exact=exact),
        "where": _json_option("--where", where),
        "hybrid": _hybrid(hybrid, weight, feedback, refine),
    }
    if queries is not None:
        if text or image or instruction or region:
            raise InvalidInput("give --queries, or one question by --text and --image, not both")
        with _open(path, encoder) as retriever:
            _search_file(retriever, queries, images, run, k, asking, strict, as_json)
        return
    if run is not None:
        raise InvalidInput("--run writes the results of a file of questions; give --queries as well")
    query = _query(text, image, instruction, region)
    with _open(path, encoder) as retriever:
        hits = retriever.search([query], k, **asking)[0]
    result = {"query": query_document(query), "hits": [hit_document(hit) for hit in hits]}
    _done(as_json, result, lambda: show_hits(console(), hits))


@app.command()
def fuse(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN.trec...", help="TREC runs of the same questions")],
    out: Annotated[Path, typer.Option(metavar="OUT.trec", help="the run to write")],
    method: Annotated[str, typer.Option(help="rrf (ranks) or weighted (scores)")] = "rrf",
    weights: Annotated[str | None, typer.Option(metavar="W,W,...", help="one a run; equal ones by default")] = None,
    scale: Annotated[str, typer.Option(help="of weighted scores: minmax or z")] = "minmax",
    k: Annotated[int | None, typer.Option("-k", min=1, help="keep the best k of each question; default all")] = None,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="a run may have no hit for some questions")] = False,
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
    _done(as_json, result, lambda: console().print(f"wrote {len(fused):,} questions to {out}", soft_wrap=True))


@app.command()
def explain(
    path: IndexPath,
    text: Text = "",
    image: Image = None,
    region: Regions = None,
    instruction: Instruction = "",
    passage_id: Annotated[str | None, typer.Option("--id", help="the passage; by default the best hit")] = None,
    out: Annotated[Path, typer.Option(metavar="PAGE.html", help="the page to write")] = Path("explain.html"),
    encoder: EncoderName = None,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows which words and regions matched which words of a passage."""
    from flmr.explain import explanation_document, write_page
    from flmr.show import console

    query = _query(text, image, instruction, region)
    with _open(path, encoder) as retriever:
        hit: Hit | str | None = passage_id
        if hit is None:
            hit = next(iter(retriever.search([query], 1)[0]), None)
        if hit is None:
            raise InvalidInput("the index found nothing for this question; name a passage with --id")
        explanation = retriever.explain(query, hit)
    write_page(explanation, out)
    result = {"page": str(out), **explanation_document(explanation)}
    _done(as_json, result, lambda: console().print(f"wrote {out}", soft_wrap=True))


@app.command()
def evaluate(
    path: IndexPath,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="questions: JSONL or Parquet")] = None,
    qrels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="judgments: TREC or BEIR; else positive_ids")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="RECIPE.toml", help="measure its [evaluate] tables")] = None,
    task: TaskName = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="where the files of the task lie")] = None,
    split: Split = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    ks: Annotated[
        str | None, typer.Option("-k", metavar="K,K,...", help="cut-offs; default 5,10,100, or the task's own")
    ] = None,
    exact: Exact = False,
    hybrid: HybridMethod = None,
    weight: Weight = None,
    feedback: FeedbackFrom = 0,
    refine: Refine = False,
    by: Annotated[
        str | None, typer.Option(metavar="META_KEY", help="report per value of this key of the questions")
    ] = None,
    drop_image: Annotated[bool, typer.Option("--drop-image", help="control: ask without the pictures")] = False,
    drop_text: Annotated[bool, typer.Option("--drop-text", help="control: ask without the words")] = False,
    drop_instruction: Annotated[
        bool, typer.Option("--drop-instruction", help="ask without the questions' instructions")
    ] = False,
    against_exact: Annotated[
        bool, typer.Option("--against-exact", help="recall of the search against --exact")
    ] = False,
    run: Annotated[Path | None, typer.Option(metavar="OUT.trec", help="write the results as a TREC run")] = None,
    out: Annotated[Path | None, typer.Option(metavar="RESULTS.json", help="write the measures")] = None,
    encoder: EncoderName = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Measure an index: strict and pseudo recall, MRR, nDCG, each beside its chance level."""
    from flmr.index import SearchParams
    from flmr.measure import Options, measure, question_sets, results_document, write_results
    from flmr.show import console, show_measures, skipped

    of_task = {"task": task or "", "root": data, "split": split or ""}
    cutoffs = _cutoffs(ks) if ks is not None else ()
    sets = question_sets(queries, qrels, recipe, **of_task, images=images, ks=cutoffs, by=by)
    asking = _hybrid(hybrid, weight, feedback, refine)
    options = Options(SearchParams(exact=exact), drop_image, drop_text, drop_instruction, against_exact, strict, asking)
    with _open(path, encoder) as retriever:
        measured = [measure(retriever, name, questions, options, progress=True) for name, questions in sets.items()]
        document = results_document(measured, retriever, path)
    for one in measured:
        skipped(one.lines.skipped, one.unreadable, "query")
    write_results(measured, document, run=run, out=out)
    _done(as_json, document, lambda: show_measures(console(), measured))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="what to train, on what")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="the folder of the run")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on after a stop")] = False,
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
        _done(as_json, facts, lambda: show_facts(console(), facts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    try:
        code = app(args=arguments, prog_name="flmr", standalone_mode=False)
        sys.stdout.flush()
    except (_ReaderGone, BrokenPipeError):
        # The reader of our output has gone (`flmr search | head`): nothing is left to say, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except FlmrError as error:
        return _failed(error, 2, str(error))
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer's, whose class moved between its versions
            if not error.format_message():  # `flmr` alone: its help has been printed
                return 2
            hint = getattr(getattr(error, "ctx", None), "command_path", "flmr")
            return _failed(error, 2, f"{error.format_message()}  (see `{hint} --help`)")
        reason = f"{type(error).__name__}: {error}"
        return _failed(error, 1, f"flmr failed: {reason}; FLMR_DEBUG=1 shows where, please report it")
    if code == 130:
        print("flmr: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, code: int, message: str) -> int:
    if os.environ.get("FLMR_DEBUG"):
        import traceback

        traceback.print_exception(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


class _ReaderGone(Exception):
    """Whoever read our output stopped reading; not an OSError, which typer would answer itself, with exit code 1."""


def _done(as_json: bool, document: Mapping[str, Any], show: Callable[[], None]) -> None:
    """The result of a verb, for a program or for a person."""
    try:
        if as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2, default=str))
        else:
            show()
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise _ReaderGone from error


def _open(path: Path, encoder: str | None) -> Retriever:
    from flmr.retriever import Retriever

    return Retriever.open(path, encoder)


def _index_changed(as_json: bool, path: Path, facts: Mapping[str, Any], account: Account, seconds: float) -> None:
    from flmr.show import account_document, console, show_facts, skipped

    skipped(account.lines.skipped, account.unreadable, "passage")
    document = {"index": str(path), **account_document(account), "seconds": round(seconds, 2), **facts}
    shown = ("index", "encoded", "items", "vectors", "dim", "nbits", "bytes", "bytes_per_vector", "segments", "seconds")
    _done(as_json, document, lambda: show_facts(console(), {name: document[name] for name in shown}))


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
    if run is not None:
        write_run(found.run, run)
    document = {
        "queries": len(found.run),
        "unreadable": found.unreadable,
        "encode_s": round(found.encode_s, 3),
        "search_s": round(found.search_s, 3),
        "run": str(run) if run else {query: [list(pair) for pair in hits] for query, hits in found.run.items()},
    }
    _done(as_json, document, lambda: show_run(console(), found.run, run))


def _query(text: str, image: Path | None, instruction: str, regions: list[str] | None) -> Query:
    from flmr.records import Query, Region

    if not text.strip() and image is None:
        raise InvalidInput("ask something: give --text, --image or both")
    try:
        boxes = tuple(Region(*map(float, region.split(","))) for region in regions or ())
    except (TypeError, ValueError) as error:  # not four, not numbers, or no region
        raise InvalidInput(f"--region takes left,top,right,bottom in fractions of the picture: {error}") from None
    return Query(text=text, image=image, instruction=instruction, regions=boxes)


def _hybrid(method: str | None, weight: float | None, feedback: int, refine: bool) -> Hybrid | None:
    if method is None:
        if weight is not None or feedback or refine:
            raise InvalidInput("--weight, --feedback and --refine say more of --hybrid; give --hybrid rrf or weighted")
        return None
    from flmr.hybrid import Feedback, Hybrid, Refinement

    asked = Hybrid(
        method,
        feedback=Feedback(passages=feedback) if feedback else None,
        refinement=Refinement() if refine else None,
    )
    return asked if weight is None else dataclasses.replace(asked, weight=weight)


def _weights(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(f"--weights takes numbers with commas between, like .7,.3; not {text!r}") from None


def _json_option(name: str, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise InvalidInput(f'{name} is not JSON: {error}; write it like {name} \'{{"lang": "en"}}\'') from None
    if not isinstance(parsed, dict):
        raise InvalidInput(f'{name} must be a JSON object like {{"lang": "en"}}, not {value}')
    return parsed


def _cutoffs(text: str) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        ks = ()
    if not ks or ks[0] < 1:
        raise InvalidInput(f"-k takes whole numbers from 1 up, with commas between, like 5,10,100; not {text!r}")
    return ks
