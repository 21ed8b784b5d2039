"""The compressed, segmented, memory-mapped index of multi-vectors.

Needs NumPy and pyarrow, nothing else: it never sees a model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flmr.index.index import Index
from flmr.index.searcher import Searcher
from flmr.index.settings import SearchParams

if TYPE_CHECKING:
    from flmr.index.interop import export_index, import_index

__all__ = ["Index", "SearchParams", "Searcher", "export_index", "import_index"]


def __getattr__(name: str) -> Any:
    if name not in ("export_index", "import_index"):  # on first use: a search needs neither SQLite nor zip
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("flmr.index.interop"), name)
