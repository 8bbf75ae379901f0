"""The kernel matrix's pure parts: which kernel is taken, what is told of a guest, and the table."""

import argparse
import json
import re
import socket
import threading
from pathlib import Path

import pytest

from guests import boot as guests_boot
from guests import matrix, qemu, verdict_tables
from guests.architectures import ARM64
from guests.boot import Boot, emulator_failed, why_it_ended
from guests.debian import SERIES, Kernel, NotToBeHadError, releases, split_parts
from guests.gdb import Gdb
from guests.matrix import ANY, PROCESS, Case
from guests.root import locked
from guests.setups import BOOTS, V2, Setup

# As `apt-cache pkgnames linux-image-` gives them, in its order.
PACKAGES = [
    "linux-image-6.12.107+deb13-amd64",
    "linux-image-6.12.117+deb13-amd64",
    "linux-image-6.12.117+deb13-cloud-amd64",
    "linux-image-6.12.117+deb13-rt-amd64",
    "linux-image-6.12.117+deb13-amd64-unsigned",
    "linux-image-6.9.12-amd64",
    "linux-image-6.18.9+deb13-amd64",
    "linux-image-6.18.15+deb13-amd64",
    "linux-image-6.18.15+deb13-arm64",
    "linux-image-6.1.0-47-amd64",
    "linux-image-6.1.0-50-amd64",
    "linux-image-6.1.0-50-rt-amd64",
    "linux-image-7.2.13+deb14-amd64",
    "linux-image-7.3.4+deb13-amd64",
    "linux-image-7.10.1+deb14-amd64",
    "linux-image-amd64",
    "linux-image-amd64-dbg",
]


@pytest.mark.parametrize(
    ("series", "found"),
    [
        ("5.10", []),
        ("6.1", ["6.1.0-50-amd64", "6.1.0-47-amd64"]),
        ("6.12", ["6.12.117+deb13-amd64", "6.12.107+deb13-amd64"]),
        ("6.18", ["6.18.15+deb13-amd64", "6.18.9+deb13-amd64"]),
        ("7.x", ["7.10.1+deb14-amd64", "7.3.4+deb13-amd64", "7.2.13+deb14-amd64"]),
    ],
)
def test_releases_of_a_series(series: str, found: list[str]) -> None:
    assert releases(series, PACKAGES) == found


def test_any_minor_is_ordered_by_number() -> None:
    """6.9 is older than 6.12, and 6.18.9 than 6.18.15."""
    assert [r.split("+")[0].split("-")[0] for r in releases("6.x", PACKAGES)] == [
        "6.18.15",
        "6.18.9",
        "6.12.117",
        "6.12.107",
        "6.9.12",
        "6.1.0",
        "6.1.0",
    ]


def test_every_series_is_a_pattern_of_releases() -> None:
    assert len(SERIES) >= 5
    assert all(releases(s, [f"linux-image-{s.replace('x', '3')}.1-amd64"]) for s in SERIES)


def test_kernels_of_another_architecture() -> None:
    assert releases("6.x", PACKAGES, ARM64) == ["6.18.15+deb13-arm64"]


LOCK = """# made by a tool
numpy==2.4.6 ; sys_platform == 'linux' \\
    --hash=sha256:01
pytest==9.2.0 ; sys_platform == 'linux' \\
    --hash=sha256:02 \\
    --hash=sha256:03
    # via kmemtrace
pytest-xdist==3 ; sys_platform == 'linux' \\
    --hash=sha256:04
"""


def test_of_a_lock_what_tests_need_with_its_hashes() -> None:
    found = locked(("pytest",), LOCK)
    assert re.findall(r"^[\w-]+", found, re.MULTILINE) == ["pytest"]
    assert re.findall(r"sha256:(\d+)", found) == ["02", "03"]


def test_a_guest_of_another_architecture_has_files_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guests_boot, "root_of", lambda architecture: Path("/roots") / architecture.name)
    kernel = Kernel("6.12", "6.12.117+deb13-arm64", Path("/kernel"), Path("/kernel/vmlinuz"), ARM64)
    shared = guests_boot.shared_with_foreign(kernel, Path("/run"))
    assert shared[:4] == ["--arch", "arm64", "--root", "/roots/arm64"]
    assert "--rodir=/mnt=/roots/arm64" in shared
    assert [one for one in shared if one.startswith("--rwdir")] == ["--rwdir=/run=/run"], (
        "it writes nowhere else"
    )


