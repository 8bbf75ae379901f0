"""Settles what was missed, by the account of the verified cgroup.

A charge that was not taken back as it was made leaves the kernel's count of the cgroup off what is there, for
good, whether or not it was seen.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from kmemtrace.census.census import Censor
from kmemtrace.census.holdings import PAGE_BYTES
from kmemtrace.cgroups.workload import WorkloadCgroup
from kmemtrace.errors import CannotError
from kmemtrace.model.census import Counted
from kmemtrace.model.verification import AccountReading

OpenCensor = Callable[[], AbstractContextManager[Censor]]

_CENSUSES = 3
_PAUSE_SECONDS = 2.5
"""Time between censuses: longer than the kernel's statistics lag behind, which is 2 s."""
_DRAINS = ("memory.force_empty", "memory.high")
"""Files of v1 and of v2. To write 0 makes each CPU give back what it had charged ahead for the cgroup."""


def take_account(
    open_censor: OpenCensor, cgroup: WorkloadCgroup, held_pages: Callable[[], int]
) -> AccountReading:
    """Takes the account of a cgroup without processes and of those below it.

    What the kernel charged may lag: it is read up to three times until it agrees with what is there to the
    byte.

    Args:
        open_censor: Makes a Censor.
        cgroup: The cgroup.
        held_pages: Returns how many pages the tracer knows to be held, now.

    Returns:
        The account; where it cannot be taken, with the reason.
    """
    try:
        with open_censor() as censor:
            return _read(censor, cgroup, held_pages)
    except (CannotError, OSError) as error:
        return AccountReading(None, 0, refusal=str(error))


def _read(censor: Censor, cgroup: WorkloadCgroup, held_pages: Callable[[], int]) -> AccountReading:
    _drain(cgroup)
    number = cgroup.folder.stat().st_ino
    for left in reversed(range(_CENSUSES)):
        begin = time.time()
        reading = replace(account_of(censor.take().cgroups, number, held_pages()), time=begin)
        if reading.exact or not left:
            break
        time.sleep(_PAUSE_SECONDS)
    return reading


def _drain(cgroup: WorkloadCgroup) -> None:
    for name in _DRAINS:
        with suppress(OSError):  # the other version's; or something of it is in use still
            (cgroup.folder / name).write_text("0", encoding="ascii")


def account_of(counted: Iterable[Counted], number: int, held_pages: int) -> AccountReading:
    """Adds up the account of the cgroup with this id and of those below it.

    Each is held against its own count: what one of them has too much another may have too little.

    A block that is not compound does not tell how large it is, but the tracer saw each charged: where it
    knows of as many pages as were found, none is larger.

    Args:
        counted: The cgroups of a census.
        number: The cgroup's id.
        held_pages: How many pages the tracer knows to be held.
    """
    counted = list(counted)
    path = next((one.path for one in counted if one.key.id == number), None)
    if path is None:
        return AccountReading(None, 0, refusal="the census did not find the cgroup")
    accounts = [c.account for c in counted if c.path == path or c.path.startswith(f"{path}/")]
    explained = sum(account.explained_bytes for account in accounts)
    if any(account.percpu_bytes is None or account.zswap_bytes is None for account in accounts):
        return AccountReading(None, explained, refusal="not all of the cgroup's memory could be read")
    charged = [account.kernel_bytes for account in accounts]
    if None in charged:
        return AccountReading(None, explained, refusal="this kernel does not tell what it charged")
    apart = sum(abs(account.unexplained_bytes or 0) for account in accounts)
    pages = sum(account.pages_bytes for account in accounts)
    doubtful = sum(account.moved_bytes for account in accounts)
    if pages != held_pages * PAGE_BYTES:
        doubtful += sum(account.doubtful_bytes for account in accounts)
    return AccountReading(sum(n for n in charged if n is not None), explained, apart, doubtful, pages)
