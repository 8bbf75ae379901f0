"""A Verification as JUnit XML, a test case per mismatch class, for a CI to show."""

import re
import xml.etree.ElementTree as ET

from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.verification import Verification
from kmemtrace.report import mismatch

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write, not even escaped; ElementTree lets it through."""


def junit(found: Verification) -> str:
    """Failures are certain mismatches, errors suspected ones, skips the classes that were not judged;
    a case of its own, "no event missed", fails with what was."""
    name = f"kmemtrace verify {' '.join(found.command)}".strip()
    suite = ET.Element("testsuite", name=_legal(name), time=f"{found.seconds:.3f}")
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for one in MismatchClass:
        case = ET.SubElement(suite, "testcase", classname=f"kmemtrace.{found.snapshot.tier}", name=one.label)
        for told in (m for m in found.mismatches if m.mismatch_class == one.label):
            kind = "failure" if told.confidence == Confidence.CERTAIN.value else "error"
            _add(case, kind, "\n".join(mismatch.lines(told)))
            counts[kind] += 1
        if len(case) == 0 and one.label in found.unjudged:
            _add(case, "skipped", found.unjudged[one.label])
            counts["skipped"] += 1
    case = ET.SubElement(
        suite, "testcase", classname=f"kmemtrace.{found.snapshot.tier}", name="no event missed"
    )
    if found.missed_events:
        _add(case, "error", f"{found.missed_events} events were missed: the verdict is inconclusive")
        counts["error"] += 1
    suite.attrib |= {
        "tests": str(len(MismatchClass) + 1),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
    }
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _add(case: ET.Element, kind: str, text: str) -> None:
    text = _legal(text)
    ET.SubElement(case, kind, message=text.splitlines()[0]).text = text


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
