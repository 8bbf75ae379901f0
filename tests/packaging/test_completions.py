"""The completions in share/, each asked in its own shell."""

import shutil
import subprocess

import pytest

from kmemtrace.commands.summaries import SUMMARIES
from manual.completions import FILES
from manual.texts import SHARE

BASH = """
source {file}
COMP_WORDS=({words} "{last}") COMP_CWORD={at} COMP_LINE="{words} {last}" COMP_POINT=${{#COMP_LINE}}
completer=$(complete -p kmemtrace | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$completer kmemtrace "{last}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# zsh completes only where a terminal is: one of its own, driven by its own module.
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= ; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w shell 'bindkey "^I" list-choices; LISTMAX=1000; print RE""ADY'
zpty -r -m shell line '*READY*'
zpty -n -w shell '{words} {last}'$'\\t'
sleep 1
while zpty -r -t shell line; do print -r -- $line; done
zpty -d shell
"""
FISH = "source {file}; complete -C '{words} {last}'"
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completed(shell: str, words: str, last: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = SHARE / FILES[shell]
    script = SCRIPTS[shell].format(
        file=file, folder=file.parent, words=words, last=last, at=len(words.split())
    )
    option = ["--no-config"] if shell == "fish" else []
    done = subprocess.run(
        [shell, *option, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("shell", FILES)
def test_commands(shell: str) -> None:
    said = completed(shell, "kmemtrace", "")
    assert [name for name in SUMMARIES if name not in said] == []


@pytest.mark.parametrize("shell", FILES)
def test_options_of_a_command(shell: str) -> None:
    said = completed(shell, "kmemtrace top", "--ma")
    assert "--max-pages" in said
    assert "--max-objects" in said
    assert "--max-cgroups" not in said, "that is of export"


@pytest.mark.parametrize("shell", FILES)
def test_values_of_an_option(shell: str) -> None:
    said = completed(shell, "kmemtrace top --by", "")
    assert [value for value in ("cgroup", "site", "kind", "container", "cache") if value not in said] == []
