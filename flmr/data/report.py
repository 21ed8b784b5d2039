"""What a reader read and what it skipped.

Knows line numbers and reasons.  Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skipped:
    """One line (of a text file) or row (of a Parquet file), counted from 1, that was not read, and why."""

    line: int
    reason: str
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason}"


@dataclass
class ReadReport:
    """Filled by a reader while it is read from: how many records came out and which lines were skipped."""

    read: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.skipped:
            return f"{self.read:,} read, none skipped"
        more = f"; and {len(self.skipped) - 3:,} more" if len(self.skipped) > 3 else ""
        return f"{self.read:,} read, {len(self.skipped):,} skipped ({'; '.join(map(str, self.skipped[:3]))}{more})"
