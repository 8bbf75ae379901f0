"""The commands, as their parsers know them."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from kmemtrace.commands import parser
from kmemtrace.commands.summaries import SUMMARIES


@dataclass(frozen=True)
class Group:
    """Arguments that stand under one heading of --help."""

    title: str
    actions: tuple[argparse.Action, ...]


@dataclass(frozen=True)
class Command:
    """One page of the manual: a command, or with the empty name kmemtrace itself."""

    name: str
    summary: str
    parser: argparse.ArgumentParser

    @property
    def page(self) -> str:
        return f"kmemtrace-{self.name}" if self.name else "kmemtrace"

    @property
    def groups(self) -> list[Group]:
        return [
            Group(group.title or "", tuple(a for a in group._group_actions if a.help != argparse.SUPPRESS))
            for group in self.parser._action_groups
            if group._group_actions
        ]

    @property
    def options(self) -> list[argparse.Action]:
        return [a for a in self.parser._actions if a.option_strings and a.help != argparse.SUPPRESS]

    @property
    def positionals(self) -> list[argparse.Action]:
        return [a for a in self.parser._actions if not a.option_strings]

    def help_of(self, action: argparse.Action) -> str:
        """What --help says of an argument, in one line."""
        return " ".join(self.parser._get_formatter()._expand_help(action).split())


def whole() -> argparse.ArgumentParser:
    return parser(set(SUMMARIES))


def commands() -> Iterator[Command]:
    """kmemtrace itself, then each command in the order of the list."""
    top = whole()
    yield Command("", "whose kernel memory every page is, and whether every charge comes back", top)
    (below,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    for name, summary in SUMMARIES.items():
        yield Command(name, summary, below.choices[name])


def metavar(action: argparse.Action) -> str:
    """What stands for the value of an argument; empty where it takes none."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None and action.option_strings:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()
