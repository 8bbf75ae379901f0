"""The verdict of a verification, and its reports."""

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from kmemtrace.commands.verify import exit_status
from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Gone
from kmemtrace.model.verification import (
    AccountReading,
    CounterReading,
    Departure,
    KernelReading,
    Verdict,
    Verification,
)
from kmemtrace.report import mismatch
from kmemtrace.report.junit import junit
from kmemtrace.report.verification import report, verification_document
from tests import sample

CERTAIN = sample.mismatch()
SUSPECT = sample.mismatch(
    mismatch_class=MismatchClass.LOST_UNCHARGE,
    confidence=Confidence.SUSPECT,
    missed_events=17,
    lost_pages=3,
    taken_pages=0,
)
STRAY = dataclasses.replace(SUSPECT, mismatch_class=MismatchClass.STRAY_UNCHARGE, lost_pages=0, taken_pages=3)
WRONG = dataclasses.replace(SUSPECT, mismatch_class=MismatchClass.WRONG_CGROUP, taken_pages=3)


NOTHING_CHARGED = dataclasses.replace(sample.busy(), cgroups=(), gone=Gone())
WENT = Departure(7, "/system.slice/db.service", 2, "post\x1bgres", 4321)
EXACT = AccountReading(8192, 8192, time=SUSPECT.time)
OFF, BEFORE = dataclasses.replace(EXACT, apart_bytes=4096), dataclasses.replace(EXACT, time=SUSPECT.time - 1)


def verification(*mismatches: Mismatch, **changes: object) -> Verification:
    found = Verification(
        command=("stress-ng", "--pipe", "1"),
        command_status=0,
        seconds=12.5,
        snapshot=sample.busy(),
        missed_events=0,
        unjudged=dict.fromkeys((MismatchClass.STRAY_UNCHARGE, MismatchClass.SIZE_MISMATCH), "not here"),
        counter=CounterReading(500, {"anon": 100, "kernel": 390}, 132),
        mismatches=mismatches,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (verification(), Verdict.BALANCED),
        (verification(CERTAIN), Verdict.MISMATCH),
        (verification(CERTAIN, SUSPECT, missed_events=9), Verdict.MISMATCH),
        (verification(SUSPECT), Verdict.INCONCLUSIVE),
        (verification(missed_events=1), Verdict.INCONCLUSIVE),
        (verification(missed_events=9, account=OFF), Verdict.INCONCLUSIVE),
        (verification(missed_events=9, account=EXACT, settled_events=8), Verdict.INCONCLUSIVE),
        (verification(missed_events=9, account=EXACT, settled_events=9), Verdict.BALANCED),
        (verification(SUSPECT, missed_events=9, account=EXACT, settled_events=9), Verdict.BALANCED),
        (verification(SUSPECT, missed_events=9, account=BEFORE, settled_events=9), Verdict.INCONCLUSIVE),
        (verification(SUSPECT, missed_events=9, account=OFF), Verdict.INCONCLUSIVE),
        (verification(STRAY, missed_events=9, account=EXACT, settled_events=9), Verdict.BALANCED),
        # What could even out is not refuted.
        (
            verification(SUSPECT, STRAY, missed_events=9, account=EXACT, settled_events=9),
            Verdict.INCONCLUSIVE,
        ),
        (verification(WRONG, missed_events=9, account=EXACT, settled_events=9), Verdict.INCONCLUSIVE),
        (verification(CERTAIN, SUSPECT, missed_events=9, account=EXACT, settled_events=9), Verdict.MISMATCH),
        (verification(killed=1), Verdict.INCONCLUSIVE),
        (verification(interrupted=True), Verdict.INCONCLUSIVE),
        (verification(CERTAIN, interrupted=True), Verdict.MISMATCH),
        (verification(unsearched=5), Verdict.INCONCLUSIVE),
        (verification(snapshot=NOTHING_CHARGED), Verdict.INCONCLUSIVE),
        (verification(CERTAIN, snapshot=NOTHING_CHARGED), Verdict.MISMATCH),
        (verification(departures=(WENT,)), Verdict.INCONCLUSIVE),
        (verification(departures=(WENT,), followed=True), Verdict.BALANCED),
    ],
)
def test_verdict(found: Verification, verdict: Verdict) -> None:
    assert found.verdict is verdict
    assert verification_document(found)["verdict"] == verdict.value
    assert report(found).splitlines()[-1].startswith(verdict.name)


