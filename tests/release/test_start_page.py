"""The README's way to start, each command as it is written, on a new Debian."""

import re
from pathlib import Path

import pytest

from tests.release.roots import BUILDING, CACHE, Root, new
from tests.release.test_deb import OTHERS
from tests.release.test_wheel_installs import NOTES

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
SECTION = re.compile(r"^## (?:Try it|Install)\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
COMMENT = re.compile(r"\s{2,}# .*")
LEFT_OUT = "make test"
BEFORE = {
    "sudo apt install ./dist/kmemtrace_*.deb": "make deb",
    "sudo apt install pipx python3-bpfcc": "make wheel",
}
"""What the text above a block says that builds what is installed."""


def blocks() -> list[list[str]]:
    """The commands of each block of the two sections."""
    texts = [block for section in SECTION.findall(README) for block in BLOCK.findall(section)]
    return [[COMMENT.sub("", line.strip()) for line in text.splitlines()] for text in texts]


@pytest.fixture(scope="module")
def checkout(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A new machine with the unpacked sdist in /src."""
    (sdist,) = (REPOSITORY / "dist").glob("kmemtrace-*.tar.gz")
    bound = {"/mnt": sdist.parent, "/var/cache/pip": CACHE / "pip"}
    root = Root(new(suite), tmp_path_factory.mktemp(f"{suite}-start"), bound)
    root.run(f"mkdir /src && tar -xf /mnt/{sdist.name} -C /src --strip-components=1")
    # Who sits there says yes.
    root.run("echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/yes")
    return root


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block[0])
def test_each_command_as_it_is_written(checkout: Root, block: list[str]) -> None:
    if block == [LEFT_OUT]:
        pytest.skip("it takes half an hour by itself, and CI does it on a machine that has nothing either")
    if before := BEFORE.get(block[0]):
        checkout.run(f"cd /src && {before}", environment=BUILDING)
    for command in block:
        if re.search(r"\btop(?: --replay sample)?$", command):
            checkout.type(f"cd /src && {command}", shown="CHARGE/s", key="q", environment=BUILDING)
        else:
            checkout.run(f"cd /src && {command}", environment=BUILDING)
    if len(block) > 1:  # installs, and removes in the end
        left = {path for path in checkout.changed() if "kmemtrace" in path and not path.startswith("/src/")}
        assert {path for path in left if not path.startswith(OTHERS) and NOTES.match(path) is None} == set()


def test_one_frame_as_json(checkout: Root) -> None:
    (command,) = re.findall(r'`(make top ARGS="[^"]*--json")`', README)
    checkout.run(f"cd /src && {command} >/tmp/frame && python3 -m json.tool /tmp/frame")


def test_what_was_made_in_the_checkout_is_not_given_away(checkout: Root) -> None:
    names = checkout.run("tar -tf /src/dist/kmemtrace-*.tar.gz").stdout
    assert "/probes/kmemtrace.bpf.c" in names
    assert re.findall(r"^[^/]+/(?:v|\.venv)/.*", names, re.MULTILINE) == []
