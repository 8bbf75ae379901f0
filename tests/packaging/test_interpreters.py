"""kmemtrace under Pythons whose heap lies high, as position-independent ones have it; Debian's lies below
4 GiB, where a pointer that is cut to 32 bits is still right."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from guests import debian

REPOSITORY = Path(__file__).parents[2]
SUITES = {"3.11": ("bookworm", (2, 36), "libssl3"), "3.13": ("trixie", (2, 41), "libssl3t64")}
"""Which suite of Debian has a Python of this version, its C library's version, and what OpenSSL is called
there; a Python of another version is taken from this machine."""
PYTHON = ("libpython{}", "libpython{}-minimal", "libpython{}-stdlib")
LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "libexpat1", "zlib1g", "libffi8", "liblzma5", "libbz2-1.0")
"""What Python's and BCC's libraries need, none older than the C library that they are loaded beside."""
LAUNCHER = "int Py_BytesMain(int, char **); int main(int c, char **v) { return Py_BytesMain(c, v); }"
ELSEWHERE = (".pyenv/versions/{}.*/bin/python{}", ".local/share/uv/python/cpython-{}.*/bin/python{}")


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

    Raises debian.NotToBeHadError.
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


def this_machines(version: str) -> Python:
    """One that somebody installed; skips where there is none."""
    found = shutil.which(f"python{version}")
    places = [Path(found)] if found else []
    places += [p for place in ELSEWHERE for p in Path.home().glob(place.format(version, version))]
    for command in places:
        python = Python(command, {})
        if heap_is_high(python):
            return python
    pytest.skip(f"Debian has no Python {version}, and this machine none that is position-independent")


def heap_is_high(python: Python) -> bool:
    return python.run("-c", "print(id(object()) >> 32 > 0)").stdout.strip() == "True"


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """With the locked packages, and this checkout."""
    if platform.machine() != "x86_64":
        pytest.skip("Debian's Pythons are fetched for x86_64 only")
    version: str = request.param
    folder = tmp_path_factory.mktemp(f"python{version}")
    if version in SUITES:
        try:
            found = debians(version, folder)
        except debian.NotToBeHadError as error:
            pytest.skip(f"Debian's Python {version} cannot be had: {error}")
    else:
        found = this_machines(version)
    packages = folder / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    install += ["--root-user-action=ignore", "--require-hashes", "-r", str(REPOSITORY / "requirements.lock")]
    install += ["--only-binary=:all:", f"--python-version={version}", f"--target={packages}"]
    subprocess.run(install, check=True)
    yield Python(found.command, {**found.environment, "PYTHONPATH": f"{REPOSITORY}:{packages}"})
    shutil.rmtree(folder)


def test_it_is_the_kind_that_it_is_to_be(python: Python) -> None:
    assert heap_is_high(python)


@pytest.mark.usefixtures("_able")
def test_top(python: Python) -> None:
    done = python.run("-m", "kmemtrace", "top", "--once", "--duration", "0.5", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["own_bytes"] > 1 << 20
    assert document["cgroups"]


@pytest.mark.usefixtures("_able")
def test_verify(python: Python) -> None:
    done = python.run("-m", "kmemtrace", "verify", "--json", "--", "true")
    assert done.stderr == ""
    assert json.loads(done.stdout)["command"]