@pytest.mark.parametrize(
    ("account", "settled", "told"),
    [
        (
            EXACT,
            17,
            "bytes of kernel memory, found 8,192, to the byte\n  settles 17 of the missed events: a lost",
        ),
        (EXACT, 14, "left it off; of the other 3 it tells nothing"),
        (OFF, 0, "the cgroup's account, which settles nothing: charged 8,192 bytes of kernel"),
        (AccountReading(8192, 8192, doubtful_bytes=4096), 0, "found 8,192, or up to 4,096 more"),
        (AccountReading(None, 0, refusal="no BPF"), 0, "no account of the cgroup: no BPF"),
    ],
)
def test_what_the_account_says_of_what_was_missed(account: AccountReading, settled: int, told: str) -> None:
    found = verification(missed_events=17, account=account, settled_events=settled)
    assert told in report(found)
    document = verification_document(found)
    assert (document["settled_events"], "account" in document) == (settled, True)
    assert document["account"].get("exact", False) == account.exact
    missed = ET.fromstring(junit(found)).find("testcase[@name='no event missed']")
    assert missed is not None
    assert (missed.find("error") is None) == (settled == 17)


def test_report_tells_what_was_found_and_what_could_not_be() -> None:
    told = report(verification(CERTAIN, SUSPECT, missed_events=17))
    assert "stress-ng --pipe 1 on 6.18.44-amd64, tracepoint tier, 12.5 s" in told
    assert "wrong_cgroup: certain, 3 times" in told
    assert "lost_uncharge: suspect, 3 times; 17 events were missed meanwhile" in told
    assert "    free_pipe_info+0x5d" in told
    assert "missed events: 17" in told
    assert "not judged: stray_uncharge, size_mismatch: not here" in told
    assert "apart by +10; up to 132" in told
    assert "root 12,345" in told


@pytest.mark.parametrize(
    ("status", "words"),
    [(3, "exit status 3"), (-9, "killed by SIGKILL"), (-40, "killed by signal 40")],
)
def test_report_tells_how_the_command_ended(status: int, words: str) -> None:
    found = verification(command_status=status)
    *_, told, verdict = report(found).splitlines()
    assert told == f"the command failed: {words}"
    assert "though the command failed" in verdict
    assert found.verdict is Verdict.BALANCED, "a verdict is of pages"
    assert verification_document(found)["command_failed"]
    failures = ET.fromstring(junit(found)).findall("testcase/failure")
    assert [failure.text for failure in failures] == [f"stress-ng: {words}"]


def test_uncharges_that_could_not_be_judged_are_told() -> None:
    """The search for pages charged before the start failed, and there were such uncharges."""
    why = "pages charged before the start are not known (no reason): no uncharge is called stray"
    found = verification(unsearched=500, unjudged={"stray_uncharge": why}, waited_seconds=15.2)
    told = report(found).splitlines()
    assert f"not judged: stray_uncharge: {why}" in told
    assert "waited 15.2 s first" in "".join(told)
    assert "of 500 uncharges it is not known whether their pages had been charged" in told[-1]
    document = verification_document(found)
    assert (document["unjudged_uncharges"], document["waited_seconds"]) == (500, 15.2)
    (error,) = ET.fromstring(junit(found)).findall("testcase[@name='stray_uncharge']/error")
    assert error.text == "500 uncharges could not be judged"


def test_an_interruption_is_told() -> None:
    found = verification(interrupted=True, command_status=None)
    *_, told, verdict = report(found).splitlines()
    assert told == f"interrupted after {found.seconds:.1f} s"
    assert verdict == "INCONCLUSIVE: it was interrupted."
    assert verification_document(found)["interrupted"]
    assert ET.fromstring(junit(found)).find("testcase[@name='not interrupted']/error") is not None


def test_where_the_commands_processes_went_is_told() -> None:
    found = verification(departures=(WENT, dataclasses.replace(WENT, path="/", processes=1)))
    told = report(found).splitlines()
    at = told.index("the command's processes went to other cgroups, where nothing was followed:")
    assert told[at + 1] == "  /system.slice/db.service: 2 processes, the last post?gres (4321)"
    assert told[at + 2].startswith("  /: nobody is charged there: 1 process")
    assert "--follow" in told[-1]
    (error,) = ET.fromstring(junit(found)).findall("testcase/error")
    assert str(error.text).count("\n") == 1
    document = verification_document(found)
    assert document["departures"][0]["processes"] == 2
    assert "were followed to:" in report(dataclasses.replace(found, followed=True))


def test_each_doubt_is_told() -> None:
    """What was left behind is not told as what was missed."""
    left = verification(killed=2)
    assert "2 processes behind that did not end in time: they were killed" in report(left)
    assert "missed" not in report(left)
    both = verification(killed=1, missed_events=3)
    assert len(both.doubts) == 2
    assert all(doubt in report(both).splitlines()[-1] for doubt in both.doubts)


@pytest.mark.parametrize(
    ("found", "pass_status", "status"),
    [
        (verification(), False, 0),
        (verification(command_status=3), False, 3),
        (verification(command_status=1), False, 3),
        (verification(command_status=1), True, 1),
        (verification(command_status=-15), True, 143),
        (verification(CERTAIN, command_status=7), True, 1),
        (verification(missed_events=1, command_status=7), True, 3),
        (verification(command_status=None, command=()), True, 0),
    ],
)
def test_exit_status(found: Verification, pass_status: bool, status: int) -> None:
    assert exit_status(found, pass_status=pass_status) == status


