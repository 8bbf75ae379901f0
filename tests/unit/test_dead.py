"""What `kmemtrace dead` says of cgroups that are made up."""

from kmemtrace.model.account import Account
from kmemtrace.model.census import Counted, Pin, PinKind, Removed
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import CgroupKey
from kmemtrace.report.dead import Holder, dead_document, holders, report

_LOG = Pin(PinKind.FILE, 4096, "vda", 7, "/var/log/jobs")
_ANON = Pin(PinKind.ANON, 8192)


def _removed(number: int, *pins: Pin, kernel: int = 0) -> Removed:
    account = Account(kernel, 0, 0, kernel, (), 0, 0, 0, 0, 0)
    counted = Counted(CgroupKey(0, number), f"/job-{number}", CgroupState.DEAD, account)
    return Removed(counted, pins, len(pins) or 1, 0)


def test_a_file_that_keeps_many_is_told_once_with_their_number() -> None:
    found = [_removed(n, _LOG) for n in range(1999)]
    found += [_removed(3000, _ANON, _LOG), _removed(3001, kernel=96), _removed(3002)]
    assert holders(found) == [
        Holder(Pin(PinKind.FILE, 2000 * 4096, "vda", 7, "/var/log/jobs"), 2000 * 4096, 2000),
        Holder(_ANON, 8192, 1),
        Holder(None, 96, 1),
        Holder(None, 0, 1),
    ]
    assert report(found, 1).splitlines()[:7] == [
        "2,002 removed cgroups that the kernel still has; they hold 7.8M",
        "",
        "CGROUPS    HOLD  HELD BY",
        "  2,000    7.8M  page cache of /var/log/jobs on vda, inode 7",
        "      1      8K  anonymous memory",
        "      1      96  kernel memory",
        "      1       -  nothing but references",
    ]
    told = dead_document(found, "host", "6.18", 0.0)["holders"]
    assert [(one["cgroups"], one["kind"], one["bytes"]) for one in told] == [
        (2000, "file", 8_192_000),
        (1, "anon", 8192),
        (1, "kernel", 96),
        (1, "references", 0),
    ]


def test_with_nothing_in_common_each_is_told_by_itself_alone() -> None:
    assert "HELD BY" not in report([_removed(1, _LOG), _removed(2, _ANON)], 20)


def test_many_holders_are_cut_short() -> None:
    files = [Pin(PinKind.FILE, 4096, "vda", inode, f"/f{inode}") for inode in range(8)]
    text = report([_removed(n, *files) for n in range(2)], 20)
    assert "                 ... and 3 more\n" in text
