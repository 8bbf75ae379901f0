"""Packages of any Debian suite, kernels above all, downloaded and unpacked without installing them.

Everything is kept in one folder of the user's cache, with an apt of its own in it: the machine's apt
is asked for its mirror and is otherwise left alone.
"""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guests.architectures import AMD64, Architecture

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kmemtrace" / "kernels"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

SERIES = ("5.10", "6.1", "6.12", "6.x", "7.2", "7.x")
"""Tested unless others are named; 7.x is the newest 7 that can be had, whatever it is by then."""

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports", "sid")

_IMAGE = r"^linux-image-(\d+\.\d+(?!\S*-(?:cloud|rt)-)\S*-{})$"


class NotToBeHadError(Exception):
    """Why a kernel cannot be tested."""


@dataclass(frozen=True)
class Kernel:
    series: str
    release: str
    """As uname -r gives it."""
    root: Path
    """Holds lib/modules/<release>."""
    image: Path
    architecture: Architecture = AMD64


def fetch(series: str, architecture: Architecture = AMD64) -> Kernel:
    """The newest kernel of a series that can be had whole, from the cache where it is there already.

    Raises NotToBeHadError.
    """
    found, errors = _candidates(series, architecture)
    reasons = []
    for release, suite in found:
        folder = CACHE / release
        try:
            if not (folder / "indexed").exists():
                unpack(suite, _packages(suite, release, architecture), folder, architecture)
                _index_modules(folder, release)
                (folder / "indexed").touch()
            return Kernel(series, release, folder, _image(folder, release), architecture)
        except NotToBeHadError as error:
            reasons.append(str(error))
    raise NotToBeHadError("; ".join([_summary(reasons), *errors]))


def _summary(reasons: list[str]) -> str:
    """Why the newest of a series cannot be had, and how many older ones neither."""
    if not reasons:
        return "no Debian suite has such a kernel"
    older = len(reasons) - 1
    return reasons[0] + (f", and {older} older could not be had either" if older else "")


def _candidates(series: str, architecture: Architecture) -> tuple[list[tuple[str, str]], list[str]]:
    """The (release, suite) of a series' kernels, the newest first, and why suites could not be asked."""
    found: dict[str, str] = {}
    errors = []
    for suite in SUITES:
        try:
            _update(suite, architecture)
            packages = _apt(suite, architecture, "apt-cache", "pkgnames", "linux-image-").split()
        except NotToBeHadError as error:
            errors.append(f"{suite}: {error}")
            continue
        found |= dict.fromkeys(releases(series, packages, architecture), suite)
    return sorted(found.items(), key=lambda item: _numbers(item[0]), reverse=True), errors


def releases(series: str, packages: Iterable[str], architecture: Architecture = AMD64) -> list[str]:
    """The releases among image packages that belong to a series, the newest first; 6.x is any 6."""
    image = re.compile(_IMAGE.format(architecture.name))
    pattern = re.compile(re.escape(series).replace("x", r"\d+") + r"\D")
    found = (match[1] for name in packages if (match := image.match(name)))
    return sorted((r for r in found if pattern.match(r)), key=_numbers, reverse=True)


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", release))


@functools.cache
def mirror() -> str:
    """Where this machine's apt gets Debian from."""
    if shutil.which("apt-get") is None:
        raise NotToBeHadError("there is no apt here to get Debian's kernels with")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL)\t$(REPO_URI)", "Created-By: Packages"],
        check=False,
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        origin, _, uri = line.partition("\t")
        if origin == "Debian Debian":
            return uri
    raise NotToBeHadError("this machine's apt knows no Debian mirror")


