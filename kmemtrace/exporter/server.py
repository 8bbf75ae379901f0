"""The HTTP server: /metrics, /healthz and a page for people."""

import asyncio
import base64
import binascii
import socket
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from aiohttp import web
from prometheus_client.exposition import gzip_accepted

from kmemtrace.exporter.landing import landing_page
from kmemtrace.exporter.source import Source
from kmemtrace.exporter.web_config import WebConfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

READ_EVERY_SECONDS = 10.0
"""Also when nobody scrapes: what is found is kept in a ring buffer, and removed cgroups in a map."""
_STALE_SECONDS = 60.0
_MOST_CONNECTIONS = 256
"""Each is a file descriptor; the tracer needs some of its own to look up names."""
_PATIENCE_SECONDS = 60.0
"""For a reader to take an answer, and for a connection to ask anything."""
_MOST_BODY = 1024
"""Nobody has anything to send."""


class Server:
    """Serves from start() to stop(), on the sockets that it is given."""

    def __init__(self, source: Source, config: WebConfig) -> None:
        self._source, self._config = source, config
        # One at a time: readings are, and passwords shall not cost more than one CPU.
        self._readers = ThreadPoolExecutor(1, "readings")
        self._admission = ThreadPoolExecutor(1, "passwords")
        self._sockets: list[socket.socket] = []
        self._listening: list[asyncio.Server] = []
        app = web.Application(middlewares=[self._answered, self._admitted], client_max_size=_MOST_BODY)
        app.router.add_get("/", self._landing)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=_PATIENCE_SECONDS)
        self._reading: asyncio.Task[None] | None = None
        self._silent: set[asyncio.BaseProtocol] = set()
        """Connections that have not asked anything yet."""

    async def start(self, sockets: list[socket.socket]) -> None:
        await self._runner.setup()
        self._sockets = sockets
        await self._listen()
        self._reading = asyncio.create_task(self._read_now_and_then())

    async def reconfigure(self, config: WebConfig) -> None:
        """From the next connection on; those that are open end as they began."""
        self._config = config
        before = self._listening
        await self._listen()
        for server in before:
            server.close()

    async def stop(self) -> None:
        for server in self._listening:
            server.close()
        if self._reading is not None:
            self._reading.cancel()
        await self._runner.cleanup()
        self._readers.shutdown()
        self._admission.shutdown(wait=False, cancel_futures=True)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        # A copy each time: closing a server closes its socket, and no connection may be refused
        # between the old one and the new.
        self._listening = [
            await loop.create_server(self._protocol, sock=one.dup(), ssl=self._config.tls)
            for one in self._sockets
        ]

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= _MOST_CONNECTIONS:
            return _Refused()
        protocol = server()
        self._silent.add(protocol)
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._end_if_silent, protocol)
        return protocol

    def _end_if_silent(self, protocol: web.RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()

    async def _read_now_and_then(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(READ_EVERY_SECONDS)
            try:
                await loop.run_in_executor(self._readers, self._source.told)
            except Exception as error:  # noqa: BLE001 told once a reading, and by /healthz
                print(f"kmemtrace: the maps could not be read: {error}", file=sys.stderr)

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every answer has the headers of the configuration; what fails is told in a line."""
        self._silent.discard(request.protocol)
        try:
            response = await handler(request)
        except ConnectionError:  # whoever asked has gone
            raise
        except web.HTTPException as error:
            error.headers.update(self._config.headers)
            raise
        except Exception as error:  # noqa: BLE001 a scrape that fails must not end the exporter
            print(f"kmemtrace: {request.path} failed: {error}", file=sys.stderr)
            response = _text(HTTPStatus.SERVICE_UNAVAILABLE, f"The reading failed: {error}")
        if not response.prepared:
            response.headers.update(self._config.headers)
        return response

    @web.middleware
    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._config.users:
            pair = credentials(request.headers.get("Authorization", ""))
            loop = asyncio.get_running_loop()
            if pair is None or not await loop.run_in_executor(
                self._admission, self._config.users.admits, *pair
            ):
                response = _text(HTTPStatus.UNAUTHORIZED, "Unauthorized")
                response.headers["WWW-Authenticate"] = "Basic"
                return response
        return await handler(request)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept, encoding = request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", "")
        zipped = gzip_accepted(encoding)
        loop = asyncio.get_running_loop()
        page = await loop.run_in_executor(self._readers, self._source.page, accept, zipped)
        response = web.StreamResponse(headers={"Content-Type": page.content_type, "Vary": "Accept-Encoding"})
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        response.content_length = len(page.body)
        response.headers.update(self._config.headers)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await response.prepare(request)
                if request.method != "HEAD":
                    await response.write(page.body)
                await response.write_eof()
        except TimeoutError:  # a reader that does not read
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        age = self._source.age_seconds
        if age > _STALE_SECONDS:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"The last reading is {age:.0f} s old.")
        return _text(HTTPStatus.OK, "ok")

    async def _landing(self, _request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        told = await loop.run_in_executor(self._readers, self._source.told)
        return web.Response(text=landing_page(told), content_type="text/html")


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def credentials(header: str) -> tuple[str, str] | None:
    """User and password of a header Authorization; None where it is not of basic authentication."""
    kind, _, rest = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
