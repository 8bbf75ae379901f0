"""The exporter's server in a thread of its own, telling Snapshots that a test gives it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kmemtrace.exporter.listener import BACKLOG
from kmemtrace.exporter.log import Log
from kmemtrace.exporter.server import METRICS, Server
from kmemtrace.exporter.source import Source
from kmemtrace.exporter.told import HookInfo
from kmemtrace.exporter.web_config import WebConfig
from kmemtrace.model.snapshot import Snapshot
from tests.sample import busy


@dataclass
class Exporter:
    server: Server
    port: int
    loop: asyncio.AbstractEventLoop
    readings: list[float] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


Export = Callable[..., Exporter]


@pytest.fixture
def export() -> Iterator[Export]:
    """Starts one: export(config, read)."""
    running: list[tuple[Exporter, threading.Thread, socket.socket]] = []

    def start(
        config: WebConfig | None = None, read: Callable[[], Snapshot] = busy, path: str = METRICS
    ) -> Exporter:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        hooks = (HookInfo("alloc", "mm_page_alloc", "raw tracepoint"),)
        log = Log()
        server = Server(Source(read, hooks, lambda: None, 10, log=log), config or WebConfig(), log, path)
        listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        exporter = Exporter(server, listening.getsockname()[1], loop)
        exporter.run(server.start([listening]))
        running.append((exporter, thread, listening))
        return exporter

    yield start
    for exporter, thread, listening in running:
        exporter.run(exporter.server.stop())
        exporter.run(_end_tasks())
        exporter.loop.call_soon_threadsafe(exporter.loop.stop)
        thread.join()
        exporter.loop.close()
        listening.close()


async def _end_tasks() -> None:
    """What asyncio.run() does at its end: of connections that were cut, aiohttp leaves some behind."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