def _options(suite: str, architecture: Architecture) -> list[str]:
    root = apt_folder(suite, architecture)
    for folder in ("lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": root / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache": root / "cache",
        "APT::Architecture": architecture.name,
        "APT::Architectures": architecture.name,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",  # suites that are archived are signed no more
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def apt_folder(suite: str, architecture: Architecture) -> Path:
    """Of the apt of our own, which knows nothing of what is installed on this machine."""
    return CACHE / "apt" / (suite if architecture is AMD64 else f"{suite}-{architecture.name}")


def _apt(
    suite: str, architecture: Architecture, command: str, *arguments: str, folder: Path | None = None
) -> str:
    done = subprocess.run(
        [command, "-q", *_options(suite, architecture), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise NotToBeHadError(f"{command} {arguments[0]}: {lines[-1] if lines else 'failed'}")
    return done.stdout


@functools.cache
def _update(suite: str, architecture: Architecture) -> None:
    _apt(suite, architecture, "apt-get", "update", "-oAPT::Update::Error-Mode=any")


def unpack(suite: str, packages: Iterable[str], folder: Path, architecture: Architecture = AMD64) -> None:
    """The newest of these packages of a suite into a folder, once and for all.

    Raises NotToBeHadError.
    """
    complete = folder / "complete"
    if complete.exists():
        return
    _update(suite, architecture)
    downloads = folder / "packages"
    downloads.mkdir(parents=True, exist_ok=True)
    _apt(suite, architecture, "apt-get", "download", *packages, folder=downloads)
    _unpack_all(downloads, folder)
    complete.touch()


def unpack_with_depends(
    suite: str, packages: Iterable[str], folder: Path, architecture: Architecture
) -> None:
    """These packages of a suite, and all that they depend on, into a folder. None is configured: their
    scripts would have to run on that architecture.

    Raises NotToBeHadError.
    """
    _update(suite, architecture)
    downloads = apt_folder(suite, architecture) / "cache" / "archives"
    command = ("apt-get", "install", "--yes", "--no-install-recommends", "--download-only")
    _apt(suite, architecture, *command, *packages)
    _unpack_all(downloads, folder)


def _unpack_all(downloads: Path, folder: Path) -> None:
    """Unpacks each package, the one that says where folders are first, and removes it."""
    for package in sorted(
        downloads.glob("*.deb"), key=lambda one: (not one.name.startswith("base-files_"), one)
    ):
        done = subprocess.run(["dpkg-deb", "-x", package, folder], check=False, capture_output=True)
        package.unlink()
        if done.returncode != 0:
            raise NotToBeHadError(f"{package.name} cannot be unpacked: {done.stderr.decode().strip()}")


def _packages(suite: str, release: str, architecture: Architecture) -> list[str]:
    """The image, and from 7.2 on the packages that it was split into."""
    image = f"linux-image-{release}"
    depends = _apt(suite, architecture, "apt-cache", "depends", "--no-recommends", "--no-suggests", image)
    return [image, *split_parts(release, depends)]


def split_parts(release: str, depends: str) -> list[str]:
    """The packages that hold the kernel and its modules where the image itself does not, from what
    `apt-cache depends` says of the image.

    Raises NotToBeHadError where the suite has one of them no longer: it keeps images, which are
    signed and so come from a source of their own, longer than their modules.
    """
    found = re.findall(rf"Depends: (<?)(linux-(?:binary|modules)-{re.escape(release)})\b", depends)
    for gone, part in found:
        if gone:
            raise NotToBeHadError(f"its suite lists linux-image-{release}, but no {part}")
    return [part for _, part in found]


def _index_modules(folder: Path, release: str) -> None:
    modules = folder / "lib" / "modules"
    merged = folder / "usr" / "lib" / "modules"
    if merged.exists() and not modules.exists():
        modules.parent.mkdir(exist_ok=True)
        modules.symlink_to("../usr/lib/modules")
    done = subprocess.run(["depmod", "-b", folder, release], check=False, capture_output=True)
    if done.returncode != 0:
        raise NotToBeHadError(f"the packages of {release} hold no modules")


def _image(folder: Path, release: str) -> Path:
    for place in (f"boot/vmlinuz-{release}", f"lib/modules/{release}/vmlinuz"):
        if (folder / place).exists():
            return folder / place
    raise NotToBeHadError(f"the package of {release} holds no vmlinuz")
