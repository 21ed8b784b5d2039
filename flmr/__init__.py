"""flmr: late-interaction multimodal retrieval.

The front door: a dozen names and the packages behind them (`flmr.hybrid`, `flmr.train`, ...), imported on first use, so
that `import flmr` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flmr.errors import FlmrError, IndexLocked, MissingExtra

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flmr import data, errors, evaluate, hybrid, index, model, ops, records, train  # noqa: F401
    from flmr.compat import create_searcher, index_custom_collection, search_custom_collection
    from flmr.index import Index, Searcher, SearchParams
    from flmr.model import load_encoder
    from flmr.model.flmr import (
        FLMRConfig,
        FLMRContextEncoderTokenizer,
        FLMRModelForRetrieval,
        FLMRQueryEncoderTokenizer,
        FLMRTextConfig,
        FLMRVisionConfig,
    )
    from flmr.ops.maxsim import maxsim
    from flmr.records import Hit, MultiVectors, Passage, Query, Region
    from flmr.retriever import Retriever

_HOME = {
    "Passage": "flmr.records",
    "Query": "flmr.records",
    "MultiVectors": "flmr.records",
    "Region": "flmr.records",
    "Hit": "flmr.records",
    "maxsim": "flmr.ops.maxsim",
    "Index": "flmr.index",
    "Searcher": "flmr.index",
    "SearchParams": "flmr.index",
    "Retriever": "flmr.retriever",
    "load_encoder": "flmr.model",
    "FLMRConfig": "flmr.model.flmr",
    "FLMRTextConfig": "flmr.model.flmr",
    "FLMRVisionConfig": "flmr.model.flmr",
    "FLMRModelForRetrieval": "flmr.model.flmr",
    "FLMRQueryEncoderTokenizer": "flmr.model.flmr",
    "FLMRContextEncoderTokenizer": "flmr.model.flmr",
    "index_custom_collection": "flmr.compat",
    "create_searcher": "flmr.compat",
    "search_custom_collection": "flmr.compat",
}

__all__ = [
    "FLMRConfig",
    "FLMRContextEncoderTokenizer",
    "FLMRModelForRetrieval",
    "FLMRQueryEncoderTokenizer",
    "FLMRTextConfig",
    "FLMRVisionConfig",
    "FlmrError",
    "Hit",
    "Index",
    "IndexLocked",
    "MultiVectors",
    "Passage",
    "Query",
    "Region",
    "Retriever",
    "SearchParams",
    "Searcher",
    "create_searcher",
    "index_custom_collection",
    "load_encoder",
    "maxsim",
    "search_custom_collection",
]


_PARTS = ("data", "errors", "evaluate", "hybrid", "index", "model", "ops", "records", "train")

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _HOME and name not in _PARTS:
            raise AttributeError(f"module 'flmr' has no attribute {name!r}")
        try:
            value = import_module(f"flmr.{name}") if name in _PARTS else getattr(import_module(_HOME[name]), name)
        except ModuleNotFoundError as error:
            if (error.name or "flmr").startswith("flmr"):
                raise
            raise MissingExtra(f"flmr.{name} needs {error.name}, which is not installed: pip install flmr") from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PARTS, "__version__"])