WHOLE = """linux-image-6.18.15+deb13-amd64
  PreDepends: linux-base
 |Depends: <dracut>
  Depends: <linux-initramfs-tool>
  Depends: <kmod>
  Depends: <linux-base-6.18.15+deb13-amd64>
  Conflicts: <linux-image-6.18.15+deb13-amd64-unsigned>
"""
SPLIT = """linux-image-7.3.4+deb13-amd64
  PreDepends: linux-base
  Depends: <linux-initramfs-tool>
  Depends: linux-base-7.3.4+deb13-amd64
  Depends: linux-binary-7.3.4+deb13-amd64
  Depends: linux-modules-7.3.4+deb13-amd64
"""
# Angle brackets: named by the image, in the suite no longer.
SPLIT_AND_GONE = """linux-image-6.19.14+deb13-amd64
  Depends: <linux-base-6.19.14+deb13-amd64>
  Depends: linux-binary-6.19.14+deb13-amd64
  Depends: <linux-modules-6.19.14+deb13-amd64>
"""


@pytest.mark.parametrize(
    ("release", "depends", "parts"),
    [
        ("6.18.15+deb13-amd64", WHOLE, []),
        (
            "7.3.4+deb13-amd64",
            SPLIT,
            ["linux-binary-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"],
        ),
    ],
)
def test_parts_of_an_image(release: str, depends: str, parts: list[str]) -> None:
    assert split_parts(release, depends) == parts


def test_an_image_whose_modules_are_gone_cannot_be_had() -> None:
    with pytest.raises(NotToBeHadError, match=r"but no linux-modules-6\.19\.14\+deb13-amd64"):
        split_parts("6.19.14+deb13-amd64", SPLIT_AND_GONE)


TESTS_LOG = """collecting ... collected 48 items
tests/live/test_workloads.py::test_pipe[fentry-0] PASSED   [  2%]
tests/live/test_mending.py::test_a_storm[fentry] """


@pytest.mark.parametrize(
    ("console", "log", "in_time", "says"),
    [
        (
            "[   42.1] Kernel panic - not syncing: Fatal exception\r\n[   42.2] Rebooting\r\n",
            TESTS_LOG,
            True,
            "Kernel panic - not syncing: Fatal exception, during test_a_storm[fentry]",
        ),
        ("", TESTS_LOG, False, "ended during test_a_storm[fentry]"),
        ("", "", False, "ended before the first test"),
        (
            "could not open disk image\n\n",
            None,
            True,
            "before the first test; the last on its console: could not open disk image",
        ),
        (None, None, True, "console: nothing"),
    ],
)
def test_why_a_guest_ended(
    console: str | None, log: str | None, in_time: bool, says: str, tmp_path: Path
) -> None:
    for name, text in (("console.log", console), ("tests.log", log)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert why_it_ended(tmp_path, in_time).endswith(says)


@pytest.mark.parametrize(
    ("console", "sound", "began", "failure", "again"),
    [
        ("Kernel panic - not syncing: Attempted to kill init!", True, False, "panic", True),
        ("Kernel panic - not syncing: Fatal exception", False, True, "panic", False),
        ("Oops: int3: 0000 [#1] SMP NOPTI\nKernel panic - not syncing: Fatal", False, True, "panic", True),
        ("int3: 0000 [#1] PREEMPT SMP NOPTI\nKernel panic", False, True, "panic", True),
        ("int3: 0000 [#1] PREEMPT SMP NOPTI\nKernel panic", True, True, "panic", False),
        ("Oops: int3: 0000 [#1] SMP NOPTI", False, True, None, False),
    ],
)
def test_only_the_emulator_is_tried_again(
    console: str, sound: bool, began: bool, failure: str | None, again: bool, tmp_path: Path
) -> None:
    (tmp_path / "console.log").write_text(console)
    if began:
        (tmp_path / "tests.log").touch()
    assert emulator_failed(boot("7.2", tmp_path, failure), sound=sound) == again


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright", (7, 2)),
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", (10, 0)),
        ("error while loading shared libraries: libfdt.so.1", ()),
    ],
)
def test_version_of_qemu(said: str, expected: tuple[int, ...]) -> None:
    assert qemu.version(said) == expected


