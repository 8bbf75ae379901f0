"""Pythons of other versions than this machine's, from Debian."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guests import debian

SUITES = {"3.11": ("bookworm", (2, 36), "libssl3"), "3.13": ("trixie", (2, 41), "libssl3t64")}
"""Which suite of Debian has a Python of this version, its C library's version, and what OpenSSL is called
there."""
PYTHON = ("libpython{}", "libpython{}-minimal", "libpython{}-stdlib")
LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "libexpat1", "zlib1g", "libffi8", "liblzma5", "libbz2-1.0")
"""What Python's and BCC's libraries need, none older than the C library that they are loaded beside."""
LAUNCHER = "int Py_BytesMain(int, char **); int main(int c, char **v) { return Py_BytesMain(c, v); }"


@dataclass(frozen=True)
class Python:
    command: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.environment | {"PYTHONDONTWRITEBYTECODE": "1"}
        command = [str(self.command), *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", env=environment, timeout=120
        )


def debians(version: str, folder: Path) -> Python:
    """A position-independent launcher of Debian's libpython; if that is too new for this machine's C library,
    beside the one of its own suite.

    Raises NotToBeHadError.
    """
    suite, glibc, openssl = SUITES[version]
    packages = [package.format(version) for package in PYTHON]
    too_new = glibc > tuple(map(int, platform.libc_ver()[1].split(".")))
    root = debian.CACHE / f"python{version}"
    debian.unpack(suite, [*packages, *LIBRARIES, openssl] if too_new else packages, root)
    libraries = root / "usr/lib/x86_64-linux-gnu"
    link = f"-Wl,-rpath,{libraries},--disable-new-dtags,--allow-shlib-undefined"
    if too_new:
        link += f",--dynamic-linker={libraries}/ld-linux-x86-64.so.2"
    command, source = folder / f"python{version}", folder / "main.c"
    source.write_text(LAUNCHER)
    library = libraries / f"libpython{version}.so.1.0"
    subprocess.run(["gcc", "-pie", "-o", command, source, library, link], check=True)
    return Python(command, {"PYTHONHOME": str(root / "usr")})
