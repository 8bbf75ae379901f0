"""The guest's side of guests/injector.py: functions of this kernel called, and its memory read and
written, from a test."""

import ctypes
import errno
import os
import time
from pathlib import Path

from guests.injector import CALL, MAGIC, PEEK, POKE, READY, REQUEST, RESULT_AT, TRAP
from kmemtrace.errors import CannotError
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel
from kmemtrace.kernel.layout import gfp_account, page_mark

_SYS_VHANGUP = 153
"""On x86-64."""
_GFP_KERNEL = 0xCC0
_GFP_COMP = 0x40000
"""From 5.4 to 7.3, as GFP_KERNEL is what it is."""
_ENOUGH_SECONDS = 60
_TRIES = 100


class Kernel:
    """This guest's kernel. Each method that touches it stops all of the guest for some milliseconds."""

    def __init__(self, folder: Path) -> None:
        """`folder` is shared with the host, where the injector waits for word from us."""
        self._symbols = _functions()
        with Btf() as btf:
            facts = RunningKernel(btf)
            self.mark, self._account = page_mark(facts), gfp_account(facts)
            self._offsets = {
                (s, f): facts.offset(s, f)
                for s, f in (
                    ("page", self.mark.mark_field),
                    ("page", self.mark.owner_field),
                    ("page", "_refcount"),
                    ("mem_cgroup", "memory"),
                    ("mem_cgroup", "kmem"),
                    ("obj_cgroup", "memcg"),
                )
            }
            self.page_size = facts.size("page") or 64
        self._libc = ctypes.CDLL(None, use_errno=True)
        (folder / TRAP).write_text(f"{self.address('__x64_sys_vhangup'):x}")
        deadline = time.monotonic() + _ENOUGH_SECONDS
        while not (folder / READY).exists():
            if time.monotonic() > deadline:
                raise TimeoutError("no injector answers from outside the guest")
            time.sleep(0.2)

    def address(self, *names: str) -> int:
        """Of the first of these functions that this kernel has."""
        for name in names:
            if name in self._symbols:
                return self._symbols[name]
        raise CannotError(f"this kernel has none of {', '.join(names)}")

    def call(self, function: int, *arguments: int, left_out: int = 0) -> int:
        """What the function answers; calls that it makes of `left_out` are not made, and give 0."""
        words = [*arguments, 0, 0, 0, 0, 0][:5]
        return self._ask(CALL, function, words, left_out)

    def peek(self, address: int, size: int = 8) -> int:
        return self._ask(PEEK, address, [0, size, 0, 0, 0])

    def poke(self, address: int, value: int, size: int = 8) -> None:
        self._ask(POKE, address, [value, size, 0, 0, 0])

    def alloc(
        self, order: int = 0, *, account: bool = True, compound: bool = False, left_out: int = 0
    ) -> int:
        """The struct page of a block."""
        function = self.address("__alloc_pages_noprof", "__alloc_pages", "__alloc_pages_nodemask")
        gfp = _GFP_KERNEL | (self._account if account else 0) | (_GFP_COMP if compound else 0)
        # The fifth are alloc_flags from 7.3 on; nothing before reads it.
        page = self.call(function, gfp, order, 0, 0, 0, left_out=left_out)
        assert page, "the kernel had no page"
        return page

    def free(self, page: int, order: int = 0) -> None:
        self.call(self.address("__free_pages"), page, order)

    def put(self, page: int) -> None:
        """Drops the last reference of a block, as put_page() does."""
        self.set_refcount(page, 0)
        self.call(self.address("__folio_put", "__put_page"), page)

    def uncharge(self, page: int, order: int = 0) -> None:
        self.call(self.address("__memcg_kmem_uncharge_page"), page, order)

    def tail(self, page: int, number: int) -> int:
        return page + number * self.page_size

    def set_refcount(self, page: int, count: int) -> None:
        self.poke(page + self._offset("page", "_refcount"), count, 4)

    def marks(self, page: int) -> tuple[int, int]:
        """Mark and owner of a page, for set_marks(); the same word from 5.11 on."""
        mark = self.peek(page + self._offset("page", self.mark.mark_field), self.mark.mark_size)
        return mark, self.peek(page + self._offset("page", self.mark.owner_field))

    def set_marks(self, page: int, marks: tuple[int, int]) -> None:
        self.poke(page + self._offset("page", self.mark.mark_field), marks[0], self.mark.mark_size)
        self.poke(page + self._offset("page", self.mark.owner_field), marks[1])

    @property
    def unmarked(self) -> tuple[int, int]:
        """Of a page that is charged to nobody."""
        return (0, 0) if self.mark.mark_size == 8 else (0xFFFFFFFF, 0)

    def swap_owners(self, page: int, other: int) -> None:
        mine, others = self.marks(page), self.marks(other)
        self.set_marks(page, others)
        self.set_marks(other, mine)

    def memory_counter(self, page: int) -> int:
        """The page counter `memory` of the memcg that a page is charged to."""
        owner = self.marks(page)[1] & ~7
        if self.mark.owner_is_objcg:
            owner = self.peek(owner + self._offset("obj_cgroup", "memcg"))
        return owner + self._offset("mem_cgroup", "memory")

    def _offset(self, struct: str, field: str) -> int:
        found = self._offsets[struct, field]
        assert found is not None, f"{struct}.{field}"
        return found

    def _ask(self, what: int, target: int, arguments: list[int], left_out: int = 0) -> int:
        request = ctypes.create_string_buffer(REQUEST.size)
        REQUEST.pack_into(request, 0, what, target, *arguments, 0, left_out)
        # vhangup() would answer EPERM or hang up a terminal; left out by the injector, it answers 0, or
        # EAGAIN where the kernel was moving our memory.
        address = ctypes.c_void_p(ctypes.addressof(request))
        for _ in range(_TRIES):
            if self._libc.syscall(_SYS_VHANGUP, address, ctypes.c_uint64(MAGIC)) == 0:
                return int.from_bytes(request.raw[RESULT_AT : RESULT_AT + 8], "little")
            if ctypes.get_errno() != errno.EAGAIN:
                break
            time.sleep(0.01)
            request[RESULT_AT] = b"\0"  # written to, so that it is there
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _functions() -> dict[str, int]:
    """Addresses by name; of names that stand for several, the first."""
    found: dict[str, int] = {}
    with Path("/proc/kallsyms").open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            address, kind, name = line.split()[:3]
            if kind in "tT":
                found.setdefault(name, int(address, 16))
    return found