JUNIT = """<testsuites><testsuite>
<testcase name="test_pipe[fentry-0]" time="1.5"/>
<testcase name="test_pipe[kprobe-3]" time="0.5"><failure message="assert 4098 == 4099&#10;more"/></testcase>
<testcase name="test_split[70001-tracepoint]" time="0.1"><skipped message="no blocks"/></testcase>
<testcase name="test_setup[fentry]" time="0.1"><error message=""/></testcase>
<testcase name="test_silence" time="1200"/>
</testsuite></testsuites>"""


def test_cases_of_a_report(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT)
    assert matrix.cases(report) == [
        Case("test_pipe[0]", "fentry", "passed", 1.5, ""),
        Case("test_pipe[3]", "kprobe", "failed", 0.5, "assert 4098 == 4099"),
        Case("test_split[70001]", "tracepoint", "skipped", 0.1, "no blocks"),
        Case("test_setup", "fentry", "failed", 0.1, ""),
        Case("test_silence", ANY, "passed", 1200, ""),
    ]


@pytest.mark.parametrize(
    ("status", "stderr", "output", "reason"),
    [
        ("0", "", json.dumps({"tier": "fentry"}), ""),
        ("4", "no BTF", json.dumps({"tier": None}), "exit status 4: no BTF"),
        ("0", "", json.dumps({"tier": None}), "it names no tier"),
        ("0", "a warning", json.dumps({"tier": "fentry"}), "exit status 0: a warning"),
        ("0", "", "Traceback", "no JSON of ours"),
    ],
)
def test_processes(status: str, stderr: str, output: str, reason: str, tmp_path: Path) -> None:
    for ending, text in (("status", status), ("stderr", stderr), ("json", output)):
        (tmp_path / f"top.{ending}").write_text(text)
    check, top = matrix.processes(tmp_path)
    assert (check.outcome, check.reason) == ("failed", "it was not run")
    assert top.outcome == ("failed" if reason else "passed")
    assert reason in top.reason


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        ("0", "a table\n", [("passed", "")]),
        ("1", "Traceback\nFileNotFoundError: 'bpftool'\n", [("failed", "FileNotFoundError: 'bpftool'")]),
        ("4", "account: no count\n", [("skipped", "account: no count")]),
        ("137", "", [("failed", "")]),
        (None, "", []),
    ],
)
def test_a_benchmark_that_failed_is_a_failure(
    status: str | None, told: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "bench-tiers.txt").write_text(told)
    if status is not None:
        (tmp_path / "bench-tiers.status").write_text(status)
    found = matrix.results_of(boot("6.1", tmp_path))
    assert [(c.outcome, c.reason) for c in found if c.test == "bench tiers"] == expected


def test_what_benchmarks_and_cases_printed_is_told_with_the_kernel(tmp_path: Path) -> None:
    assert matrix.printed(boot("6.1", tmp_path)) == ""
    (tmp_path / "bench-tiers.txt").write_text("a table\n")
    (tmp_path / "case-freed.txt").write_text("what was seen\n")
    assert matrix.printed(boot("6.1", tmp_path)) == "\n6.1.9-amd64, v2, emulated:\na table\n\nwhat was seen\n"


def test_what_a_kernel_complained_of(tmp_path: Path) -> None:
    log = tmp_path / "dmesg.log"
    line = "WARNING: CPU: 1 PID: 7 at mm/memcontrol.c:3061 foo+0x1/0x2"
    oom = "stress-ng-vm invoked oom-killer: gfp_mask=0xcc0\n[    1.5] Call Trace:\n"
    log.write_text(f"[    1.0] {line}\n[    1.0] fine\n[    1.5] {oom}[    2.0] {line}\n")
    assert matrix.complaints(log) == [line]
    assert matrix.complaints(tmp_path / "none") == []


def boot(series: str, folder: Path, failure: str | None = None, setup: Setup = V2) -> Boot:
    release = f"{series}.9-amd64"
    return Boot(Kernel(series, release, folder, folder), setup, folder, 321.4, failure)


def test_where_kmemtrace_is_to_refuse_check_and_top_are_not_to_succeed(tmp_path: Path) -> None:
    refusing, working = (boot("6.1", tmp_path, setup=BOOTS[name]) for name in ("nokmem", "hybrid"))
    assert matrix.results_of(refusing) == []
    assert {case.outcome for case in matrix.results_of(working)} == {"failed"}, "they were not run"


def test_each_way_to_boot_has_tests() -> None:
    root = Path(__file__).parents[2]
    assert all((root / test).exists() for setup in BOOTS.values() for test in setup.tests)


