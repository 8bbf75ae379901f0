"""One guest: a kernel under QEMU on this machine's own files, running the live tests to the end."""

import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import CACHE, Kernel

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).with_name("guest")
_SECONDS = 1500


@dataclass(frozen=True)
class Boot:
    """What a guest left behind."""

    kernel: Kernel
    cgroup_version: int
    folder: Path
    """Holds junit.xml, tests.log, check.txt and console.log, as far as it came."""
    seconds: float
    failure: str | None
    """Why it did not come to its end; None when it did."""


def boot(kernel: Kernel, cgroup_version: int, tiers: list[str]) -> Boot:
    """Boots, runs the live tests in these tiers, and powers off. Without hardware virtualisation a
    guest takes minutes."""
    folder = CACHE / "runs" / f"{kernel.release}-v{cgroup_version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    guest = [str(GUEST), str(ROOT), str(folder), str(cgroup_version), *tiers]
    failure = None
    try:
        # virtme-ng wants a terminal: without one it gives the guest none either.
        subprocess.run(
            ["script", "-qec", shlex.join(_command(kernel, guest)), "/dev/null"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=(folder / "console.log").open("w"),
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            cwd="/",
            env={"PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        )
    except subprocess.TimeoutExpired:
        failure = f"the guest did not end within {_SECONDS} s"
    if failure is None and not (folder / "done").exists():
        failure = f"the guest ended early; its console is in {folder / 'console.log'}"
    return Boot(kernel, cgroup_version, folder, time.monotonic() - begin, failure)


def _command(kernel: Kernel, guest: list[str]) -> list[str]:
    options = {"--run": str(kernel.image), "--cpus": "2", "--memory": "3G", "--user": "root"}
    return [
        str(Path(sys.executable).with_name("vng")),
        *(word for option in options.items() for word in option),
        "--rw",
        # a second time, for the guest to mount with a cache
        *("--rodir", "/mnt=/"),
        # always emulated: a virtual machine's /dev/kvm is often there and fails once a guest starts
        "--disable-kvm",
        *("--", shlex.join(guest)),
    ]
