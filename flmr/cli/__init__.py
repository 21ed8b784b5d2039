"""The command line: thin verbs over the library.

Every verb parses its options, calls the library once or twice and shows the result; it holds no logic, and imports what
it needs when it runs, so that `flmr --help` is instant.
"""

from flmr.cli.command import app, main

__all__ = ["app", "main"]
