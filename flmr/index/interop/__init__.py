"""Indexes of other engines taken over, and indexes written for other programs."""

from flmr.index.interop.exporter import export_index
from flmr.index.interop.foreign import Foreign
from flmr.index.interop.importer import import_index, open_foreign, read_ids

__all__ = ["Foreign", "export_index", "import_index", "open_foreign", "read_ids"]
