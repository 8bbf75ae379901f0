"""Records the sample of docs/analysis.md anew: `sudo .venv/bin/python -m tests.recording.make_sample`.

A shop of two services: `web` keeps more and more pages in pipes, `db` has pages come and go and keeps
messages, and a `batch` job is removed, while what it was charged somebody else goes on holding. The numbers
differ each time: those of the document are to be changed with them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.recording import folder
from tests.live.workloads import drain_pipes, fill_pipes, held_in, join, send_messages

SAMPLE = Path(folder.__file__).with_name(folder.SAMPLE)


def forever(cgroup: Path, work: Callable[[int], object]) -> int:
    """A child in the cgroup that works each half second."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            join(cgroup)
            kept = []
            for number in range(1000):
                kept.append(work(number))
                time.sleep(0.5)
        os._exit(0)
    return child


def _traffic(_: int) -> object:
    drain_pipes(fill_pipes(64))
    return send_messages(3, 8192)


def main() -> None:
    shop = memory_hierarchy().mount / "shop"
    web, db, batch = (shop / name for name in ("web", "db", "batch"))
    for one in (shop, web, db, batch):
        one.mkdir()
    shutil.rmtree(SAMPLE, ignore_errors=True)
    command = [sys.executable, "-m", "kmemtrace", "record", "-o", str(SAMPLE), "--cgroup", "/shop"]
    recording = subprocess.Popen([*command, "--interval", "5s", "--duration", "80s"])
    try:
        time.sleep(10)
        with held_in(batch, lambda: fill_pipes(501), leave_to=shop):
            children = [
                forever(web, lambda _: fill_pipes(16)),
                forever(db, _traffic),
            ]
            time.sleep(20)
            batch.rmdir()
            recording.wait()
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    finally:
        recording.wait()
        time.sleep(1)
        for one in (web, db, batch, shop):
            if one.exists():
                one.rmdir()


if __name__ == "__main__":
    main()
