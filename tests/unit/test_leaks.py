"""What `kmemtrace leaks` prints of old pages."""

import dataclasses

from kmemtrace.model.enums import CgroupState, SiteKind
from kmemtrace.model.snapshot import CgroupKey, OldPages
from kmemtrace.report.leaks import folded, leaks_document, report
from tests import sample

DEAD = OldPages(
    CgroupKey(0, 7),
    "/batch/job 17;x",
    CgroupState.DEAD,
    SiteKind.PIPE,
    "anon_pipe_write",
    sample.PIPE_STACK,
    1009,
    91_000.4,
)
LIVE = dataclasses.replace(DEAD, path=sample.NGINX, state=CgroupState.ONLINE, pages=3, stack=())


def test_report() -> None:
    lines = report(sample.busy(), [DEAD, LIVE], 60.0).splitlines()
    assert lines[0].startswith("1,012 pages (4.0 MiB) charged since the start are held for longer than 60 s")
    assert "817 events were missed" in lines[1]
    assert lines[3] == "1,009 pages (3.9 MiB), the oldest 91,000 s, pipe anon_pipe_write"
    assert lines[4] == "  charged to /batch/job 17;x (removed)"
    assert "    anon_pipe_write+0x18e" in lines


def test_folded_stacks_begin_with_the_cgroup_and_are_outermost_first() -> None:
    lines = folded([DEAD, dataclasses.replace(DEAD, pages=2), LIVE])
    assert lines[0].startswith("/batch/job_17:x;do_syscall_64;ksys_write;vfs_write;anon_pipe_write;")
    assert lines[0].endswith(" 1011")
    assert lines[1] == f"{sample.NGINX};anon_pipe_write 3"


def test_a_name_does_not_speak_to_the_terminal_nor_writes_lines_of_its_own() -> None:
    evil = dataclasses.replace(DEAD, path="/a\x1b[2J\n\udcff/b")
    told = report(sample.busy(), [evil], 60.0)
    assert "  charged to /a?[2J??/b (removed)" in told.splitlines()
    assert folded([evil])[0].startswith("/a?[2J??/b;do_syscall_64;")
    assert not {"\x1b", "\udcff"} & set(told)


def test_document() -> None:
    (first, _) = leaks_document(sample.busy(), [DEAD, LIVE], 60.0)["leaks"]
    assert (first["pages"], first["bytes"], first["state"]) == (1009, 1009 * 4096, "dead")
    assert first["stack"][0] == "__alloc_frozen_pages_noprof+0x2e9"
