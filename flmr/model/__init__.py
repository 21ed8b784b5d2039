"""Models that turn queries and passages into multi-vectors.

Importing this package imports neither torch nor transformers; `flmr.model.flmr` and `flmr.model.encoder` do.
"""

from flmr.model.load import load_encoder

__all__ = ["load_encoder"]