def test_junit() -> None:
    suite = ET.fromstring(junit(verification(CERTAIN, SUSPECT, missed_events=17)))
    told = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert told == {
        "uncharged_alloc": [],
        "lost_uncharge": ["error"],
        "stray_uncharge": ["skipped"],
        "size_mismatch": ["skipped"],
        "wrong_cgroup": ["failure"],
        "counter_drift": [],
        "no event missed": ["error"],
        "the command succeeded": [],
        "no process went where it was not followed": [],
        "no process left behind": [],
    }
    assert {k: suite.attrib[k] for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "10",
        "failures": "1",
        "errors": "2",
        "skipped": "2",
    }


EVIL = "a\x1b[2J\n\udcff\ufffe"


def evil() -> Verification:
    """Every name that others chose speaks to the terminal, and is not Unicode."""
    snapshot = sample.snapshot(sample.cgroup(EVIL, (sample.site(3),), id=7))
    told = sample.mismatch(charged_to=EVIL, uncharged_from=EVIL, comm=EVIL)
    return verification(told, snapshot=snapshot, command=("echo", EVIL), unjudged={"size_mismatch": EVIL})


def test_names_do_not_speak_to_the_terminal() -> None:
    shown = "a?[2J???"
    told = report(evil())
    assert not {"\x1b", "\udcff"} & set(told)
    assert told.startswith(f"echo {shown} on ")
    assert f"  charged to {shown}, uncharged from {shown}" in told.splitlines()
    assert f" by {shown} (" in told
    assert f"  in {shown}\n" in told
    assert all(line.isprintable() for line in mismatch.lines(evil().mismatches[0]))


def test_junit_is_xml_whatever_the_names() -> None:
    written = junit(evil())
    written.encode()
    suite = ET.fromstring(written)
    assert suite.attrib["name"] == "kmemtrace verify echo a?[2J\n??"
    (skipped,) = suite.findall(".//skipped")
    assert (skipped.attrib["message"], skipped.text) == ("a?[2J", "a?[2J\n??")


def kernel_memory(unexplained: int, *, told_apart: bool = True) -> CounterReading:
    known = {"held": 11, "lost": 7, "slab": 300}
    kernel = KernelReading(318 + unexplained, known, 16, told_apart=told_apart)
    return CounterReading(500, {"anon": 100}, 132, kernel)


def test_pages_that_nothing_explains_leave_no_verdict() -> None:
    assert verification(counter=kernel_memory(16)).verdict is Verdict.BALANCED
    assert verification(counter=kernel_memory(3500), account=EXACT).verdict is Verdict.BALANCED
    lost = verification(counter=kernel_memory(3500), account=OFF)
    assert lost.verdict is Verdict.INCONCLUSIVE
    told = report(lost)
    assert "of it kernel memory: 3,818; known of that: held 11, lost 7, slab 300; unexplained: 3,500" in told
    assert told.endswith("3,500 pages stay on the cgroup's counter that nothing explains: they may be lost.")
    document = verification_document(lost)
    assert document["counter"]["kernel"]["unexplained_pages"] == 3500
    assert document["doubts"] == [lost.unexplained]
    cases = {case.attrib["name"]: case for case in ET.fromstring(junit(lost)).iter("testcase")}
    assert "3,500 pages" in (cases["no page unexplained"].findtext("error") or "")
    assert "cgroup v1 does not tell" in report(verification(counter=kernel_memory(133, told_apart=False)))
    assert verification(CERTAIN, counter=kernel_memory(3500)).verdict is Verdict.MISMATCH


def test_a_finding_tells_both_extents_and_its_cost() -> None:
    found = sample.mismatch(
        mismatch_class="size_mismatch",
        order=3,
        charged_pages=8,
        ended_page=0xFFFFEA0004002280,
        ended_pages=4,
        lost_pages=21,
        taken_pages=0,
        charged_to="/a",
    )
    told = "\n".join(mismatch.lines(found))
    assert "the last: charged: 8 from page 0xffffea0004002180 on" in told
    assert "the last: ended: 4 from page 0xffffea0004002280 on by nginx (811)" in told
    assert "  cost: 21 pages for good on the counter that was charged" in told
    suspect = "\n".join(mismatch.lines(dataclasses.replace(found, missed_events=1, taken_pages=1)))
    assert "would cost: 21 pages for good on the counter that was charged, 1 page off the other" in suspect
    stray = "\n".join(mismatch.lines(dataclasses.replace(found, lost_pages=0, taken_pages=1)))
    assert "  cost: 1 page off a counter that was never charged for it" in stray