def case(outcome: str, tier: str = "fentry", reason: str = "", test: str = "test_pipe[0]") -> Case:
    return Case(test, tier, outcome, 2.0, reason)


def test_tables(tmp_path: Path) -> None:
    cannot = "refused: the kernel has no kprobes"
    results = {
        boot("6.1", tmp_path): [
            case("passed"),
            case("failed", reason="1 == 2", test="test_pipe[1]"),
            case("skipped", test="test_storm", reason="no stress-ng"),
            case("skipped", tier="kprobe", reason=cannot),
            case("skipped", tier="kprobe", reason=cannot, test="test_storm"),
            case("passed", tier=PROCESS, test="kmemtrace top --json"),
            case("skipped", tier=ANY, test="silence"),
        ],
        boot("7.2", tmp_path, "Kernel panic"): [],
    }
    text = matrix.tables(results, {"9.9": "no Debian suite has such a kernel"})
    lines = text.splitlines()
    assert "| 6.1.9-amd64 | v2 | fentry | 1 | 1 | 1 | 6 | 321 |" in lines
    assert f"| 6.1.9-amd64 | v2 | kprobe | {cannot} | | | | 321 |" in lines
    assert "| 7.2.9-amd64 | v2 | | not tested: Kernel panic | | | | 321 |" in lines
    assert "| 9.9 | | | not tested: no Debian suite has such a kernel | | | | |" in lines
    assert "| pipe | FAILED - |" in lines
    assert "| silence | - |" in lines
    failed, panicked = matrix.failures(results).strip().splitlines()
    assert failed == "- FAILED 6.1.9-amd64 v2 fentry test_pipe[1]: 1 == 2"
    assert panicked == "- 7.2.9-amd64 v2 not tested: Kernel panic"


def test_without_failures_nothing_is_told_of_them(tmp_path: Path) -> None:
    assert matrix.failures({boot("6.1", tmp_path): [case("passed"), case("skipped")]}) == ""


def test_a_guest_that_did_not_come_to_its_end_is_told_last_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "tests.log").write_text("".join(f"tests/live/test_{n}.py PASSED\n" for n in range(31)))
    (tmp_path / "console.log").write_text("\x1b[31m[ 1.0] it hung\x1b[m\r\n\r\n")
    text = matrix.failures({boot("7.2", tmp_path, "it hung"): []})
    _, _, told = text.partition("- 7.2.9-amd64 v2 ended with\n")
    *lines, ended = (line.strip() for line in told.splitlines())
    assert ended == "- 7.2.9-amd64 v2 FAILED: it hung"
    assert lines[:2] == ["tests.log:", "tests/live/test_1.py PASSED"]
    assert lines[-3:] == ["tests/live/test_30.py PASSED", "console.log:", "[ 1.0] it hung"]


FIVE = ("5.10", "6.1", "6.12", "6.18", "7.2")


@pytest.mark.parametrize(
    ("series", "missing", "named", "expected"),
    [
        (FIVE, [], False, 0),
        (FIVE, ["7.x"], False, 0),
        (FIVE, ["7.x"], True, 3),
        (FIVE[:4], ["7.2"], False, 3),
        (FIVE[:1], [], True, 0),
        ((), ["5.10"], True, 3),
    ],
)
def test_status_without_a_failure(
    series: tuple[str, ...], missing: list[str], named: bool, expected: int, tmp_path: Path
) -> None:
    results = {boot(s, tmp_path): [case("passed"), case("skipped")] for s in series}
    assert matrix.status(results, dict.fromkeys(missing, "gone"), named=named) == expected


def test_status_of_failures(tmp_path: Path) -> None:
    passed = {boot(s, tmp_path): [case("passed")] for s in FIVE}
    assert matrix.status({**passed, boot("6.13", tmp_path): [case("failed")]}, {}, named=False) == 1
    never_began = {**passed, boot("6.13", tmp_path / "none", "no qemu"): []}
    assert matrix.status(never_began, {}, named=False) == 0
    assert matrix.status(never_began, {}, named=True) == 3
    (tmp_path / "tests.log").touch()
    panicked: dict[Boot, list[Case]] = {boot("6.13", tmp_path, "Kernel panic"): []}
    assert matrix.status({**passed, **panicked}, {}, named=False) == 1


