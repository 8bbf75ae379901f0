"""Mixed load for a long time: stress-ng in cgroups with and without a limit, and cgroups that come and go."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bench.traffic import remove_cgroup
from kmemtrace.cgroups.mounts import memory_hierarchy
from tests.live import workloads
from tests.live.workloads import join
from tests.tracing import new_cgroup

STRESSORS = [
    "pipe",
    "sock",
    "fork",
    "clone",
    "vm",
    "mmap",
    "shm",
    "splice",
    "vm-splice",
    "tee",
    "udp",
    "epoll",
    "dentry",
    "io-uring",
    "switch",
    "dev-shm",
    "eventfd",
    "inotify",
    "open",
]
_LIMIT = 48 << 20


def _stress(folder: Path, stressors: list[str], seconds: int) -> subprocess.Popen[bytes]:
    options = [f"--{name}=1" for name in stressors]
    command = ["stress-ng", "--quiet", *options, "--vm-bytes=64M", "--mmap-bytes=32M"]
    command += ["--shm-bytes=8M", "--dentries=2048", f"--timeout={seconds}"]
    shell = ["/bin/sh", "-c", 'echo 0 >"$0" && exec nice -n 19 "$@"', str(folder / "cgroup.procs")]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen([*shell, *command], cwd="/tmp", stdout=nowhere, stderr=nowhere)


@contextlib.contextmanager
def stress(seconds: int) -> Iterator[None]:
    """Inside, the stressors run: all in one cgroup, and some in one whose limit they reach."""
    free, limited = new_cgroup("free"), new_cgroup("limited")
    workloads.set_limit(limited, _LIMIT)
    running = [
        _stress(free, STRESSORS, seconds),
        _stress(limited, ["pipe", "fork", "vm", "sock", "shm"], seconds),
    ]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        for folder in (free, limited):
            _kill(folder)
            remove_cgroup(folder)


class Churn:
    """Cgroups in which a process fills a pipe and ends; of some the pages live on for a while, held by a
    process that moved away. Beside them, as many as many.py can make."""

    def __init__(self) -> None:
        self.made = 0
        self._many = new_cgroup("many")
        if memory_hierarchy().version == 2:
            (self._many / "cgroup.subtree_control").write_text("+memory")
        command = [sys.executable, "-S", str(Path(__file__).with_name("many.py"))]
        command += [str(self._many), str(self._many.parent)]
        self._quick = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._holders: list[tuple[int, int]] = []
        self._names = itertools.count()

    def turn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._one()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._holders:
            self._release()
        self._quick.terminate()
        self.made += int(self._quick.communicate(timeout=60)[0])
        remove_cgroup(self._many)

    def _one(self) -> None:
        number = next(self._names)
        folder = new_cgroup(f"churn-{number}")
        self.made += 1
        if number % 10 == 0:
            self._hold(folder)
        else:
            child = os.fork()
            if child == 0:
                join(folder)
                workloads.fill_pipes(17)
                os._exit(0)
            os.waitpid(child, 0)
        remove_cgroup(folder)
        if len(self._holders) > 20:
            self._release()

    def _hold(self, folder: Path) -> None:
        done, end = os.eventfd(0), os.eventfd(0)
        child = os.fork()
        if child == 0:
            join(folder)
            kept = workloads.fill_pipes(31)
            join(folder.parent)
            os.eventfd_write(done, 1)
            os.eventfd_read(end)
            del kept
            os._exit(0)
        os.eventfd_read(done)
        os.close(done)
        self._holders.append((child, end))

    def _release(self) -> None:
        child, end = self._holders.pop(0)
        os.eventfd_write(end, 1)
        os.waitpid(child, 0)
        os.close(end)


def _kill(folder: Path) -> None:
    """Kills what a stressor left behind, which on a machine with too much to do has not been asked to end."""
    for pid in (folder / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
