"""Verbs between this engine and others: import and export.

Knows their options and which facts are shown.  What is read and written is in flmr.index.interop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flmr.cli.options import AsJson, IndexPath, flag
from flmr.cli.result import done


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
    resume: Annotated[bool, flag("--resume", help="go on with an interrupted import")] = False,
    overwrite: Annotated[bool, flag("--overwrite", help="replace an index that is there")] = False,
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
    done(as_json, document, lambda: show_facts(console(), {name: document[name] for name in shown}))


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
    done(as_json, result, lambda: console().print(f"wrote {result['items']:,} items to {out}", soft_wrap=True))
