"""cgroup_disable=memory: the kernel has no memory cgroups."""

from tests.boots.command import EACH_COMMAND, check_refuses, refuses

WORDS = ("cgroup_disable=memory", "Boot without")


@EACH_COMMAND
def test_a_command_says_why_it_cannot(arguments: list[str]) -> None:
    refuses(arguments, *WORDS)


def test_check_says_the_same() -> None:
    check_refuses(*WORDS)
