"""Writes a Verification as JUnit XML, a test case per mismatch class, for a CI to show."""

import re
import xml.etree.ElementTree as ET

from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.verification import Verification
from kmemtrace.report import mismatch
from kmemtrace.report.verification import how_it_ended, left_behind, went

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, not even escaped; ElementTree lets them through."""


def junit(found: Verification) -> str:
    """Writes a verification as a test suite.

    Failures are certain mismatches and a failed command. Errors are suspected mismatches and whatever else
    keeps the verdict from being one. Skipped are the classes that were not judged.
    """
    name = f"kmemtrace verify {' '.join(found.command)}".strip()
    suite = ET.Element("testsuite", name=_legal(name), time=f"{found.seconds:.3f}")
    for one in MismatchClass:
        told = [m for m in found.mismatches if m.mismatch_class is one and not found.refuted]
        results = [(_KINDS[m.confidence], "\n".join(mismatch.lines(m))) for m in told]
        if one is MismatchClass.STRAY_UNCHARGE and found.unsearched:
            results.append(("error", f"{found.unsearched} uncharges could not be judged"))
        if not results and one in found.unjudged:
            results = [("skipped", found.unjudged[one])]
        _case(suite, found, one, results)
    for title, results in _of_the_run(found):
        _case(suite, found, title, results)
    suite.attrib["tests"] = str(len(suite))
    for plural, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.attrib[plural] = str(len(suite.findall(f"testcase/{kind}")))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_KINDS = {Confidence.CERTAIN: "failure", Confidence.SUSPECT: "error"}
_Results = list[tuple[str, str]]
"""What went wrong in a test case: each "failure", "error" or "skipped", and its text."""


def _of_the_run(found: Verification) -> list[tuple[str, _Results]]:
    """Returns by title the test cases that are of no class, each with what went wrong."""
    missed = f"{found.unsettled_events} events were missed: the verdict is inconclusive"
    cases: list[tuple[str, _Results]] = [
        ("no event missed", [("error", missed)] if found.unsettled_events else []),
    ]
    if found.interrupted:
        cases.append(("not interrupted", [("error", f"interrupted after {found.seconds:.1f} s")]))
    if found.command:
        cases.append(("no process went where it was not followed", _unfollowed(found)))
    if found.counter is not None and found.counter.kernel is not None:
        cases.append(("no page unexplained", [("error", found.unexplained)] if found.unexplained else []))
    if found.command_status is None:
        return cases
    failed = f"{found.command[0]}: {how_it_ended(found.command_status)}"
    return [
        *cases,
        ("the command succeeded", [("failure", failed)] if found.command_failed else []),
        ("no process left behind", [("error", left_behind(found))] if found.killed else []),
    ]


def _unfollowed(found: Verification) -> _Results:
    if found.followed or not found.departures:
        return []
    return [("error", "\n".join(map(went, found.departures)))]


def _case(suite: ET.Element, found: Verification, title: str, results: _Results) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"kmemtrace.{found.snapshot.tier}", name=title)
    for kind, text in results:
        _add(case, kind, text)


def _add(case: ET.Element, kind: str, text: str) -> None:
    text = _legal(text)
    ET.SubElement(case, kind, message=text.splitlines()[0]).text = text


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
