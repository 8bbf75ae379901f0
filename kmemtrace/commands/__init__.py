"""The command line: registers the commands and turns typed errors into exit statuses."""

import argparse
import os
import sys
from collections.abc import Sequence

from kmemtrace import __version__
from kmemtrace.commands import check, export, leaks, top, verify
from kmemtrace.errors import ExitStatus, KmemtraceError

_COMMANDS = (top, verify, leaks, export, check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status is one of ExitStatus."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: ExitStatus = options.run(options)
        sys.stdout.flush()
    except KmemtraceError as error:
        print(f"kmemtrace: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return ExitStatus.OK
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kmemtrace",
        description="Shows whose kernel memory every page is, live: follows each page charged to "
        "a memory cgroup from its charge to its end.",
        epilog="Exit status: 0 fine, 1 the thing asked about is bad, 2 wrong usage, "
        "3 inconclusive (events were lost), 4 this kernel or user cannot.",
    )
    parser.add_argument("--version", action="version", version=f"kmemtrace {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser
