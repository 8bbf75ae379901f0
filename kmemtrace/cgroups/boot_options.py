"""Reads boot options that turn cgroups off, or what they account.

Nothing but the kernel's command line tells of them.
"""

from pathlib import Path

CMDLINE = Path("/proc/cmdline")


def values(option: str, cmdline: Path = CMDLINE) -> frozenset[str]:
    """Returns all values of an option that takes a list and may be repeated, such as cgroup_disable=a,b."""
    try:
        text = cmdline.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found: set[str] = set()
    for word in text.replace('"', "").split():
        if word == "--":  # what follows is for init
            break
        name, _, value = word.partition("=")
        if name == option:
            found |= set(value.split(","))
    return frozenset(found)
