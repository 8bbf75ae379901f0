"""How a guest is set up: each row is one way in which hosts differ that a kernel's version does not tell."""

from dataclasses import dataclass

LIVE = "tests/live"
_BOOTS = "tests/boots"


@dataclass(frozen=True)
class Setup:
    name: str
    tests: tuple[str, ...]
    """Folders or files that run there."""
    cgroups: str = "v2"
    """How the guest mounts them, as guests/guest knows: v2; v1 (the memory controller alone); or hybrid, as
    systemd does by that name: each controller that can be on v1, and v2 beside them."""
    kernel_options: tuple[str, ...] = ()
    """Added to the kernel's command line."""
    works: bool = True
    """Whether kmemtrace is to trace there; else `check` and `top` are to refuse."""


V2 = Setup("v2", (LIVE,))
V1 = Setup("v1", (LIVE,), cgroups="v1")

BOOTS = {
    setup.name: setup
    for setup in (
        Setup("nokmem", (f"{_BOOTS}/test_nokmem.py",), kernel_options=("cgroup.memory=nokmem",), works=False),
        Setup(
            "nomemory",
            (f"{_BOOTS}/test_nomemory.py",),
            kernel_options=("cgroup_disable=memory",),
            works=False,
        ),
        Setup(
            "confidentiality",
            (f"{_BOOTS}/test_confidentiality.py",),
            kernel_options=("lockdown=confidentiality",),
            works=False,
        ),
        # The kernel sets what is called sysctl.* before the first process starts (5.8).
        Setup(
            "kptr_restrict",
            (f"{_BOOTS}/test_kptr_restrict.py",),
            kernel_options=("sysctl.kernel.kptr_restrict=2",),
        ),
        Setup("hybrid", (f"{_BOOTS}/test_hybrid.py",), cgroups="hybrid"),
        # No other boot, but what tests/decoders decodes again: it leaves a recording in the guest's folder.
        Setup("record", ("tests/decoders/record.py",)),
        # Nor these, but cases of docs/cases.md; what they print or record is left in the folder too.
        Setup("freed-while-held", ("tests/faults/freed_while_held.py",)),
        Setup("record-service", ("tests/recording/record_service.py",)),
    )
}
"""By name, what `--boot` boots."""
