"""The compressed, segmented, memory-mapped index of multi-vectors.

Needs NumPy and pyarrow, nothing else: it never sees a model.
"""

from flmr.index.index import Index
from flmr.index.interop import export_index, import_index
from flmr.index.searcher import Searcher
from flmr.index.settings import SearchParams

__all__ = ["Index", "SearchParams", "Searcher", "export_index", "import_index"]
