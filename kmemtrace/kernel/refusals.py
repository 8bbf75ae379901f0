"""Says why BPF was refused, by what refused it: the kernel, its verifier, lockdown, a filter or a limit."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmemtrace.errors import CannotError
from kmemtrace.kernel.loading import LoadError
from kmemtrace.limits import explanation

_STATUS = Path("/proc/self/status")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_READS_MEMORY = re.compile(r"func\w* bpf_probe_read_kernel|helper bpf_probe_read_kernel")
"""What the verifier says of a program that calls the helper which lockdown takes away."""


class RefusedError(CannotError):
    """The kernel refused something of BPF; the sentence says what, why, and what would help."""


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns an OSError into a RefusedError about `what` was asked for, e.g. "the BPF program page_alloc"."""
    try:
        yield
    except OSError as error:
        raise RefusedError(why_refused(what, error)) from error


def why_refused(what: str, error: OSError) -> str:
    """Says in a sentence or two why `what` was refused, and what would help."""
    said = error.said if isinstance(error, LoadError) else ""
    not_allowed = error.errno in (errno.EPERM, errno.EACCES)
    if error.errno == errno.ENOSYS:
        return "This kernel has no bpf(2) (CONFIG_BPF_SYSCALL). Use a kernel that has it."
    if not_allowed and not said and _under_seccomp():
        return (
            "A seccomp filter refuses bpf(2), as containers' default profiles do. Run on the host, or "
            "start the container with --privileged or a profile that allows bpf."
        )
    # Nothing else takes that helper away; the mode may not be readable.
    reads = _READS_MEMORY.search(said) is not None and lockdown() is None
    if reads or ((not_allowed or said) and lockdown() == "confidentiality"):
        return (
            "Kernel lockdown is in confidentiality mode, which refuses reading kernel memory from "
            "BPF. Boot with lockdown=integrity."
        )
    explained = explanation(error)
    if explained is not None:
        return f"The kernel refuses {what} ({_strerror(error)}). {explained}"
    if said.strip():
        return f"The kernel's verifier does not accept {what}: {_last_words(said)}."
    return f"The kernel refuses {what}: {_strerror(error)}." + (
        " Run it as root on the host." if not_allowed else ""
    )


def lockdown(path: Path = _LOCKDOWN) -> str | None:
    """Returns the mode of lockdown, which the kernel puts in brackets: "none [integrity] confidentiality"."""
    try:
        text = path.read_text(encoding="ascii")
    except OSError:
        return None
    return text.partition("[")[2].partition("]")[0] or None


def _under_seccomp(status: Path = _STATUS) -> bool:
    found = re.search(r"^Seccomp:\s*(\d)", status.read_text(encoding="utf-8"), re.MULTILINE)
    return found is not None and found[1] == "2"


def _strerror(error: OSError) -> str:
    return os.strerror(error.errno or 0)


_STATISTICS = re.compile(r"processed \d+ insns|stack depth|verification time|^\s*$")


def _last_words(said: str) -> str:
    """Returns what was wrong: the verifier ends with that, and then with what it counted."""
    lines = [line.strip() for line in said.splitlines() if not _STATISTICS.search(line)]
    return lines[-1].rstrip(".") if lines else "it does not say why"
