"""make demo: a small workload, the exporter, and a Prometheus with our rules, until Ctrl-C.

Root, in a checkout; everything is on this machine's loopback, and is gone afterwards.
"""

import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dashboards.server import running, serving
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.errors import KmemtraceError
from kmemtrace.model.metrics import Metric

EXPORTER, PROMETHEUS = "127.0.0.1:9796", "127.0.0.1:9090"
_EVERY_SECONDS = 5


def web() -> None:
    """Pipes and socket pairs that come and go."""
    while True:
        ends = [os.pipe() for _ in range(20)]
        for _, write in ends:
            os.write(write, bytes(60_000))
        pairs = [socket.socketpair() for _ in range(20)]
        for one, _ in pairs:
            one.send(bytes(100_000))
        time.sleep(0.2)
        for read, write in ends:
            os.close(read)
            os.close(write)
        for pair in pairs:
            for one in pair:
                one.close()


def batch() -> None:
    """Pipes that stay, a few more each second, up to a point."""
    kept: list[tuple[int, int]] = []
    while True:
        if len(kept) < 200:
            kept.append(os.pipe())
            os.write(kept[-1][1], bytes(60_000))
        time.sleep(1)


@contextlib.contextmanager
def cgroup(name: str, work: Callable[[], None]) -> Iterator[None]:
    """A process that works there."""
    hierarchy = memory_hierarchy()
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")
    folder = hierarchy.mount / name
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        (folder / "cgroup.procs").write_text("0")
        with contextlib.suppress(OSError):
            work()
        os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        folder.rmdir()


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    export = [sys.executable, "-m", "kmemtrace", "export", f"--web.listen-address={EXPORTER}"]
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kmemtrace-demo-")))
            stack.enter_context(running("The exporter", export, f"http://{EXPORTER}/healthz"))
            stack.enter_context(serving(folder, PROMETHEUS, [EXPORTER], _EVERY_SECONDS))
            stack.enter_context(cgroup("kmemtrace-demo-web.service", web))
            stack.enter_context(cgroup("kmemtrace-demo-batch.service", batch))
            print(f"The exporter:      http://{EXPORTER}/")
            print(f"Prometheus:        http://{PROMETHEUS}/graph?g0.expr={Metric.HELD_BYTES}&g0.tab=0")
            print(f"Rules and alerts:  http://{PROMETHEUS}/alerts")
            print("Ctrl-C ends all of it.", flush=True)
            signal.pause()
    except KmemtraceError as error:
        print(f"kmemtrace: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
