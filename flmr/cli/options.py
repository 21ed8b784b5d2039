"""The options that several verbs have, and what is made of their text.

Knows how an option is named and explained, and which text it takes.  Knows no verb.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flmr.errors import InvalidInput

if TYPE_CHECKING:
    from flmr.hybrid import Hybrid
    from flmr.index import SearchParams
    from flmr.records import Query
    from flmr.retriever import Retriever


def flag(name: str, help: str, **more: Any) -> Any:
    """An option that is given or not.  Without a metavar newer typers name its type, as if a value had to follow."""
    return typer.Option(name, help=help, metavar="", **more)


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
PoolVisual = Annotated[
    int | None,
    typer.Option(
        "--pool-visual",
        min=1,
        metavar="N",
        help="ask with one row for every N of a question's pictures; default: as the index was built, or 1",
    ),
]
Where = Annotated[str | None, typer.Option(metavar="JSON", help='a filter on metadata: {"year": {"gte": 2020}}')]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="a published task: m2kr/okvqa, infoseek, wit, ...")
]
Split = Annotated[str | None, typer.Option(metavar="SPLIT", help="of the task: train, valid or test")]
Exact = Annotated[bool, flag("--exact", help="score every passage instead of the likely ones")]
ScanDevice = Annotated[
    str, typer.Option("--device", metavar="cpu|cuda", help="of --exact: a CUDA device scores vectors that are kept")
]
StoreDevice = Annotated[
    str, typer.Option("--device", metavar="cpu|cuda", help="where vectors are clustered and their centroids found")
]
HybridMethod = Annotated[
    str | None, typer.Option("--hybrid", metavar="rrf|weighted", help="search by words too and fuse both rankings")
]
Weight = Annotated[float | None, typer.Option(metavar="0..1", help="of --hybrid: the share of the rows; default .7")]
FeedbackFrom = Annotated[
    int, typer.Option("--feedback", min=0, metavar="N", help="of --hybrid: ask again with rows of the best N passages")
]
Refine = Annotated[
    bool, flag("--refine", help="of --hybrid: ask again with rows that agree more with the words' scores")
]
Strict = Annotated[bool, flag("--strict", help="stop at the first bad line or unreadable image")]
AsJson = Annotated[bool, flag("--json", help="print one JSON document on stdout and nothing else")]


def open_retriever(path: Path, encoder: str | None, pool_visual: int | None = None, device: str = "cpu") -> Retriever:
    """The index of DIR with the encoder of --encoder, or its own, pooling as --pool-visual says."""
    from flmr.ops.arrays import checked_device
    from flmr.retriever import Retriever

    return Retriever.open(path, encoder, pool_visual=pool_visual, device=checked_device(device))


def search_params(exact: bool, device: str) -> SearchParams:
    """How --exact and --device search; raises InvalidInput, and NativeError where there is no such device."""
    from flmr.index import SearchParams
    from flmr.ops.arrays import checked_device

    if device == "cuda" and not exact:
        raise InvalidInput("--device cuda scores every passage; give --exact as well")
    return SearchParams(exact=exact, device=checked_device(device))


def one_query(text: str, image: Path | None, instruction: str, regions: list[str] | None) -> Query:
    """The question of --text, --image, --region and --instruction; raises InvalidInput where nothing is asked."""
    from flmr.records import Query, Region

    if not text.strip() and image is None:
        raise InvalidInput("ask something: give --text, --image or both")
    try:
        boxes = tuple(Region(*map(float, region.split(","))) for region in regions or ())
    except (TypeError, ValueError) as error:  # not four, not numbers, or no region
        raise InvalidInput(f"--region takes left,top,right,bottom in fractions of the picture: {error}") from None
    return Query(text=text, image=image, instruction=instruction, regions=boxes)


def hybrid_settings(method: str | None, weight: float | None, feedback: int, refine: bool) -> Hybrid | None:
    """The settings of --hybrid and the options that go with it; raises InvalidInput where those stand alone."""
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


def json_object(name: str, value: str | None) -> dict[str, Any] | None:
    """The JSON object that is the value of the option `name`; raises InvalidInput where it is none."""
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise InvalidInput(f'{name} is not JSON: {error}; write it like {name} \'{{"lang": "en"}}\'') from None
    if not isinstance(parsed, dict):
        raise InvalidInput(f'{name} must be a JSON object like {{"lang": "en"}}, not {value}')
    return parsed
