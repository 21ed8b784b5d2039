"""The command `flmr`: its verbs, its own options, and how it ends.

Knows the order of the verbs and the exit codes: 0 done, 2 the caller's mistake (one line says what to do), 1 our fault,
130 interrupted, 141 nobody reads the output any more.  Knows nothing of what a verb does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from flmr.cli.demo import demo, sample
from flmr.cli.evaluate import evaluate
from flmr.cli.exchange import export, import_
from flmr.cli.index import add, calibrate, delete, index, info, merge, verify
from flmr.cli.options import flag
from flmr.cli.result import ReaderGone
from flmr.cli.search import explain, fuse, search
from flmr.cli.train import train
from flmr.errors import FlmrError

# In the order of `flmr --help`.
VERBS: tuple[Callable[..., None], ...] = (
    demo, sample, index, add, delete, merge, calibrate, import_, export, info, verify, search, fuse, explain, evaluate,
    train,
)  # fmt: skip

app = typer.Typer(
    name="flmr",
    help="Ask with words and pictures, find passages: late-interaction multimodal retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in VERBS:
    app.command(verb.__name__.rstrip("_"))(verb)


def _print_version(asked: bool) -> None:
    if asked:
        from flmr import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, flag("--version", help="print the version", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, flag("--debug", help="show the traceback of an error (or set FLMR_DEBUG=1)")] = False,
) -> None:
    if debug:
        os.environ["FLMR_DEBUG"] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    try:
        code = app(args=arguments, prog_name="flmr", standalone_mode=False)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        # The reader of our output has gone (`flmr search | head`): nothing is left to say, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except FlmrError as error:
        return _failed(error, 2, str(error))
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer's, whose class moved between its versions
            if not error.format_message():  # `flmr` alone: its help has been printed
                return 2
            hint = getattr(getattr(error, "ctx", None), "command_path", "flmr")
            return _failed(error, 2, f"{error.format_message()}  (see `{hint} --help`)")
        reason = f"{type(error).__name__}: {error}"
        return _failed(error, 1, f"flmr failed: {reason}; FLMR_DEBUG=1 shows where, please report it")
    if code == 130:
        print("flmr: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, code: int, message: str) -> int:
    if os.environ.get("FLMR_DEBUG"):
        import traceback

        traceback.print_exception(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
