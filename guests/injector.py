"""Puts faults into a running guest from outside: calls functions of its kernel, reads and writes its
memory, as a process in the guest asks. The guest's kernel is as its distribution built it.

The guest's side is tests/faults/kernel.py. A process there calls vhangup(2), which takes no argument,
with the address of a Request and MAGIC. A breakpoint stands on that system call: the guest stops in the
process's own context, holding no lock, so that any function may be called. The call itself is then left
out; without MAGIC it is somebody else's, and made.

The process's memory can be away for a moment, as while khugepaged moves it: it is told to ask again then.
"""

import errno
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from guests.gdb import ARGUMENTS, RAX, RDI, RIP, RSP, Gdb

SOCKET, TRAP, READY = "gdb.socket", "trap", "injector-ready"
"""Files in the folder that host and guest share."""

CALL, PEEK, POKE = 0, 1, 2
REQUEST = struct.Struct("<9Q")
"""What; function or address; 5 arguments, or value and size; result; a function to leave out while
calling, whose callers get 0."""
RESULT_AT = 7 * 8
MAGIC = 0x6B6D656D74726163

_PT_REGS_SI, _PT_REGS_DI = 104, 112
_STACK = 1 << 14
_WORD = (1 << 64) - 1


def qemu_options(folder: Path) -> str:
    return f"-gdb unix:{folder / SOCKET},server=on,wait=off"


@dataclass(frozen=True)
class _Request:
    what: int
    target: int
    arguments: tuple[int, ...]
    left_out: int


class Injector(threading.Thread):
    """Serves one guest, whose folder it is told, until the guest ends or end() is called."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._end = threading.Event()
        self._trap = 0
        self._result: int | None = None
        """Of a request that was done, and whose process does not know it yet."""

    def end(self) -> None:
        self._end.set()

    def run(self) -> None:
        trap = self._folder / TRAP
        while not trap.exists():
            if self._end.wait(0.5):
                return
        time.sleep(0.5)  # it may be half-written
        self._trap = int(trap.read_text(), 16)
        gdb = Gdb(self._folder / SOCKET)
        try:
            gdb.set_breakpoint(self._trap)
            (self._folder / READY).touch()
            while gdb.resume():
                self._serve(gdb)
        except Exception as error:  # noqa: BLE001 told to whoever reads the guest's folder
            (self._folder / "injector.log").write_text(f"{error!r}\n")
        gdb.close()

    def _serve(self, gdb: Gdb) -> None:
        """Answers one request and lets the system call return."""
        before = gdb.registers()
        if gdb.read_u64(before[RDI] + _PT_REGS_SI) != MAGIC:
            _pass_by(gdb, before, self._trap, mine=False)
            return
        told = self._tell(gdb, gdb.read_u64(before[RDI] + _PT_REGS_DI), before)
        _return(gdb, before, 0 if told else -errno.EAGAIN)

    def _tell(self, gdb: Gdb, asked: int, before: list[int]) -> bool:
        """Does what the request at that address wants, unless it is done, and writes the result into it.

        False where the request cannot be read or written now."""
        if self._result is None:
            try:
                what, target, *arguments, _, left_out = REQUEST.unpack(gdb.read(asked, REQUEST.size))
            except OSError:
                return False
            self._result = self._do(gdb, _Request(what, target, tuple(arguments), left_out), before)
        try:
            gdb.write(asked + RESULT_AT, struct.pack("<Q", self._result))
        except OSError:
            return False
        self._result = None
        return True

    def _do(self, gdb: Gdb, request: _Request, before: list[int]) -> int:
        if request.what == PEEK:
            return int.from_bytes(gdb.read(request.target, request.arguments[1]), "little")
        if request.what == POKE:
            value, size = request.arguments[:2]
            gdb.write(request.target, value.to_bytes(size, "little"))
            return 0
        return self._call(gdb, request, before)

    def _call(self, gdb: Gdb, request: _Request, before: list[int]) -> int:
        """Calls the function on the stopped CPU, returning to the trap; the registers are as before
        then, but for those that every call may change."""
        stack = before[RSP] - 8
        gdb.write(stack, struct.pack("<Q", self._trap))
        for register, value in zip(ARGUMENTS, request.arguments, strict=True):
            gdb.set_register(register, value)
        gdb.set_register(RSP, stack)
        gdb.set_register(RIP, request.target)
        if request.left_out:
            gdb.set_breakpoint(request.left_out)
        while True:
            if not gdb.resume():
                raise OSError("the guest ended during a call")
            now = gdb.registers()
            mine = now[RSP] // _STACK == stack // _STACK
            if now[RIP] == self._trap and mine and now[RSP] == before[RSP]:
                break
            if now[RIP] in (self._trap, request.left_out):
                _pass_by(gdb, now, now[RIP], mine=mine and now[RIP] == request.left_out)
        if request.left_out:
            gdb.clear_breakpoint(request.left_out)
        return now[RAX]


def _pass_by(gdb: Gdb, registers: list[int], function: int, *, mine: bool) -> None:
    """Lets a call of ours return 0 at once, and anybody else's be made."""
    if mine:
        _return(gdb, registers, 0)
        return
    gdb.clear_breakpoint(function)
    gdb.step()
    gdb.set_breakpoint(function)


def _return(gdb: Gdb, registers: list[int], answer: int) -> None:
    """Leaves out the function that the CPU stands at: it answers that."""
    gdb.set_register(RIP, gdb.read_u64(registers[RSP]))
    gdb.set_register(RSP, registers[RSP] + 8)
    gdb.set_register(RAX, answer & _WORD)
