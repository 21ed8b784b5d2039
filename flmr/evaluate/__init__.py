"""Measures of retrieval, each with its chance level, and the files that keep runs and results.

Knows runs, judgments and answers.  Knows no model and no index.
"""

from flmr.evaluate.report import MeasureRow, Report, evaluate_run
from flmr.evaluate.result import write_result
from flmr.evaluate.run import Run, read_run, write_run

__all__ = ["MeasureRow", "Report", "Run", "evaluate_run", "read_run", "write_result", "write_run"]
