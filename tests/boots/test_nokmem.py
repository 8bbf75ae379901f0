"""cgroup.memory=nokmem: no kernel memory is charged to anybody."""

from tests.boots.command import EACH_COMMAND, check_refuses, kmemtrace, refuses

WORDS = ("cgroup.memory=nokmem", "Boot without")


@EACH_COMMAND
def test_a_command_that_would_find_nothing_says_why(arguments: list[str]) -> None:
    refuses(arguments, *WORDS)


def test_check_says_the_same_and_judges_nothing() -> None:
    assert check_refuses(*WORDS)["verdicts"] == {}
    assert "judges" not in kmemtrace("check").stdout


def test_what_needs_no_kernel_memory_works() -> None:
    """Removed cgroups are kept by page cache, too."""
    assert kmemtrace("dead").returncode == 0
