"""A Prometheus server with our rules, on this machine: for the demo, and for the tests."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmemtrace.errors import CannotError

RULES = Path(__file__).parent / "prometheus"
_UNPACKED = Path(sys.prefix) / "tools" / "prometheus" / "usr" / "bin"


def tool(name: str) -> str | None:
    """The path of prometheus or promtool: Debian's, unpacked by make, or installed."""
    return shutil.which(name, path=str(_UNPACKED)) or shutil.which(name)


@contextlib.contextmanager
def serving(folder: Path, listen: str, targets: Sequence[str], every_seconds: int) -> Iterator[str]:
    """Scrapes and evaluates so often; keeps configuration and data in `folder`. Yields its URL.

    Raises CannotError.
    """
    program = tool("prometheus")
    if program is None:
        raise CannotError("There is no prometheus here. Install it, or run `make demo` where apt has it.")
    every = f"{every_seconds}s"
    for file in RULES.glob("kmemtrace.[ra]*.yml"):
        (folder / file.name).write_text(file.read_text().replace("interval: 30s", f"interval: {every}"))
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["kmemtrace.*.yml"],
        "scrape_configs": [{"job_name": "kmemtrace", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # YAML of a kind
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={listen}",
        "--log.level=error",
    ]
    with running("Prometheus", command, f"http://{listen}/-/ready"):
        yield f"http://{listen}"


@contextlib.contextmanager
def running(name: str, command: Sequence[str], ready: str) -> Iterator[None]:
    """A server, once it answers at the URL `ready`. Its own session: Ctrl-C ends it through us, in order.

    Raises CannotError where it ends instead.
    """
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while not _answers(ready):
                if process.poll() is not None:
                    raise CannotError(f"{name} ended: see above.")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
