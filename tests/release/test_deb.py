"""The Debian packages on the Debian that they are built for: installed, used, and removed without a trace."""

import json
from pathlib import Path

import pytest

from tests.release.roots import Root

OTHERS = (
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/cache/man",
    "/var/cache/debconf",
    "/var/log",
    "/tmp",
)
"""Where dpkg, apt and man note what they did."""


@pytest.fixture(scope="module")
def installed(root: Root, debs: Path) -> Root:
    root.bind("/mnt", debs)
    root.run("apt-get install -y --no-install-recommends /mnt/kmemtrace_*.deb")
    return root


def test_it_traces(installed: Root) -> None:
    assert json.loads(installed.run("kmemtrace check --json").stdout)["tier"]
    frame = json.loads(installed.run("kmemtrace top --once --duration 1s --json").stdout)
    assert frame["cgroups"]


def test_its_manual_is_there(installed: Root) -> None:
    assert (
        "kmemtrace-top"
        in installed.run("man kmemtrace-top", environment={"MANPAGER": "cat", "LANG": "C.UTF-8"}).stdout
    )


def test_its_unit_is_there_and_not_enabled(installed: Root) -> None:
    installed.run("grep -qx 'ExecStart=/usr/bin/kmemtrace export .*' /lib/systemd/system/kmemtrace.service")
    assert {path for path in installed.changed() if path.startswith("/etc/systemd")} == set()


def test_recordings_need_the_other_package(installed: Root) -> None:
    said = installed.run("kmemtrace record -o /tmp/before -- true", status=4).stderr
    assert "install the Debian package kmemtrace-report" in said
    installed.run("apt-get install -y --no-install-recommends /mnt/kmemtrace-report_*.deb")
    installed.run("kmemtrace record -o /tmp/recording -- sleep 1")
    assert "Snapshots" in installed.run("kmemtrace report /tmp/recording").stdout
    installed.run("kmemtrace report /tmp/recording --html /tmp/page.html")
    assert installed.has("/tmp/page.html")


def test_nothing_is_left(installed: Root) -> None:
    assert installed.has("/usr/bin/kmemtrace")
    installed.run("apt-get purge -y kmemtrace kmemtrace-report")
    left = {path for path in installed.changed() if not path.startswith(OTHERS)}
    assert left == set()
