"""Accepts connections and hands them to aiohttp, within bounds that aiohttp and asyncio do not keep.

asyncio's own servers accept without end; when descriptors run out they log a traceback for each connection
that waits; and a peer in the midst of a TLS handshake cannot be ended there.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from kmemtrace.exporter.connections import Peer, Room, address_of
from kmemtrace.exporter.log import Level, Log

ASK_SECONDS = 5.0
"""Time for a newcomer to shake hands and to have asked."""
IDLE_SECONDS = 20.0
"""Time for the next question. Prometheus connects anew when it asks less often."""
_CLOSE_SECONDS = 2.0
"""Time for a peer to agree to the end of TLS."""
_MOST_BYTES = 32 << 10
"""Most bytes of a question, and of all that comes before its answer is made: nobody has anything to send."""
_MOST_HEADERS = 64
_AT_A_TIME = 16
"""Connections accepted before those that are open have their turn: it takes some turns until a question is
read, and by then a newcomer must not be the one that was waited for longest."""
_PAUSE_SECONDS = 0.1
_NO_WORDS = struct.pack("ii", 1, 0)
"""Value of SO_LINGER by which a connection is closed with a reset, and the kernel keeps nothing of it."""

BACKLOG = 1024
"""Connections that may wait to be accepted; one too many would be tried again after a second."""


class Connection(web.RequestHandler):
    """Answers as aiohttp does, but little to what is no HTTP, and ends what goes on for too long."""

    def __init__(self, server: web.Server, room: Room, log: Log, sock: socket.socket) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's runner passes it like this too
            keepalive_timeout=IDLE_SECONDS + 1,  # the room ends it before
            lingering_time=1.0,
            max_headers=_MOST_HEADERS,
        )
        self._room, self._log, self._sock = room, log, sock
        self._open: asyncio.Transport | None = None
        self._bytes = 0
        self.peer: Peer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._open = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.peer is not None:
            self._room.leave(self.peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            self._log.complain(Level.WARN, "too much", f"{self._who()} was ended: it sent too much at once")
            self.end()
        else:
            super().data_received(data)

    def works(self) -> bool:
        """Says that we make its answer from now on; False where it has been ended."""
        self._bytes = 0
        return self.peer is not None and self._room.works(self.peer)

    def waits(self, seconds: float) -> None:
        """Says that we wait for it from now on, for so many seconds."""
        if self.peer is not None:
            self._room.waits(self.peer, seconds)

    def end(self) -> None:
        """Ends it at once, whatever it is about."""
        if self._open is not None:
            self._open.abort()
        else:  # in the midst of a handshake, which fails of this
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 quotes what was asked
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):  # whoever asked has gone, or was ended
            raise exc
        what = "" if exc is None else f" ({type(exc).__name__})"
        self._log.complain(Level.WARN, f"status {status}", f"{self._who()} got status {status}{what}")
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer has been sent")
        response = web.Response(status=status, text=f"{HTTPStatus(status).phrase}\n")
        response.force_close()
        return response

    def _who(self) -> str:
        return "A connection" if self.peer is None else f"A connection from {self.peer.address}"


class Listener:
    """Accepts connections from open() to close()."""

    def __init__(
        self, server: web.Server, room: Room, log: Log, tls: Callable[[], ssl.SSLContext | None]
    ) -> None:
        """Prepares to accept; `tls` is asked anew for each connection."""
        self._server, self._room, self._log, self._tls = server, room, log, tls
        self._accepting: list[asyncio.Task[None]] = []
        self._connecting: set[asyncio.Task[None]] = set()

    def open(self, sockets: list[socket.socket]) -> None:
        for one in sockets:
            one.setblocking(False)
            self._accepting.append(asyncio.create_task(self._accept(one)))

    async def close(self) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)

    async def end(self) -> None:
        """Ends all connections that are open."""
        self._room.end_all()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_AT_A_TIME):
                try:
                    sock, where = await loop.sock_accept(listening)
                except ConnectionError:  # gone before it came
                    continue
                except OSError as error:
                    words = f"No connection can be accepted: {error.strerror}"
                    self._log.complain(Level.ERROR, "accept", words)
                    self._room.make_room()
                    await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    self._enter(sock, address_of(where[0]))
            await asyncio.sleep(0)

    def _enter(self, sock: socket.socket, address: str) -> None:
        connection = Connection(self._server, self._room, self._log, sock)
        connection.peer = self._room.enter(address, connection.end, ASK_SECONDS)
        if connection.peer is None:
            words = f"A connection from {address} was refused: too many at once"
            self._log.complain(Level.WARN, "full", words)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_WORDS)
            sock.close()
            return
        task = asyncio.create_task(self._connect(sock, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, sock: socket.socket, connection: Connection) -> None:
        loop, tls = asyncio.get_running_loop(), self._tls()
        timeouts = {"ssl_handshake_timeout": ASK_SECONDS, "ssl_shutdown_timeout": _CLOSE_SECONDS}
        try:
            await loop.connect_accepted_socket(lambda: connection, sock, ssl=tls, **timeouts if tls else {})
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                who = connection.peer.address if connection.peer else "somebody"
                self._log.complain(Level.INFO, "TLS", f"No TLS with {who}: {error.reason or error}")
            if connection.peer is not None:
                self._room.leave(connection.peer)
