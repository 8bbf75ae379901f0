"""Tells what this process may do with BPF, and if not, why not and what would help."""

import platform
import resource
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.errors import CannotError
from kmemtrace.kernel.capabilities import NUMBERS
from kmemtrace.kernel.facts import version


@dataclass(frozen=True, slots=True)
class Privileges:
    missing: tuple[str, ...]
    """Capabilities without which nothing can be traced."""
    wanted: tuple[str, ...]
    """Capabilities that are missing and only make the output poorer, each with what it costs."""
    refusal: str | None
    """What it means that some are missing, with the remedy; None where none is."""


def privileges(status: Path = Path("/proc/self/status")) -> Privileges:
    """Returns which of the capabilities that tracing takes this process lacks."""
    fields = dict(
        line.split(":\t", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":\t" in line
    )
    held = int(fields["CapEff"], 16)
    missing = _missing(held)
    wanted = tuple(
        f"{name}: {cost}"
        for name, cost in (
            ("CAP_DAC_READ_SEARCH", "cgroup names take a walk of the whole tree"),
            ("CAP_SYSLOG", "call sites may stay without names"),
        )
        if not _holds(held, name)
    )
    refusal = None
    if missing:
        names = " and ".join(missing)
        refusal = f"Tracing the kernel needs {names}: run it as root, e.g. with sudo."
    return Privileges(missing, wanted, refusal)


def raise_memlock_if_needed() -> None:
    """Raises RLIMIT_MEMLOCK, which BPF maps count against before 5.11 (since then against the memory cgroup).

    Raises:
        CannotError: The limit may not be raised.
    """
    if version(platform.release()) >= (5, 11):
        return
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        raise CannotError(
            "Before Linux 5.11 BPF maps need locked memory, and this process may not raise its "
            "limit. Grant CAP_SYS_RESOURCE, or run `ulimit -l unlimited` first."
        ) from None


def _missing(held: int) -> tuple[str, ...]:
    if _holds(held, "CAP_SYS_ADMIN"):
        return ()
    return tuple(name for name in ("CAP_BPF", "CAP_PERFMON") if not _holds(held, name))


def _holds(held: int, name: str) -> bool:
    return bool(held >> NUMBERS[name] & 1)
