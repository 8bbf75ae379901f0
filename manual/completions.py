"""Completions for the shells, by shtab."""

import argparse
from pathlib import Path

import shtab

from manual.commands import metavar, whole

FILES = {
    "bash": "bash-completion/completions/kmemtrace",
    "zsh": "zsh/site-functions/_kmemtrace",
    "fish": "fish/vendor_completions.d/kmemtrace.fish",
}
"""Where each shell looks for them, below share/."""


def completions() -> dict[str, str]:
    """Every completion's text, by its path below share/."""
    parser = whole()
    (below,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for command in below.choices.values():
        for action in command._actions:
            _complete_paths(action)
    return {path: shtab.complete(parser, shell) + "\n" for shell, path in FILES.items()}


def _complete_paths(action: argparse.Action) -> None:
    """Has the shell offer what is in the folder, where an argument names a file."""
    if metavar(action) == "FOLDER":
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif action.type is Path or metavar(action) == "FILE":
        action.complete = shtab.FILE  # type: ignore[attr-defined]
