"""Readers that turn files into records.

Knows files and columns.  Knows nothing of models, indexes or measures.
"""

from flmr.data.passages import read_passages
from flmr.data.qrels import Qrels, qrels_of, read_qrels
from flmr.data.questions import read_questions
from flmr.data.report import ReadReport, Skipped

__all__ = ["Qrels", "ReadReport", "Skipped", "qrels_of", "read_passages", "read_qrels", "read_questions"]
