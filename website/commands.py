"""A page for each command, from its parser: what its manual page has."""

import argparse

from manual.commands import Command, Group, commands, metavar
from manual.overhead import OF_COMMANDS
from manual.pages import EXAMPLE, STATUS
from website.markdown import escape

INDEX = "commands"


def pages() -> dict[str, str]:
    """Every page's text by its file's name, and the list of them."""
    them = list(commands())
    return {f"{one.page}.md": _page(one) for one in them} | {f"{INDEX}.md": _index(them)}


def _index(them: list[Command]) -> str:
    lines = [f"| [`{one.page.replace('-', ' ')}`]({one.page}.md) | {escape(one.summary)} |" for one in them]
    entries = "\n".join(one.page for one in them)
    return "\n".join(
        [
            "# Commands",
            "",
            "Each has a manual page too: `man kmemtrace-top`.",
            "",
            "| command | |",
            "|---|---|",
            *lines,
            "",
            "```{toctree}",
            ":hidden:",
            "",
            entries,
            "```",
            "",
        ]
    )


def _page(command: Command) -> str:
    before, _, example = (command.parser.epilog or "").partition(EXAMPLE)
    said = before.partition(STATUS)[0].strip()
    parts = [
        f"# {command.page.replace('-', ' ')}",
        escape(command.parser.description or ""),
        *(escape(one) for one in said.split("\n\n") if one),
        *([f"## Example\n\n{_indented(example)}"] if example else []),
        f"## Overhead\n\n{escape(OF_COMMANDS[command.name])}",
        f"```{{program}} {command.page}\n```",
        *(_group(command, group) for group in command.groups),
    ]
    return "\n\n".join(parts) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line.strip()}" for line in text.strip().splitlines())


def _group(command: Command, group: Group) -> str:
    if any(isinstance(action, argparse._SubParsersAction) for action in group.actions):
        lines = [
            f"[`{one.name}`]({one.page}.md)\n: {escape(one.summary)}\n" for one in commands() if one.name
        ]
        return "\n".join(["## Commands", "", *lines])
    title = {"positional arguments": "arguments"}.get(group.title, group.title).capitalize()
    return "\n\n".join([f"## {title}", *(_argument(command, action) for action in group.actions)])


def _argument(command: Command, action: argparse.Action) -> str:
    said = escape(command.help_of(action))
    if not action.option_strings:
        return f"`{metavar(action)}`\n: {said}"
    value = f" {metavar(action)}" if metavar(action) else ""
    names = ", ".join(f"{option}{value}" for option in action.option_strings)
    return f"```{{option}} {names}\n\n{said}\n```"
