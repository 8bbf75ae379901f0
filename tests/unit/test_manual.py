"""The manual pages and completions in share/, which `make manual` writes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kmemtrace.commands.summaries import SUMMARIES
from manual.commands import Command, commands
from manual.overhead import OF_COMMANDS
from manual.pages import escape
from manual.texts import SHARE, texts

PAGES = sorted((SHARE / "man" / "man8").iterdir())
SECTIONS = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXAMPLES",
    "OVERHEAD",
    "EXIT STATUS",
    "FILES",
    "SEE ALSO",
]


def test_share_is_as_the_command_line_is() -> None:
    found = {str(file.relative_to(SHARE)): file.read_text() for file in SHARE.rglob("*") if file.is_file()}
    assert found == texts(), "run: make manual"


def test_every_command_has_its_page_and_its_cost() -> None:
    assert {page.name for page in PAGES} == {"kmemtrace.8", *(f"kmemtrace-{name}.8" for name in SUMMARIES)}
    assert OF_COMMANDS.keys() == {"", *SUMMARIES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_all_sections_in_order(page: Path) -> None:
    headings = [line[4:] for line in page.read_text().splitlines() if line.startswith(".SH ")]
    assert [heading for heading in headings if heading not in {"ARGUMENTS", "COMMANDS"}] == SECTIONS


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.page)
def test_a_page_has_every_option(command: Command) -> None:
    text = (SHARE / "man" / "man8" / f"{command.page}.8").read_text()
    options = [option for action in command.options for option in action.option_strings]
    assert "--help" in options
    assert [option for option in options if f"\\fB{escape(option)}\\fR" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("linter", ["groff -ww -z -man -K utf8 -T utf8", "mandoc -T lint -W warning"])
def test_what_formats_pages_has_no_complaint(page: Path, linter: str) -> None:
    command = linter.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, page], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    # A page changes with the command line alone, and so it has no date.
    assert [line for line in said if "missing date" not in line] == []


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a-b", "a\\-b"), (".start", "\\&.start"), ("'start", "\\&'start"), ("a\\b", "a\\eb"), ("a.b", "a.b")],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
