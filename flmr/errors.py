"""Everything that flmr raises on purpose.

Knows nothing else.  Every message names the thing that is wrong and the remedy; the command line prints it as one line.
"""


class FlmrError(Exception):
    """Base of every error that flmr raises on purpose."""


class InvalidInput(FlmrError, ValueError):
    """A value that the caller passed cannot be used."""


class InvalidRecipe(FlmrError, ValueError):
    """A recipe (TOML) holds an unknown key, a wrong type or a value out of range."""


class InvalidRecord(FlmrError, ValueError):
    """A line of a passage, query, qrels or run file cannot be read."""


class UnreadableImage(FlmrError, ValueError):
    """An image is missing, truncated, too large, or of a type that is not read."""


class DuplicateId(InvalidInput):
    """An id occurs twice where ids must be unique."""


class UnknownId(InvalidInput, KeyError):
    """An id is not in the index."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class NotAnIndex(FlmrError):
    """A folder is not an flmr index."""


class AlreadyExists(FlmrError):
    """A target exists and `overwrite` was not asked for."""


class CorruptIndex(FlmrError):
    """A file of an index does not hold what its manifest says."""


class IndexLocked(FlmrError):
    """Another writer holds the index."""


class IndexClosed(FlmrError):
    """The index, or its writer, was closed."""


class StorageError(FlmrError, OSError):
    """The file system refused: disk full, no permission, I/O error."""


class EncoderMismatch(FlmrError):
    """Vectors of one encoder were brought to the index of another."""


class CheckpointError(FlmrError):
    """A model checkpoint is incomplete, has unexpected weights, or is in no known layout."""


class NotAvailable(FlmrError):
    """A model or file is neither cached nor reachable."""


class MissingExtra(FlmrError, ImportError):
    """An optional dependency is not installed; the message is the pip command that installs it."""


class NativeError(FlmrError, RuntimeError):
    """The native library is missing or refuses; the message says how to build it."""


class TrainingDiverged(FlmrError, ArithmeticError):
    """The loss or its gradient is not a finite number any more."""
