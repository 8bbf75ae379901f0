"""make demo: a small workload, the exporter, and a Prometheus with our rules, until Ctrl-C.

Root, in a checkout; everything is on this machine's loopback, and is gone afterwards.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.errors import CannotError, KmemtraceError

RULES = Path(__file__).parent / "prometheus"
_UNPACKED = Path(sys.prefix) / "tools" / "prometheus" / "usr" / "bin"
EXPORTER, PROMETHEUS = "127.0.0.1:9796", "127.0.0.1:9090"


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


@contextlib.contextmanager
def running(name: str, command: list[str], ready: str) -> Iterator[None]:
    """A server, once it answers. Its own session: Ctrl-C ends it through us, in order."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while not answers(ready):
                if process.poll() is not None:
                    raise CannotError(f"{name} ended: see above.")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def prometheus(folder: Path) -> list[str]:
    program = shutil.which("prometheus", path=str(_UNPACKED)) or shutil.which("prometheus")
    if program is None:
        raise CannotError("There is no prometheus here. Install it, or run `make demo` where apt has it.")
    config = {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(file.resolve()) for file in sorted(RULES.glob("kmemtrace.[ra]*.yml"))],
        "scrape_configs": [{"job_name": "kmemtrace", "static_configs": [{"targets": [EXPORTER]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # YAML of a kind
    options = {
        "config.file": f"{folder}/prometheus.yml",
        "storage.tsdb.path": f"{folder}/data",
        "web.listen-address": PROMETHEUS,
        "log.level": "error",
    }
    return [program, *(f"--{name}={value}" for name, value in options.items())]


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    export = [sys.executable, "-m", "kmemtrace", "export", f"--listen-address={EXPORTER}"]
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kmemtrace-demo-")))
            stack.enter_context(running("The exporter", export, f"http://{EXPORTER}/healthz"))
            stack.enter_context(running("Prometheus", prometheus(folder), f"http://{PROMETHEUS}/-/ready"))
            stack.enter_context(cgroup("kmemtrace-demo-web.service", web))
            stack.enter_context(cgroup("kmemtrace-demo-batch.service", batch))
            print(f"The exporter:      http://{EXPORTER}/")
            print(f"Prometheus:        http://{PROMETHEUS}/graph?g0.expr=kmemtrace_held_bytes&g0.tab=0")
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
