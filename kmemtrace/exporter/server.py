"""Serves HTTP: /metrics, /healthz and a page for people."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web
from prometheus_client.exposition import gzip_accepted

from kmemtrace.exporter.admission import Admission, Verdict
from kmemtrace.exporter.connections import Room, room_for_connections
from kmemtrace.exporter.landing import landing_page
from kmemtrace.exporter.listener import IDLE_SECONDS, Connection, Listener
from kmemtrace.exporter.log import Level, Log
from kmemtrace.exporter.sending import Sending
from kmemtrace.exporter.source import Source
from kmemtrace.exporter.web_config import WebConfig

Answer = TypeVar("Answer")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

READ_EVERY_SECONDS = 10.0
"""Time between readings also when nobody scrapes: what is found is kept in a ring buffer, and removed cgroups
in a map."""
_STALE_SECONDS = 60.0
_KEEP_HOUSE_SECONDS = 0.5
_MOST_BODY = 1024
"""Most bytes of a question's body: nobody has anything to send."""
METRICS = "/metrics"
HEALTH = ("/healthz", "/-/healthy")
READY = "/-/ready"
_CHALLENGE = 'Basic realm="kmemtrace", charset="UTF-8"'


class Server:
    """Serves from start() to stop(), on the sockets that it is given."""

    def __init__(self, source: Source, config: WebConfig, log: Log, metrics_path: str = METRICS) -> None:
        """Prepares to serve; `metrics_path` is in place of /metrics, and at / there is no page for people."""
        self._source, self._config, self._log = source, config, log
        self._metrics_path = metrics_path
        self._readers = ThreadPoolExecutor(1, "readings")  # which are made one at a time
        self._admission, self._sending = Admission(), Sending()
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        self._room = Room(room_for_connections())
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._open = contextlib.ExitStack()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._answered, self._admitted], client_max_size=_MOST_BODY)
        app.router.add_get(self._metrics_path, self._metrics)
        for path in HEALTH:
            app.router.add_get(path, self._health)
        app.router.add_get(READY, self._ready)
        if self._metrics_path != "/":
            app.router.add_get("/", self._landing)
        return app

    async def start(self, sockets: list[socket.socket]) -> None:
        self._open.enter_context(self._log.instead_of("aiohttp", "asyncio"))
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = Listener(self._runner.server, self._room, self._log, lambda: self._config.tls)
        self._listener.open(sockets)
        self._tasks = [
            asyncio.create_task(self._read_now_and_then()),
            asyncio.create_task(self._keep_house()),
        ]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._room)

    @property
    def config(self) -> WebConfig:
        return self._config

    def reconfigure(self, config: WebConfig) -> None:
        """Takes another configuration.

        TLS holds from the next connection on, all else from the next question on.
        """
        self._config = config

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._listener is not None:
            await self._listener.close()
        await self._runner.cleanup()
        if self._listener is not None:
            await self._listener.end()
        self._readers.shutdown()
        self._admission.close()
        self._log.flush(now=True)
        self._open.close()

    async def _read_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_SECONDS)
            try:
                await self._in_turn(self._source.told)
            except Exception as error:  # noqa: BLE001 told, also by /healthz
                self._log.complain(Level.ERROR, "reading", f"The maps could not be read: {error}")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_HOUSE_SECONDS)
            self._room.end_overdue()
            self._log.flush()

    async def _in_turn(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Gives every answer the headers of the configuration; what fails is told in a line."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        if not connection.works():
            raise ConnectionResetError("ended meanwhile")
        try:
            response = await handler(request)
        except ConnectionError:  # whoever asked has gone
            raise
        except web.HTTPException as error:
            error.headers.update(self._config.headers)
            raise
        except Exception as error:  # noqa: BLE001 a scrape that fails must not end the exporter
            self._log.complain(Level.ERROR, "reading", f"The maps could not be read: {error}")
            response = _text(HTTPStatus.SERVICE_UNAVAILABLE, f"The reading failed: {error}")
        finally:
            connection.waits(IDLE_SECONDS)
        if not response.prepared:
            response.headers.update(self._config.headers)
        return response

    @web.middleware
    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        users = self._config.users
        if not users:
            return await handler(request)
        assert connection.peer is not None
        header = request.headers.get("Authorization", "")
        verdict = await self._admission.verdict(users, header, connection.peer.address)
        if verdict is Verdict.ADMITTED and users is not self._config.users:
            verdict = Verdict.BUSY  # what was found out holds no more
        if verdict is Verdict.ADMITTED:
            return await handler(request)
        if verdict is Verdict.BUSY:
            response = _text(HTTPStatus.TOO_MANY_REQUESTS, "Other passwords are being checked.")
            response.headers["Retry-After"] = "1"
        else:
            response = _text(HTTPStatus.UNAUTHORIZED, "Unauthorized")
            response.headers["WWW-Authenticate"] = _CHALLENGE
        response.force_close()
        return response

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        accept, encoding = request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", "")
        zipped = gzip_accepted(encoding)
        page = await self._in_turn(lambda: self._source.page(accept, zipped))
        response = web.StreamResponse(headers={"Content-Type": page.content_type, "Vary": "Accept-Encoding"})
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        response.content_length = len(page.body)
        response.headers.update(self._config.headers)
        await self._sending.send(request, response, page)
        return response

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        age = self._source.age_seconds
        if age > _STALE_SECONDS:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"The last reading is {age:.0f} s old.")
        return _text(HTTPStatus.OK, "ok")

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        if self._source.failing:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "The last reading failed.")
        return await self._health(request)

    async def _landing(self, _request: web.Request) -> web.StreamResponse:
        told = await self._in_turn(self._source.told)
        return web.Response(text=landing_page(told, self._metrics_path), content_type="text/html")


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
