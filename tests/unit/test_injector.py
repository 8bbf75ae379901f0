"""A request of a guest's process, whose memory can be away for a moment, is done once."""

import errno
import struct
from pathlib import Path

import pytest

from guests.gdb import RAX, RDI, RIP, RSP, Gdb
from guests.injector import MAGIC, POKE, REQUEST, RESULT_AT, Injector

_REGISTERS, _STACK, _REQUEST, _TARGET = 0x1000, 0x2000, 0x7F9D_C601_B000, 0x3000
_CALLER = 0x4711


class Guest(Gdb):
    """A guest that stands at the system call, and the memory of which can be away."""

    def __init__(self) -> None:
        self.memory = bytearray(0x4000)
        self.request = bytearray(REQUEST.pack(POKE, _TARGET, 13, 4, 0, 0, 0, 0, 0))
        self.away: list[str] = []
        """What is refused of the request's memory, one after the other."""
        self.written: list[int] = []
        self.cpu = [0] * 17
        self.cpu[RDI], self.cpu[RSP] = _REGISTERS, _STACK
        struct.pack_into("<QQ", self.memory, _REGISTERS + 104, MAGIC, _REQUEST)
        struct.pack_into("<Q", self.memory, _STACK, _CALLER)

    def registers(self) -> list[int]:
        return list(self.cpu)

    def set_register(self, number: int, value: int) -> None:
        self.cpu[number] = value

    def read(self, address: int, size: int) -> bytes:
        where, at = self._place("read", address)
        return bytes(where[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        where, at = self._place("write", address)
        where[at : at + len(data)] = data
        self.written.append(address)

    def _place(self, how: str, address: int) -> tuple[bytearray, int]:
        if address < len(self.memory):
            return self.memory, address
        if self.away and self.away[0] == how:
            del self.away[0]
            raise OSError("E14")
        return self.request, address - _REQUEST


@pytest.mark.parametrize("away", [[], ["read"], ["write"], ["read", "read", "write", "write"]])
def test_it_is_asked_again_until_its_process_knows(tmp_path: Path, away: list[str]) -> None:
    guest, injector = Guest(), Injector(tmp_path)
    guest.away = list(away)
    answers = []
    for _ in range(len(away) + 1):
        guest.cpu[RSP] = _STACK
        injector._serve(guest)
        assert (guest.cpu[RIP], guest.cpu[RSP]) == (_CALLER, _STACK + 8)
        answers.append(guest.cpu[RAX])
    assert answers == [-errno.EAGAIN & (1 << 64) - 1] * len(away) + [0]
    assert guest.written == [_TARGET, _REQUEST + RESULT_AT]
    assert int.from_bytes(guest.memory[_TARGET : _TARGET + 4], "little") == 13
