"""A real Prometheus server, and promtool: Debian's, unpacked by `make test` or installed."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashboards import server
from kmemtrace.fleet.prometheus import Prometheus

ROOT = Path(__file__).parents[1]


def tool(name: str) -> str:
    """Its path; skips the test where it is not to be had."""
    found = server.tool(name)
    if found is None:
        pytest.skip(f"{name} is not there (make test unpacks Debian's)")
    return found


def only(prometheus: Prometheus, expression: str) -> float | None:
    """Of the one series there is; None where there is none."""
    found = prometheus.query(expression)
    assert len(found) <= 1, found
    return found[0].value if found else None


@contextmanager
def serve(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Scrapes and evaluates our rules every second."""
    tool("prometheus")
    with server.serving(folder, f"127.0.0.1:{free_port()}", targets, every_seconds=1) as url:
        yield Prometheus(url)


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