def test_fault_and_silence_tables(tmp_path: Path) -> None:
    found = boot("6.1", tmp_path)
    (tmp_path / "junit-faults.xml").write_text(
        """<testsuites><testsuite>
        <testcase name="test_fault[fentry-mark_cleared]"><properties>
          <property name="found" value="lost_uncharge certain"/></properties></testcase>
        <testcase name="test_fault[tracepoint-mark_cleared]"><properties>
          <property name="found" value=""/></properties></testcase>
        <testcase name="test_fault[kprobe-mark_cleared]"><failure message="no"/></testcase>
        <testcase name="test_a_clean_command_is_balanced"/>
        </testsuite></testsuites>"""
    )
    run = {"tier": "fentry", "seconds": 1201.0, "cgroups": 2003, "charged_pages": 1009, "missed_events": 17}
    found_in_silence = {"lost_uncharge suspect": 3, "stray_uncharge suspect": 2}
    (tmp_path / "silence.json").write_text(json.dumps([run | {"found": found_in_silence}]))
    not_broken = boot("6.6", tmp_path / "live-alone")
    text = verdict_tables.tables([not_broken, found, boot("7.2", tmp_path / "none", "Kernel panic")])
    assert "| fault | 6.1 |" in text.splitlines()
    row = "| mark cleared | fentry: lost_uncharge certain; kprobe: FAILED; tracepoint: cannot |"
    assert row in text.splitlines()
    assert f"| {found.kernel.release} | fentry | 20 | 2,003 | 1,009 | 17 | 0 | 5 |" in text


def test_without_faults_there_are_no_tables_of_them(tmp_path: Path) -> None:
    assert verdict_tables.tables([boot("6.1", tmp_path)]) == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("6.1", "v2", 1), ("6.1", "v1", 1), ("6.12", "v2", 1)]),
        ({"v2": True}, [("6.1", "v2", 1), ("6.12", "v2", 1)]),
        ({"faults": ["6.12"]}, [("6.12", "v2", 3), ("6.1", "v2", 1), ("6.1", "v1", 1)]),
        ({"only_faults": True}, [("6.1", "v2", 2), ("6.12", "v2", 2)]),
        ({"boot": ["nokmem"]}, [("6.1", "nokmem", 1), ("6.12", "nokmem", 1)]),
    ],
)
def test_guests(changes: dict[str, object], expected: list[tuple[str, str, int]], tmp_path: Path) -> None:
    """(series, set-up, folders of tests); the longest first."""
    options = argparse.Namespace(**({"v2": False, "faults": [], "only_faults": False, "boot": []} | changes))
    kernels = [boot(series, tmp_path).kernel for series in ("6.1", "6.12")]
    guests = matrix.guests(kernels, options)
    assert [(g.kernel.series, g.setup.name, len(g.tests)) for g in guests] == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], matrix.TIERS),
        ([("kprobe", "")], ("kprobe",)),
        ([("fentry", ""), ("kprobe", "6.12")], ("fentry", "kprobe")),
        ([("fentry", ""), ("kprobe", "6.1")], ("fentry",)),
        ([("kprobe", "6.1")], matrix.TIERS),
    ],
)
def test_tiers_on_a_kernel(wanted: list[tuple[str, str]], expected: tuple[str, ...]) -> None:
    assert matrix.tiers_on("6.12", wanted) == expected


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param([b"T05thread:p01.02;"], id="before-8.1-that-it-stopped"),
        pytest.param([], id="since-nothing"),
    ],
)
def test_the_stub_of_any_qemu_is_understood(greeting: list[bytes], tmp_path: Path) -> None:
    """A stub that answers as QEMU's does, and notes which thread was selected."""
    answers = {b"qSupported": b"PacketSize=1000", b"?": b"T05thread:p01.02;", b"vCont;c": b"W00"}
    asked: list[bytes] = []

    def serve(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            for text in greeting:
                client.sendall(_packet(text))
            while data := client.recv(4096):
                for command in re.findall(rb"\$([^#]*)#", data):
                    asked.append(command)
                    client.sendall(b"+" + _packet(answers.get(command, b"OK")))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "gdb"))
        server.listen()
        stub = threading.Thread(target=serve, args=(server,))
        stub.start()
        guest = Gdb(tmp_path / "gdb")
        guest.set_breakpoint(0x1000)
        assert not guest.resume()
        guest.close()
        stub.join(10)
    assert asked.count(b"Hgp01.02") == 1
    assert asked[-3:] == [b"Z0,1000,1", b"vCont;c", b"D"]


def _packet(text: bytes) -> bytes:
    return b"$" + text + b"#%02x" % (sum(text) & 0xFF)
