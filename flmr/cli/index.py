"""Verbs of one index: building it, changing it, and what it says of itself.

Knows their options and which facts are shown.  Knows nothing of files: flmr.retriever and flmr.index do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flmr.cli.options import (
    AsJson,
    EncoderName,
    IndexPath,
    PoolVisual,
    Split,
    StoreDevice,
    Strict,
    TaskName,
    flag,
    open_retriever,
)
from flmr.cli.result import done
from flmr.errors import CorruptIndex

if TYPE_CHECKING:
    from flmr.build import Account


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
    pool_visual: PoolVisual = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="passages encoded at once; default 128")] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    device: StoreDevice = "cpu",
    resume: Annotated[bool, flag("--resume", help="go on with an interrupted build; a finished one stays")] = False,
    strict: Strict = False,
    overwrite: Annotated[bool, flag("--overwrite", help="replace an index that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode passages and build an index of them."""
    from flmr.build import Account, index_recipe
    from flmr.ops.arrays import checked_device
    from flmr.retriever import build_from_recipe

    recipe = index_recipe(
        source,
        task=task,
        split=split,
        encoder=encoder,
        nbits=nbits,
        pool=pool,
        pool_visual=pool_visual,
        batch_size=batch_size,
        images=images,
    )
    account, started = Account(), time.perf_counter()
    try:
        retriever = build_from_recipe(
            recipe,
            out,
            device=checked_device(device),
            overwrite=overwrite,
            resume=resume,
            strict=strict,
            account=account,
            progress=True,
        )
    except KeyboardInterrupt:
        print("flmr: stopped; the same command with --resume goes on from here", file=sys.stderr)
        raise
    with retriever:
        facts = retriever.index.info()
    _index_changed(as_json, out, facts, account, time.perf_counter() - started)


def add(
    path: IndexPath,
    passages: Annotated[Path, typer.Argument(metavar="PASSAGES", help="a JSONL or Parquet file")],
    update: Annotated[bool, flag("--update", help="replace the passages of the same ids")] = False,
    encoder: EncoderName = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where relative image paths start")] = None,
    device: StoreDevice = "cpu",
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Add passages to an index."""
    started = time.perf_counter()
    with open_retriever(path, encoder, device=device) as retriever:
        account = retriever.add(passages, update=update, image_folder=images, strict=strict, progress=True)
        facts = retriever.index.info()
    _index_changed(as_json, path, facts, account, time.perf_counter() - started)


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
    done(as_json, result, lambda: console().print(f"deleted {len(ids):,}; {left:,} passages left"))


def merge(path: IndexPath, as_json: AsJson = False) -> None:
    """Join an index's segments and free the space of deleted passages."""
    from flmr.index import Index
    from flmr.show import console, show_facts

    with Index.open(path) as opened:
        before = opened.info()
        opened.merge()
        after = opened.info()
    result = {name: {"before": before[name], "after": after[name]} for name in ("segments", "bytes")}
    done(as_json, result, lambda: show_facts(console(), result))


def calibrate(
    path: IndexPath,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="as they will be asked: JSONL or Parquet")],
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="where their relative image paths start")] = None,
    encoder: EncoderName = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Show an index 16 of these questions: then it finds the same and looks at far fewer passages."""
    from flmr.data import ReadReport, read_questions
    from flmr.show import console, show_facts, skipped

    lines = ReadReport()
    with open_retriever(path, encoder) as retriever:
        read = read_questions(questions, strict=strict, report=lines, image_folder=images)
        asked = [question.query for question in read]
        skipped(lines.skipped, {}, "query")
        retriever.calibrate(asked, progress=True)
        result = {
            "questions": len(asked),
            "skipped_lines": [str(line) for line in lines.skipped],
            "kept": retriever.index.info()["sample_queries"],
        }
    done(as_json, result, lambda: show_facts(console(), result))


def info(path: IndexPath, as_json: AsJson = False) -> None:
    """What an index holds."""
    from flmr.index import Index
    from flmr.show import console, show_facts

    with Index.open(path) as opened:
        facts = opened.info()
    done(as_json, facts, lambda: show_facts(console(), facts))


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
    done(as_json, result, lambda: console().print("\n".join(problems) or f"{path} is sound", soft_wrap=True))
    if problems:
        raise typer.Exit(1)


def _index_changed(as_json: bool, path: Path, facts: Mapping[str, Any], account: Account, seconds: float) -> None:
    from flmr.show import account_document, console, show_facts, skipped

    skipped(account.lines.skipped, account.unreadable, "passage")
    document = {"index": str(path), **account_document(account), "seconds": round(seconds, 2), **facts}
    shown = ("index", "encoded", "items", "vectors", "dim", "nbits", "bytes", "bytes_per_vector", "segments", "seconds")
    done(as_json, document, lambda: show_facts(console(), {name: document[name] for name in shown}))
