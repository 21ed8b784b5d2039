"""What a verb did, on stdout: one JSON document for a program, lines and tables for a person.

Knows the stream and what it means that nobody reads it any more.  Knows no verb.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


class ReaderGone(Exception):
    """Whoever read our output stopped reading; not an OSError, which typer would answer itself, with exit code 1."""


def done(as_json: bool, document: Mapping[str, Any], show: Callable[[], None]) -> None:
    """The result of a verb, for a program or for a person."""
    try:
        if as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2, default=str))
        else:
            show()
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
