"""Peers that hang on, by the thousand: whoever asks and reads is served all the same."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import pytest
import trustme

from kmemtrace.exporter import connections, listener, sending
from kmemtrace.exporter.source import Page, Source
from tests.web.conftest import Export, Exporter
from tests.web.test_server import CLIENTS, TLS, Load, ask, authority, load, still_answers, trusting

__all__ = ["authority", "load"]

FOR_EVER = 3600.0
PEERS = 1000
SLOW = {
    "silent": b"",
    "half a question": b"GET /metrics HTTP/1.1\r\nHost: a\r\n",
    "does not read": b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "asks no more": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a body that does not come": b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n",
    "half a handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """For both ends of each connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is ended for being slow, but only to make room."""
    for module, name in ((listener, "ASK_SECONDS"), (listener, "IDLE_SECONDS"), (sending, "TAKE_SECONDS")):
        monkeypatch.setattr(module, name, FOR_EVER)
    monkeypatch.setattr("kmemtrace.exporter.server.IDLE_SECONDS", FOR_EVER)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far less room than is asked for."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 256)


def hang_on(exporter: Exporter, stack: ExitStack, said: bytes) -> None:
    connection = stack.enter_context(exporter.connect())
    with contextlib.suppress(ConnectionError):  # it had to make room already
        connection.sendall(said)


@pytest.mark.parametrize("kinds", [*([name] for name in SLOW), list(SLOW)], ids=", ".join)
def test_a_thousand_that_hang_on(patient: None, small: None, export: Export, kinds: list[str]) -> None:
    exporter = export()
    with ExitStack() as stack:
        for kind in islice(cycle(kinds), PEERS):
            hang_on(exporter, stack, SLOW[kind])
        for path in ("/metrics", "/healthz") * 3:
            assert ask(exporter, path)[0].status == 200


def test_a_thousand_amidst_a_handshake(
    patient: None, small: None, export: Export, load: Load, authority: trustme.CA
) -> None:
    exporter = export(load(TLS % CLIENTS))
    known = trusting(authority)
    authority.issue_cert("client").configure_cert(known)
    with ExitStack() as stack:
        for kind in islice(cycle(("silent", "half a handshake")), PEERS):
            hang_on(exporter, stack, SLOW[kind])
        for path in ("/metrics", "/healthz"):
            assert ask(exporter, path, tls=known)[0].status == 200


def test_so_many_stay(patient: None, small: None, export: Export) -> None:
    """The newest, of one address three quarters of all."""
    exporter = export()
    with ExitStack() as stack:
        peers = [stack.enter_context(exporter.connect()) for _ in range(256)]
        for peer in peers[: 256 // 4]:
            assert peer.recv(1) == b"", "ended"
        ask(exporter)
        newest = peers[-1]
        newest.sendall(SLOW["asks no more"])
        assert newest.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("kind", SLOW)
def test_who_is_slow_is_ended(export: Export, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for module, name in ((listener, "ASK_SECONDS"), (sending, "TAKE_SECONDS")):
        monkeypatch.setattr(module, name, 0.3)
    monkeypatch.setattr("kmemtrace.exporter.server.IDLE_SECONDS", 0.3)
    # It is far larger than what the kernel keeps of it.
    monkeypatch.setattr(Source, "page", lambda *_: Page(bytes(64 << 20), "text/plain"))
    exporter = export()
    with exporter.connect() as connection:
        connection.sendall(SLOW[kind])
        if kind == "does not read":
            assert connection.recv(1), "it is being answered"
            while exporter.server.connections:
                time.sleep(0.05)
        assert count_all(connection) < 32 << 20


def count_all(connection: socket.socket) -> int:
    """Bytes that come until the connection is ended at the other side."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 20):
            count += len(data)
    return count


def test_pages_that_nobody_reads_are_let_go(
    patient: None, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first."""
    size, numbers = 16 << 20, iter(range(1, 100))
    monkeypatch.setattr(sending, "MOST_BYTES", 4 * size)
    monkeypatch.setattr(Source, "page", lambda *_: Page(bytes([next(numbers)]) * size, "text/plain"))
    exporter = export()
    with ExitStack() as stack:
        peers = [stack.enter_context(exporter.connect()) for _ in range(8)]
        for peer in peers:
            peer.sendall(SLOW["does not read"].replace(b"Host", b"Connection: close\r\nHost"))
            assert peer.recv(4).startswith(b"HTTP"), "its page is being sent"
        got = [count_all(peer) for peer in peers]
    assert all(count < size for count in got[:4])
    assert all(count >= size for count in got[4:])


def test_without_descriptors_the_log_stays_short(
    patient: None, export: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    """Connections are there, and none can be accepted for as long."""
    exporter = export()
    ask(exporter)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.socket()) for _ in range(100)]
        lowest_free = 1 + max(int(one.name) for one in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(lowest_free, peers[0].fileno() + 1), before[1]))
        try:
            for peer in peers:
                peer.connect(("127.0.0.1", exporter.port))
            said = ""
            while "Too many open files" not in said:
                said += capfd.readouterr().err
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        still_answers(exporter)
    exporter.run(exporter.server.stop())
    said += capfd.readouterr().err
    assert len(said.splitlines()) <= 2, said
    assert said.startswith("kmemtrace: No connection can be accepted: Too many open files")


def test_words_without_end(export: Export) -> None:
    """A question that goes on for ever is no question."""
    exporter = export()
    with exporter.connect() as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: a\r\n" * 10_000_000)
    still_answers(exporter)
