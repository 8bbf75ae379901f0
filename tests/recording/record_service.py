"""Records a service of forty workers at rest, each of which holds the same:
`make test-kernels KERNELS="6.12 7.x" ARGS="--boot record-service"`.

Each guest leaves the recording `service` in its folder. docs/cases.md compares two of them: only what the
kernels do differently differs.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from kmemtrace.cgroups.mounts import memory_hierarchy
from tests.faults.conftest import FOLDER
from tests.live.objects import memory_maps
from tests.live.workloads import fill_pipes, held_in, keep_threads, send_messages, touch_sparsely

_WORKERS = 40
_AT_REST_SECONDS = 10


def work() -> object:
    """What a worker holds."""
    return (
        keep_threads(7),
        fill_pipes(31),
        send_messages(11, 20_000),
        touch_sparsely(17),
        memory_maps(211),
        [os.eventfd(0) for _ in range(101)],
        [os.memfd_create("cache") for _ in range(17)],
        [socket.socket() for _ in range(23)],
    )


def test_recording() -> None:
    hierarchy = memory_hierarchy()
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")
    cgroup, folder = hierarchy.mount / "service", Path(os.environ.get(FOLDER, "/tmp")) / "service"
    cgroup.mkdir()
    with ExitStack() as stack:
        for _ in range(_WORKERS):
            stack.enter_context(held_in(cgroup, work))
        time.sleep(_AT_REST_SECONDS)
        command = [sys.executable, "-m", "kmemtrace", "record", "-o", str(folder), "--cgroup=/service"]
        subprocess.run([*command, "--duration=60s"], check=True)
    cgroup.rmdir()
