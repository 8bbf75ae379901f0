"""lockdown=confidentiality: no BPF program may read the kernel's memory."""

from pathlib import Path

import pytest

from tests.boots.command import EACH_COMMAND, check_refuses, refuses

WORDS = ("lockdown is in confidentiality mode", "lockdown=integrity")


@pytest.fixture(autouse=True)
def _locked() -> None:
    assert "[confidentiality]" in Path("/sys/kernel/security/lockdown").read_text()


@EACH_COMMAND
def test_a_command_says_what_refuses_and_what_would_help(arguments: list[str]) -> None:
    refuses(arguments, *WORDS)


def test_check_says_the_same() -> None:
    check_refuses(*WORDS)
