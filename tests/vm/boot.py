"""One guest: a kernel under QEMU on this machine's own files, running the live tests to the end."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.debian import CACHE, Kernel
from tests.vm.injector import Injector, qemu_options

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).with_name("guest")
_SECONDS = 3000


@dataclass(frozen=True)
class Boot:
    """What a guest left behind."""

    kernel: Kernel
    cgroup_version: int
    folder: Path
    """Holds junit.xml, tests.log, check.json, top.json, dmesg.log and console.log, as far as it came."""
    seconds: float
    failure: str | None
    """Why it did not come to its end; None when it did."""

    @property
    def began(self) -> bool:
        """Whether it came as far as running tests."""
        return (self.folder / "tests.log").exists()


def boot(
    kernel: Kernel, cgroup_version: int, pytest_arguments: list[str], *, tests: Sequence[str], bench: bool
) -> Boot:
    """Boots, runs the tests in the folders `tests`, and powers off. Without hardware virtualisation a
    guest takes minutes. With `bench` it also measures what each tier costs."""
    folder = CACHE / "runs" / f"{kernel.release}-v{cgroup_version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    guest = [str(GUEST), str(ROOT), str(folder), str(cgroup_version), str(int(bench)), " ".join(tests)]
    injector = Injector(folder)
    injector.start()
    in_time = _run(_command(kernel, folder, [*guest, *pytest_arguments]), folder / "console.log")
    injector.end()
    done = (folder / "done").exists()
    failure = None if done else why_it_ended(folder, in_time)
    return Boot(kernel, cgroup_version, folder, time.monotonic() - begin, failure)


def _run(command: list[str], console: Path) -> bool:
    """False when it did not end in time, and was ended."""
    try:
        # virtme-ng wants a terminal: without one it gives the guest none either.
        subprocess.run(
            ["script", "-qec", shlex.join(command), "/dev/null"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=console.open("w"),
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            cwd="/",
            env={"PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        )
    except subprocess.TimeoutExpired:
        return False
    return True


def why_it_ended(folder: Path, in_time: bool) -> str:
    """Of a guest that did not come to its end: a panic, a hang, or why it did not start."""
    console = _text(folder / "console.log")
    panic = re.search(r"Kernel panic - not syncing: .*", console)
    tests = re.findall(r"^tests/live/\S+::(\S+)", _text(folder / "tests.log"), re.MULTILINE)
    during = f" during {tests[-1]}" if tests else " before the first test"
    if panic is not None:
        return f"{panic[0].strip()},{during}"
    if not in_time:
        return f"it did not end within {_SECONDS} s: ended{during}"
    last = next((line.strip() for line in reversed(console.splitlines()) if line.strip()), "nothing")
    return f"it ended early,{during}; the last on its console: {last}"


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _command(kernel: Kernel, folder: Path, guest: list[str]) -> list[str]:
    options = {"--run": str(kernel.image), "--cpus": "2", "--memory": "3G", "--user": "root"}
    return [
        str(Path(sys.executable).with_name("vng")),
        *(word for option in options.items() for word in option),
        "--rw",
        "--force-9p",  # virtiofs needs a daemon that refuses to serve the root folder here
        "--verbose",  # the kernel's own words: a panic is told nowhere else
        # a second time, for the guest to mount with a cache
        *("--rodir", "/mnt=/"),
        # always emulated: a virtual machine's /dev/kvm is often there and fails once a guest starts
        "--disable-kvm",
        f"--qemu-opts={qemu_options(folder)}",
        *("--", shlex.join(guest)),
    ]
