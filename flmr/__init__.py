"""flmr: late-interaction multimodal retrieval.

The front door: a dozen names, imported on first use, so that `import flmr` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flmr.errors import FlmrError, IndexLocked

__version__ = "0.1.0"

if TYPE_CHECKING:
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
    from flmr.records import Hit, MultiVectors, Passage, Query
    from flmr.retriever import Retriever

_HOME = {
    "Passage": "flmr.records",
    "Query": "flmr.records",
    "MultiVectors": "flmr.records",
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
    "Retriever",
    "SearchParams",
    "Searcher",
    "create_searcher",
    "index_custom_collection",
    "load_encoder",
    "maxsim",
    "search_custom_collection",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'flmr' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
