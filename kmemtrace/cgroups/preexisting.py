"""Counts the pages that look charged to a memory cgroup as kernel memory, from /proc.

It cannot see the page's kmem mark, so it goes by exclusion: charged to a cgroup, and not what user
space's memory is made of. Page cache in flight can be among them: an upper estimate.
"""

import time
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# Bits of /proc/kpageflags, <linux/kernel-page-flags.h>.
_LRU, _SLAB, _BUDDY, _MMAP, _ANON, _TAIL, _HUGE, _PGTABLE = 5, 7, 10, 11, 12, 16, 17, 26
_NOT_KMEM = np.uint64(sum(1 << bit for bit in (_LRU, _SLAB, _BUDDY, _MMAP, _ANON, _HUGE)))
_TAIL_BIT = np.uint64(1 << _TAIL)

_CHUNK = 1 << 14
_REST = 0.5
"""Share of its time that the scan sleeps: it must not keep a core busy."""


def count_preexisting(stop: Event, proc: Path = Path("/proc")) -> int | None:
    """Base pages that look charged now; None when stopped, or where the kernel does not tell
    (CONFIG_PROC_PAGE_MONITOR, CAP_SYS_ADMIN)."""
    total, charged_head = 0, False
    try:
        with (proc / "kpagecgroup").open("rb", 0) as owners, (proc / "kpageflags").open("rb", 0) as flags:
            while not stop.is_set():
                begin = time.monotonic()
                owner, flag = _chunk(owners, flags)
                if len(owner) == 0:
                    return total
                pages, charged_head = _count(owner, flag, charged_head)
                total += pages
                stop.wait((time.monotonic() - begin) * _REST / (1 - _REST))
    except OSError:
        return None
    return None


def _chunk(owners: BinaryIO, flags: BinaryIO) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Owner and flags of the next page frames. The flags are those before and after the owner was
    read: user space's pages change hands meanwhile, and one that has just been freed has an owner
    in the one file and no flag in the other."""
    at = flags.tell()
    before = np.frombuffer(flags.read(8 * _CHUNK), "u8")
    owner = np.frombuffer(owners.read(8 * _CHUNK), "u8")
    flags.seek(at)
    after = np.frombuffer(flags.read(8 * _CHUNK), "u8")
    frames = min(len(before), len(owner), len(after))
    return owner[:frames], before[:frames] | after[:frames]


def _count(owner: NDArray[np.uint64], flag: NDArray[np.uint64], charged_head: bool) -> tuple[int, bool]:
    """Charged pages of a chunk, tails counted with their head; and whether a compound page that
    was counted goes on into the next chunk."""
    tail = (flag & _TAIL_BIT) != 0
    charged = (owner != 0) & ((flag & _NOT_KMEM) == 0) & ~tail
    # A tail has no owner of its own: it takes that of the last page before it that is no tail.
    at = np.where(tail, -1, np.arange(len(flag)))
    head = np.maximum.accumulate(at)
    of_head = np.where(head >= 0, charged[head], charged_head)
    return int(of_head.sum()), bool(of_head[-1])
