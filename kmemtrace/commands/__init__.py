"""Makes the command line: registers the commands."""

import argparse
import importlib
import sys
from collections.abc import Container, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kmemtrace import __version__
from kmemtrace.commands.summaries import READING_SYMBOLS, SUMMARIES
from kmemtrace.commands.watch import interrupt_on_signals
from kmemtrace.console import guarded, write
from kmemtrace.foreign import one_blas_thread, one_heap
from kmemtrace.kernel.symbols import kernel_symbols

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The command line without the program's name; None for this process's.

    Returns:
        The exit status: one of ExitStatus, or a status that the command was asked to pass on.
    """
    return guarded(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    # No option of ours that comes before the command has a value.
    wanted = next((one for one in given if not one.startswith("-")), None)
    if wanted in READING_SYMBOLS:
        one_heap()
        kernel_symbols()  # begins to read them
    options = parser({wanted}).parse_args(given)
    interrupt_on_signals()
    status: int = options.run(options)
    return status


class _Help(argparse.HelpFormatter):
    """Fills paragraphs; a line that is indented, as one of an example, stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(
            line if line.startswith(" ") else fill(line, width, indent) for line in text.splitlines()
        )


class _Parser(argparse.ArgumentParser):
    """Parses the command line and, as argparse wants it, each command's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help} | options)

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        # Python up to 3.11 dies of an error here, and later ones say nothing of it.
        if file is sys.stdout:
            write(message.rstrip("\n"))
        else:
            super()._print_message(message, file)


def _module(command: str) -> ModuleType:
    """Imports the module of a command."""
    with one_blas_thread():
        return importlib.import_module(f"kmemtrace.commands.{command}")


def parser(whole: Container[str | None]) -> argparse.ArgumentParser:
    """Returns the parser of the command line.

    Args:
        whole: The commands whose arguments it has. Of the others it knows no more than their names: to import
            them all takes 0.4 s, most of it for `export`.
    """
    made = _Parser(
        prog="kmemtrace",
        description="Shows whose kernel memory every page is, live: follows each page charged to "
        "a memory cgroup from its charge to its end.",
        epilog="""exit status:
  0  fine
  1  the thing asked about is bad
  2  wrong usage
  3  inconclusive: events were lost, or it was interrupted
  4  this kernel or user cannot, or the output could not be written

Each command has a --help with an example.""",
    )
    made.add_argument("--version", action="version", version=f"kmemtrace {__version__}")
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in SUMMARIES.items():
        if name in whole:
            _module(name).add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    return made
