"""Some 300 cgroups, named and nested as those of a container host, with small loads in them: for pictures.

Root; everything is below one cgroup of our own, and is gone afterwards.
"""

import contextlib
import mmap
import os
import random
import re
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.cgroups.mounts import memory_hierarchy

_SEED = 17
"""The same names and loads every time."""
_SERVICES = re.findall(
    r"\S+",
    """
    systemd-journald systemd-udevd systemd-logind systemd-resolved dbus ssh cron chrony rsyslog containerd
    kubelet haproxy redis-server prometheus-node-exporter unattended-upgrades polkit fwupd irqbalance
    lvm2-monitor multipathd smartmontools snmpd getty@tty1 iscsid rpcbind postfix@- auditd fail2ban
    open-vm-tools packagekit thermald udisks2 upower wpa_supplicant apparmor
    """,
)


@dataclass(frozen=True, slots=True)
class Load:
    """What a process asks the kernel for."""

    pipes: int = 1
    """Filled, and kept."""
    sockets: int = 0
    """Pairs with unread messages, kept."""
    tables: int = 0
    """Page tables, by touching memory far apart."""
    churn: int = 0
    """Pipes made and closed each time."""
    growth: int = 0
    """Pipes more each time, kept."""
    pause: float = 20.0
    """Seconds from one time to the next."""
    leaves: bool = False
    """The process moves elsewhere, and its cgroup is removed, with what it holds."""


def tree() -> dict[str, Load]:
    """Loads by path."""
    some = random.Random(_SEED)
    quiet = [Load(some.randint(1, 18), some.choice((0, 0, 2, 5)), some.randint(2, 60)) for _ in range(60)]
    loads = {"init.scope": Load(2), "system.slice/nginx.service": Load(40, 60, churn=60, pause=0.2)}
    loads |= {f"system.slice/{name}.service": some.choice(quiet) for name in _SERVICES}
    loads["system.slice/postgresql@15-main.service"] = Load(20, 20, tables=900, churn=10, pause=0.5)
    loads["system.slice/system-vpn.slice/openvpn@edge.service"] = Load(3, 90, churn=5, pause=0.3)
    for _ in range(14):
        loads[f"system.slice/docker-{_hex(some)}.scope"] = some.choice(quiet)
    user = "user.slice/user-1000.slice"
    for name in (
        "session-3.scope",
        "user@1000.service/init.scope",
        "user@1000.service/app.slice/dbus.service",
    ):
        loads[f"{user}/{name}"] = Load(2, 2)
    loads[f"{user}/user@1000.service/app.slice/build.scope"] = Load(30, tables=300, churn=40, pause=0.4)
    for quality, pods in (("", 8), ("burstable", 62), ("besteffort", 20)):
        for number in range(pods):
            pod = _pod(quality, uuid.UUID(int=some.getrandbits(128), version=4))
            loads[f"{pod}/cri-containerd-{_hex(some)}.scope"] = Load(1)  # which holds the namespaces
            loads[f"{pod}/cri-containerd-{_hex(some)}.scope"] = _container(quality, number, some, quiet)
    for number, pipes in ((1788, 66), (1790, 21), (1791, 4)):
        loads[f"batch.slice/report-{number}.scope"] = Load(pipes, leaves=True)
    loads["batch.slice/report-1794.scope"] = Load(12, growth=1, pause=1.0)
    return loads


def _container(quality: str, number: int, some: random.Random, quiet: list[Load]) -> Load:
    """A few of them busy."""
    if number % 9 == 4:
        return Load(some.randint(20, 70), some.randint(0, 60), 40, churn=some.randint(10, 60), pause=0.3)
    if quality == "besteffort" and number == 11:
        return Load(30, growth=4, pause=0.7)
    return some.choice(quiet)


def _hex(some: random.Random) -> str:
    return f"{some.getrandbits(256):064x}"


def _pod(quality: str, uid: uuid.UUID) -> str:
    name = "kubepods" + (f"-{quality}" if quality else "")
    above = f"kubepods.slice/{name}.slice" if quality else "kubepods.slice"
    return f"{above}/{name}-pod{str(uid).replace('-', '_')}.slice"


@contextlib.contextmanager
def host(name: str) -> Iterator[Callable[[], None]]:
    """All of it below the cgroup `name`; the loads begin when what it gives is called."""
    root = memory_hierarchy().mount / name
    loads = tree()
    made = _make([root / path for path in loads], root)
    waiting, begin = os.pipe()
    children: list[int] = []
    try:
        for path, load in loads.items():
            child = os.fork()
            if child == 0:
                _work(root / path, load, root / "init.scope", waiting, begin)
            children.append(child)
        yield lambda: os.close(begin)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        for folder in reversed(made):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


def _make(folders: list[Path], root: Path) -> list[Path]:
    """The cgroups and all above them, parents first."""
    every = sorted(
        {folder for one in folders for folder in (one, *one.parents) if root in (folder, *folder.parents)}
    )
    version = memory_hierarchy().version
    for folder in every:
        if version == 2:
            (folder.parent / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir(exist_ok=True)
    return every


def _work(folder: Path, load: Load, elsewhere: Path, waiting: int, begin: int) -> None:
    """In a process of its own, until it is killed."""
    os.close(begin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        (folder / "cgroup.procs").write_text("0")
        os.read(waiting, 1)
        kept: list[object] = [_pipe() for _ in range(load.pipes)]
        kept += [_pair() for _ in range(load.sockets)]
        kept.append(_tables(load.tables))
        if load.leaves:
            (elsewhere / "cgroup.procs").write_text("0")
            folder.rmdir()
        while True:
            time.sleep(load.pause)
            passing = [_pipe() for _ in range(load.churn)]
            kept += [_pipe() for _ in range(load.growth)]
            for ends in passing:
                for end in ends:
                    os.close(end)
    finally:
        os._exit(1)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    os.write(ends[1], bytes(60_000))
    return ends


def _pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    pair[0].send(bytes(60_000))
    return pair


def _tables(count: int) -> mmap.mmap | None:
    """A table of the lowest level maps 2 MiB."""
    if not count:
        return None
    area = mmap.mmap(-1, count << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, count << 21, 1 << 21):
        area[at] = 1
    return area
