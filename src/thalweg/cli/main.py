"""The command `thalweg`: its subcommands, and how it ends."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from thalweg.cli.audit import audit
from thalweg.cli.basins import basins
from thalweg.cli.compare import compare
from thalweg.cli.connect import connect
from thalweg.cli.critical_points import critical_points
from thalweg.cli.curvature import curvature
from thalweg.cli.descend import descend
from thalweg.cli.export import export
from thalweg.cli.landscape import landscape
from thalweg.cli.listing import names
from thalweg.cli.lr_range import lr_range
from thalweg.cli.optimizers import optimizers
from thalweg.cli.pictures import pictures
from thalweg.cli.report import report
from thalweg.cli.stability import stability
from thalweg.cli.start_up import keep_freed_memory
from thalweg.cli.survey import survey
from thalweg.cli.train import train
from thalweg.errors import ThalwegError

INTERRUPTED = 130

app = typer.Typer(
    name="thalweg",
    help="See, measure and descend the loss landscape of your own PyTorch model.\n\n"
    "Start with: thalweg survey digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    survey,
    train,
    compare,
    lr_range,
    descend,
    basins,
    curvature,
    stability,
    critical_points,
    landscape,
    connect,
    pictures,
    optimizers,
    audit,
    report,
    export,
    names,
):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        from thalweg import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Thalweg."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # Threads that spin while they wait slow each other down a hundredfold when the machine has other work too.
    # Read when torch is first imported, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    # Matplotlib warns of each font that it looks for and replaces, on a machine with few or a stale list of them.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Taken out here, so that it may stand anywhere on the line.
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        app(arguments, prog_name="thalweg")
    except SystemExit as stop:
        # Typer turns Ctrl-C into this status.
        if stop.code == INTERRUPTED:
            _say_interrupted()
        raise
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, ThalwegError):
            _say(f"error: {error}")
        else:
            reason = (str(error).strip().splitlines() or [""])[0]
            _say(f"error: {type(error).__name__}: {reason} (unexpected; --debug shows where)")
        sys.exit(1)
    sys.exit(0)


def _say_interrupted() -> None:
    # Nothing was opened before the store was imported, and importing takes longer than a second Ctrl-C.
    if "thalweg.store" in sys.modules:
        from thalweg.store import holding

        if holding():
            _say("interrupted: what was measured is kept, and the same command continues")
            return
    _say("interrupted: nothing was kept, the same command begins anew")


def _say(line: str) -> None:
    print(f"thalweg: {line}", file=sys.stderr)
