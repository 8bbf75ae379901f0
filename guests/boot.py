"""One guest: a kernel under QEMU on this machine's own files, running the live tests to the end."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guests.debian import CACHE, Kernel
from guests.injector import Injector, qemu_options
from guests.qemu import qemu
from guests.root import root_of
from guests.setups import Setup

ROOT = Path(__file__).parents[1]
GUEST = Path(__file__).with_name("guest")
_SECONDS = 4200
"""Enough for all tests of a kernel, with 20 minutes of load."""
_BOOT_SECONDS = 400
"""By then a guest runs its tests; one beside it takes half of a small machine."""
_FOREIGN = 3
"""So many times as long a guest of another architecture may take."""
_ATTEMPTS = 2
_LAST_LINES, _WIDTH = 30, 160
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc|\r")
_OLD_QEMU_FLAW = re.compile(r"Oops: int3: 0000|\bint3: 0000 \[#1\]")


@dataclass(frozen=True)
class Boot:
    """What a guest left behind."""

    kernel: Kernel
    setup: Setup
    folder: Path
    """Holds tests.log, junit-<folder or file of tests>.xml, check.json, top.json, dmesg.log and console.log,
    as far as it came."""
    seconds: float
    failure: str | None
    """Why it did not come to its end; None when it did."""

    @property
    def reports(self) -> list[Path]:
        """What pytest noted, a file for each folder of tests; none where it did not come to its end."""
        return sorted(self.folder.glob("junit-*.xml"))

    @property
    def began(self) -> bool:
        """Whether it came as far as running tests."""
        return _began(self.folder)


def boot(
    kernel: Kernel,
    setup: Setup,
    pytest_arguments: list[str],
    *,
    tests: Sequence[str],
    benches: Sequence[str],
) -> Boot:
    """Boots, runs `tests`, folders or files of them, and powers off. Without hardware virtualisation a
    guest takes minutes. It also runs `benches`, programs of bench/.

    Once more, where it was the emulator that failed: a guest that did not come as far as its tests, or
    died of a flaw of an old QEMU. What its kernel did under the tests is never tried again."""
    for attempt in range(_ATTEMPTS):
        found = _boot(kernel, setup, pytest_arguments, tests, benches)
        again = attempt + 1 < _ATTEMPTS and emulator_failed(found, sound=qemu(kernel.architecture).sound)
        if not again:
            break
        print(f"{kernel.release}: {found.failure}; once more", file=sys.stderr)
    return found


def emulator_failed(found: Boot, *, sound: bool) -> bool:
    if found.failure is None:
        return False
    flaw = not sound and _OLD_QEMU_FLAW.search(_text(found.folder / "console.log")) is not None
    return flaw or not found.began


def _boot(
    kernel: Kernel,
    setup: Setup,
    pytest_arguments: list[str],
    tests: Sequence[str],
    benches: Sequence[str],
) -> Boot:
    folder = CACHE / "runs" / f"{kernel.release}-{setup.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    shutil.copy(GUEST, folder)  # what it lies in is mounted anew by it
    foreign = kernel.architecture.foreign
    guest = [str(folder / GUEST.name), str(ROOT), str(folder), "python3" if foreign else ".venv/bin/python"]
    guest += [setup.cgroups, ",".join(benches), ",".join(tests), *pytest_arguments]
    injector = Injector(folder)
    injector.start()
    in_time = _run(_command(kernel, setup, folder, guest), folder, _FOREIGN if foreign else 1)
    injector.end()
    done = (folder / "done").exists()
    failure = None if done else why_it_ended(folder, in_time)
    return Boot(kernel, setup, folder, time.monotonic() - begin, failure)


def _run(command: list[str], folder: Path, patience: int) -> bool:
    """False when it did not end in time, and was ended."""
    # virtme-ng wants a terminal: without one it gives the guest none either.
    with (folder / "console.log").open("w") as console:
        guest = subprocess.Popen(
            ["script", "-qec", shlex.join(command), "/dev/null"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
        )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            guest.wait(patience * _BOOT_SECONDS)
        if guest.poll() is None and not _began(folder):
            return False
        guest.wait(patience * (_SECONDS - _BOOT_SECONDS))
    except subprocess.TimeoutExpired:
        return False
    finally:
        guest.kill()
        guest.wait()
    return True


def why_it_ended(folder: Path, in_time: bool) -> str:
    """Of a guest that did not come to its end: a panic, a hang, or why it did not start."""
    console = _text(folder / "console.log")
    panic = re.search(r"Kernel panic - not syncing: .*", console)
    tests = re.findall(r"^tests/\S+::(\S+)", _text(folder / "tests.log"), re.MULTILINE)
    during = f" during {tests[-1]}" if tests else " before the first test"
    if panic is not None:
        return f"{panic[0].strip()},{during}"
    if not in_time:
        seconds = _SECONDS if _began(folder) else _BOOT_SECONDS
        return f"it did not come further within {seconds} s: ended{during}"
    last = next((line.strip() for line in reversed(console.splitlines()) if line.strip()), "nothing")
    return f"it ended early,{during}; the last on its console: {last}"


def last_words(folder: Path) -> list[str]:
    """The end of what the tests, the injector and the kernel printed there, each under its file's name."""
    words = []
    for name in ("tests.log", "injector.log", "console.log"):
        text = _CONTROL.sub("", _text(folder / name))
        told = [line.rstrip()[:_WIDTH] for line in text.splitlines() if line.strip()]
        words += [f"{name}:", *told[-_LAST_LINES:]] if told else []
    return words


def _began(folder: Path) -> bool:
    return (folder / "tests.log").exists()


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


_SHARED = ("--rodir", "/mnt=/")
"""A second time, for the guest to mount with a cache."""


def shared_with_foreign(kernel: Kernel, folder: Path) -> list[str]:
    """A root of its own in place of this machine's, also a second time, and of this machine's files those few
    that it needs."""
    root = root_of(kernel.architecture)
    modules = (kernel.root / "lib" / "modules").resolve()  # before trixie not below usr
    read = {"/mnt": root, str(ROOT): ROOT, "/usr/lib/modules": modules}
    return [
        *("--arch", kernel.architecture.name, "--root", str(root)),
        *(f"--rodir={at}={source}" for at, source in read.items()),
        f"--rwdir={folder}={folder}",
    ]


def _command(kernel: Kernel, setup: Setup, folder: Path, guest: list[str]) -> list[str]:
    architecture = kernel.architecture
    options = {"--run": str(kernel.image), "--qemu": str(qemu(architecture).binary)}
    options |= {"--cpus": "2", "--memory": "3G", "--user": "root"}
    return [
        str(Path(sys.executable).with_name("vng")),
        *(word for option in options.items() for word in option),
        "--rw",
        "--force-9p",  # virtiofs needs a daemon that refuses to serve the root folder here
        "--verbose",  # the kernel's own words: a panic is told nowhere else
        *(shared_with_foreign(kernel, folder) if architecture.foreign else _SHARED),
        # always emulated: a virtual machine's /dev/kvm is often there and fails once a guest starts
        "--disable-kvm",
        f"--qemu-opts={qemu_options(folder)} {architecture.qemu_options}".rstrip(),
        *(f"--append={option}" for option in setup.kernel_options),
        *("--", shlex.join(guest)),
    ]
