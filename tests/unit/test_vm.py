"""What the kernel matrix makes of package lists and of pytest's notes."""

from pathlib import Path

import pytest

from tests.vm.boot import Boot
from tests.vm.debian import Kernel, newest
from tests.vm.matrix import Case, cases, tables

PACKAGES = [
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-50-amd64",
    "linux-image-6.1.0-51-cloud-amd64",
    "linux-image-6.1.0-52-rt-amd64",
    "linux-image-6.1.0-50-amd64-dbg",
    "linux-image-6.12.117+deb13-amd64",
    "linux-image-7.2.13+deb14-amd64",
    "linux-image-7.10.1+deb14-amd64",
    "linux-image-amd64",
]

JUNIT = """<testsuites><testsuite>
<testcase name="test_pipe[fentry-0]" time="1.5"/>
<testcase name="test_pipe[fentry-1]" time="1.5"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase name="test_pipe[kprobe-0]" time="2"/>
<testcase name="test_total[kprobe]" time="0"><skipped message="no hook"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("series", "release"),
    [
        ("6.1", "6.1.0-50-amd64"),
        ("6.12", "6.12.117+deb13-amd64"),
        ("7.x", "7.10.1+deb14-amd64"),
        ("7.2", "7.2.13+deb14-amd64"),
        ("7.1", None),
    ],
)
def test_newest(series: str, release: str | None) -> None:
    assert newest(series, PACKAGES) == release


def test_cases(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    assert cases(tmp_path / "junit.xml") == [
        Case("test_pipe[0]", "fentry", "passed", 1.5, ""),
        Case("test_pipe[1]", "fentry", "failed", 1.5, "assert 1 == 2"),
        Case("test_pipe[0]", "kprobe", "passed", 2.0, ""),
        Case("test_total", "kprobe", "skipped", 0.0, "no hook"),
    ]
    assert cases(tmp_path / "nothing.xml") == []


def test_a_kernel_that_was_not_tested_never_looks_passed(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    kernel = Kernel("6.1", "6.1.0-50-amd64", tmp_path, tmp_path)
    done, hung = Boot(kernel, 2, tmp_path, 60.0, None), Boot(kernel, 1, tmp_path, 60.0, "it hung")
    text = tables({done: cases(tmp_path / "junit.xml"), hung: []}, {"9.9": "no such kernel"})
    assert "| 6.1.0-50-amd64 | v2 | fentry | 1 | 1 | 0 | 3 | 60 |" in text
    assert "| 6.1.0-50-amd64 | v1 | | not tested: it hung |" in text
    assert "| 9.9 | | | not tested: no such kernel |" in text
    assert "| pipe | FAILED + |" in text
    assert "FAILED 6.1.0-50-amd64 v2 fentry test_pipe[1]: assert 1 == 2" in text
