"""Boot options that turn cgroups, or what they account, off: nothing but the kernel's command line tells."""

from pathlib import Path

CMDLINE = Path("/proc/cmdline")


def values(option: str, cmdline: Path = CMDLINE) -> frozenset[str]:
    """All that were given for an option that takes a list and may be repeated, as cgroup_disable=a,b."""
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
