"""What a scraper waits for while others are at work: `make bench-peers`, or python bench/peers.py.

Starts an exporter with passwords (bcrypt, cost 10), and asks it as a Prometheus would: alone, and then while
1,000 peers hang on (in six ways, all with the right password, and back a second after they are ended), 200
scrapers scrape every second, and 100 peers try a new wrong password every second; then alone again, since the
machine may have other things to do. At last the exporter's descriptors, memory and log lines over scrapes.
"""

import argparse
import asyncio
import base64
import contextlib
import http.client
import math
import multiprocessing
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import bcrypt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

_COST = 10
_PATIENCE_SECONDS = 10.0
_MANY_DESCRIPTORS = 4096


def _question(password: str, what: str = "GET /metrics", more: str = "") -> bytes:
    pair = base64.b64encode(f"prometheus:{password}".encode()).decode()
    return f"{what} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {pair}\r\n{more}\r\n".encode()


RIGHT = _question("right")
SLOW = (
    b"",
    RIGHT[:-2],
    RIGHT,
    _question("right", "GET /healthz"),
    _question("right", "POST /metrics", "Content-Length: 999\r\n"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)
"""Says nothing; half a question; asks and does not read; asks no more; sends no body; begins TLS."""


@dataclass(frozen=True, slots=True)
class Exporter:
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def lines(self) -> int:
        return len(self.log.read_text().splitlines())

    def state(self) -> str:
        folder = Path(f"/proc/{self.process.pid}")
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
        resident = int((folder / "status").read_text().split("VmRSS:")[1].split()[0]) / 1024
        return f"descriptors {descriptors}, resident {resident:.1f}M, log lines {self.lines()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slow", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--scrapers", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--wrong", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement (%(default)s)")
    parser.add_argument("--scrapes", type=int, default=2000, help="default: %(default)s")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with tempfile.TemporaryDirectory(prefix="kmemtrace-") as folder, _exporter(Path(folder)) as one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _MANY_DESCRIPTORS), hard))
        alone = _measure(one.port, options.seconds / 2)
        with _crowd(one.port, options.slow, options.scrapers, options.wrong):
            amidst = _measure(one.port, options.seconds)
            print(f"Amidst all others: {one.state()}")
        for path, times in _measure(one.port, options.seconds / 2).items():
            alone[path] += times
        _report(alone, amidst)
        _flat(one, options.scrapes)
    return 0


def _report(alone: dict[str, list[float]], amidst: dict[str, list[float]]) -> None:
    for path, before in alone.items():
        failed, after = amidst[path].count(math.inf), amidst[path]
        print(f"{path}, asked {len(before)} times alone, {len(after)} times amidst others; failed {failed}")
        for name, of in (("median", statistics.median), ("90th of 100", _late), ("slowest", max)):
            one, other = of(before), of(after)
            print(f"  {name:<12} {one * 1e3:.1f} ms, {other * 1e3:.1f} ms: {other / one:.1f} times as long")


def _late(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 9 // 10]


def _measure(port: int, seconds: float) -> dict[str, list[float]]:
    """Times of scrapes over a connection that is kept, and of questions to /healthz over new ones."""
    times: dict[str, list[float]] = {"/metrics": [], "/healthz": []}
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times["/metrics"].append(_time(kept, "/metrics"))
        fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
        times["/healthz"].append(_time(fresh, "/healthz"))
        fresh.close()
        time.sleep(0.2)
    kept.close()
    return times


def _time(connection: http.client.HTTPConnection, path: str) -> float:
    """Of one question; once more where a connection was ended that had been kept, as Prometheus does."""
    pair = base64.b64encode(b"prometheus:right").decode()
    begin = time.monotonic()
    for _ in range(1 + (connection.sock is not None)):
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {pair}"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
        else:
            return time.monotonic() - begin if response.status == 200 else math.inf
    return math.inf


@contextmanager
def _exporter(folder: Path) -> Iterator[Exporter]:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(_COST)).decode()
    (folder / "web.yml").write_text(f"basic_auth_users: {{prometheus: {hashed}}}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kmemtrace", "export", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.config.file={folder / 'web.yml'}"], stderr=log)
    one = Exporter(process, port, folder / "log")
    try:
        while not one.lines():
            if process.poll() is not None:
                sys.exit(4)
            time.sleep(0.1)
        _measure(port, 2.0)
        yield one
    finally:
        process.terminate()
        process.wait()
        print("The exporter's log:", *one.log.read_text().splitlines(), sep="\n  ")


@contextmanager
def _crowd(port: int, slow: int, scrapers: int, wrong: int) -> Iterator[None]:
    """In a process of its own, from when all have come once."""
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_come, args=(port, slow, scrapers, wrong, ready))
    process.start()
    ready.wait()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _come(port: int, slow: int, scrapers: int, wrong: int, ready: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_all(port, slow, scrapers, wrong, ready.set))


async def _all(port: int, slow: int, scrapers: int, wrong: int, ready: Callable[[], None]) -> None:
    tasks = [asyncio.create_task(_again(partial(_hang_on, port, said))) for said in _cycle(slow)]
    await asyncio.sleep(2)
    tasks += [asyncio.create_task(_again(lambda: _ask(port, RIGHT))) for _ in range(scrapers)]
    tasks += [asyncio.create_task(_again(lambda: _ask(port, _wrong()))) for _ in range(wrong)]
    await asyncio.sleep(2)
    ready()
    await asyncio.gather(*tasks)


def _cycle(count: int) -> list[bytes]:
    return [SLOW[number % len(SLOW)] for number in range(count)]


def _wrong() -> bytes:
    return _question(f"wrong {random.random()}")


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await work()
        await asyncio.sleep(random.uniform(0.5, 1.5))


async def _hang_on(port: int, said: bytes) -> None:
    """Until it is ended, and without reading anything."""
    loop = asyncio.get_running_loop()
    with socket.socket() as one:
        one.setblocking(False)
        await loop.sock_connect(one, ("127.0.0.1", port))
        await loop.sock_sendall(one, said)
        while _is_open(one):
            await asyncio.sleep(0.5)


def _is_open(one: socket.socket) -> bool:
    """By the kernel's state of it: nothing is read."""
    established = 1
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == established


async def _ask(port: int, question: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost"))
        await reader.read()
        while not reader.at_eof():
            await reader.read(1 << 16)
    finally:
        writer.close()


def _flat(one: Exporter, scrapes: int) -> None:
    print(f"{scrapes:,} scrapes, each over a connection of its own:")
    for number in range(1, scrapes + 1):
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=_PATIENCE_SECONDS)
        _time(connection, "/metrics")
        connection.close()
        if number % max(1, scrapes // 5) == 0:
            print(f"  after {number:>5,}: {one.state()}")


if __name__ == "__main__":
    sys.exit(main())
