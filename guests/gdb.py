"""A client of QEMU's gdb stub, as far as it takes to call functions of a guest's kernel.

The protocol: https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html
"""

import contextlib
import re
import socket
import struct
from pathlib import Path

RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, RIP = 0, 1, 2, 3, 4, 5, 6, 7, 8, 16
_ANSWER_SECONDS = 60
ARGUMENTS = (RDI, RSI, RDX, RCX, R8)


class Gdb:
    """One connection; the guest stands still from connecting on, until resume()."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_SECONDS)  # rather than leave the guest standing for good
        self._socket.connect(str(path))
        self._pending = b""
        self._thread = ""
        # Before 8.1 QEMU tells by itself that it stopped, from then on only whoever asks: what comes
        # before the first answer that can be nothing else is passed over.
        answer = self._command("qSupported")
        while answer and not answer.startswith("PacketSize="):
            answer = self._answer()
        self._select(self._command("?"))
        # It lets registers be written only by who has asked what there are.
        self._command("qXfer:features:read:target.xml:0,ffb")

    def close(self) -> None:
        """The guest goes on without us, if it still runs."""
        with contextlib.suppress(OSError):
            self._command("D")
        self._socket.close()

    def registers(self) -> list[int]:
        """The 16 general registers of the stopped CPU and rip, in the stub's order."""
        return list(struct.unpack("<17Q", bytes.fromhex(self._command("g"))[:136]))

    def set_register(self, number: int, value: int) -> None:
        self._do(f"P{number:x}={struct.pack('<Q', value).hex()}")

    def read(self, address: int, size: int) -> bytes:
        answer = self._command(f"m{address:x},{size:x}")
        if answer.startswith("E") or len(answer) != 2 * size:
            raise OSError(f"{size} bytes at {address:#x} cannot be read: {answer}")
        return bytes.fromhex(answer)

    def write(self, address: int, data: bytes) -> None:
        self._do(f"M{address:x},{len(data):x}:{data.hex()}")

    def read_u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def set_breakpoint(self, address: int) -> None:
        self._do(f"Z0,{address:x},1")

    def clear_breakpoint(self, address: int) -> None:
        self._do(f"z0,{address:x},1")

    def resume(self) -> bool:
        """Runs until the next breakpoint; False when the guest has ended."""
        self._socket.settimeout(None)
        stop = self._command("vCont;c")
        self._socket.settimeout(_ANSWER_SECONDS)
        return self._select(stop)

    def step(self) -> None:
        """One instruction of the stopped CPU, the others standing still."""
        self._select(self._command(f"vCont;s:{self._thread}"))

    def _do(self, command: str) -> None:
        answer = self._command(command)
        if answer != "OK":
            raise OSError(f"QEMU refused {command}: {answer or 'not known'}")

    def _select(self, stop: str) -> bool:
        found = re.match(r"T[0-9a-f]{2}.*thread:([0-9a-fp.]+);", stop)
        if found is None:
            return False
        self._thread = found[1]
        self._command(f"Hg{self._thread}")
        return True

    def _command(self, text: str) -> str:
        data = text.encode()
        self._socket.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xFF))
        return self._answer()

    def _answer(self) -> str:
        while True:
            found = re.search(rb"\$([^#]*)#[0-9a-f]{2}", self._pending)
            if found is not None:
                self._pending = self._pending[found.end() :]
                self._socket.sendall(b"+")
                return found[1].decode()
            more = self._socket.recv(1 << 16)
            if not more:
                return ""
            self._pending += more
