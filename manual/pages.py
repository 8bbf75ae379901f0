"""Manual pages, as groff's man macros have them."""

import argparse
import re

from kmemtrace import __version__
from manual.commands import Command, commands, metavar
from manual.overhead import OF_COMMANDS

SECTION, MANUAL = 8, "System administration"
EXAMPLE, STATUS = "example:\n", "exit status:\n"
FILES = {
    "/var/cache/kmemtrace": "the compiled programs of this kernel; another folder in KMEMTRACE_CACHE",
    "/sys/kernel/btf/vmlinux": "the kernel's types, from which the programs are fitted to it",
    "/proc/kallsyms": "the kernel's symbols, which give call sites their names",
    "/sys/fs/cgroup": "the control groups, which give charges their names",
}


def escape(text: str) -> str:
    """Text that groff shows as it is, a line that begins as a request included."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("`", "\\(ga"), flags=re.MULTILINE)


def prose(text: str) -> str:
    """Text of a help, what stands in `backticks` in bold."""
    return re.sub(r"\\\(ga([^\n]+?)\\\(ga", r"\\fB\1\\fR", escape(text))


def page(command: Command, all_pages: list[str]) -> str:
    """The source of one page, which changes with the command line and the version alone."""
    others = [name for name in all_pages if name != command.page]
    parts = [
        f'.TH "{escape(command.page.upper())}" {SECTION} "" "kmemtrace {__version__}" "{MANUAL}"',
        f".SH NAME\n{escape(command.page)} \\- {prose(command.summary)}",
        f".SH SYNOPSIS\n{_synopsis(command)}",
        f".SH DESCRIPTION\n{_description(command)}",
        *_arguments(command),
        f".SH EXAMPLES\n.nf\n{escape(_example(command))}\n.fi",
        f".SH OVERHEAD\n{prose(OF_COMMANDS[command.name])}",
        f".SH EXIT STATUS\n{_statuses()}",
        ".SH FILES\n" + "\n".join(f".TP\n.I {escape(file)}\n{prose(FILES[file])}" for file in FILES),
        ".SH SEE ALSO\n" + "\n".join(_references(others)),
    ]
    return "\n".join(parts) + "\n"


def _references(names: list[str]) -> list[str]:
    return [f".BR {escape(name)} ({SECTION})" + "," * (name != names[-1]) for name in names]


def pages() -> dict[str, str]:
    """Every page's source, by its file's name."""
    them = list(commands())
    names = [one.page for one in them]
    return {f"{one.page}.{SECTION}": page(one, names) for one in them}


def _synopsis(command: Command) -> str:
    words = ["\\fB" + escape(f"kmemtrace {command.name}".strip()) + "\\fR"]
    words += [_usage(action) for action in [*command.options, *command.positionals]]
    return "\n".join(words)


def _usage(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return "\\fICOMMAND\\fR ..."
    if not action.option_strings:
        value = f"\\fI{escape(metavar(action))}\\fR"
        return f"[\\-\\- {value} ...]" if action.nargs == "*" else value
    value = f" \\fI{escape(metavar(action))}\\fR" if metavar(action) else ""
    usage = f"\\fB{escape(action.option_strings[0])}\\fR{value}"
    return usage if action.required else f"[{usage}]"


def _description(command: Command) -> str:
    paragraphs = [command.parser.description or ""]
    said = (command.parser.epilog or "").partition(STATUS)[0].partition(EXAMPLE)[0]
    paragraphs += [one for one in said.strip().split("\n\n") if one]
    return "\n.PP\n".join(map(prose, paragraphs))


def _arguments(command: Command) -> list[str]:
    titles = {"positional arguments": "ARGUMENTS", "options": "OPTIONS"}
    parts = []
    for group in sorted(command.groups, key=lambda one: one.title != "options"):
        if any(isinstance(action, argparse._SubParsersAction) for action in group.actions):
            parts.append(".SH COMMANDS\n" + _list_of_commands())
            continue
        entries = [f".TP\n{_heading(action)}\n{prose(command.help_of(action))}" for action in group.actions]
        title = titles.get(group.title)
        heading = f".SH {title}" if title else f'.SS "{escape(group.title.capitalize())}"'
        parts.append("\n".join([heading, *entries]))
    # A subsection stands below OPTIONS, so what is no section comes before the arguments.
    return sorted(parts, key=lambda part: part.startswith((".SH ARGUMENTS", ".SH COMMANDS")))


def _heading(action: argparse.Action) -> str:
    value = f" \\fI{escape(metavar(action))}\\fR" if metavar(action) else ""
    if not action.option_strings:
        return value.strip()
    return ", ".join(f"\\fB{escape(option)}\\fR" for option in action.option_strings) + value


def _list_of_commands() -> str:
    return "\n".join(
        f".TP\n.BR {escape(one.page)} ({SECTION})\n{prose(one.summary)}" for one in commands() if one.name
    )


def _example(command: Command) -> str:
    example = (command.parser.epilog or "").partition(EXAMPLE)[2]
    # kmemtrace's own help has none: those of its commands are its examples.
    lines = example or "\n".join(_example(one) for one in commands() if one.name)
    return "\n".join(line.strip() for line in lines.splitlines())


def _statuses() -> str:
    """The exit statuses, of which kmemtrace's own help has the list."""
    top = next(commands())
    lines = (top.parser.epilog or "").partition(STATUS)[2].partition("\n\n")[0].splitlines()
    return "\n".join(
        f".TP\n.B {status}\n{prose(meaning)}"
        for status, meaning in (line.split(maxsplit=1) for line in lines)
    )
