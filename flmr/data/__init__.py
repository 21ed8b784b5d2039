"""Readers that turn files into records.

Knows files and columns.  Knows nothing of models, indexes or measures.
"""

from flmr.data.passages import read_passages
from flmr.data.qrels import Qrels, qrels_of, read_qrels
from flmr.data.questions import read_questions
from flmr.data.report import ReadReport, Skipped
from flmr.data.tasks import TASKS, Task, TaskSplit, find_task

__all__ = [
    "TASKS",
    "Qrels",
    "ReadReport",
    "Skipped",
    "Task",
    "TaskSplit",
    "find_task",
    "qrels_of",
    "read_passages",
    "read_qrels",
    "read_questions",
]
