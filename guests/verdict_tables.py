"""The tables of `make test-faults`: each fault on each kernel in each tier, and the silence under load."""

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from guests.boot import Boot

_TIERS = ("fentry", "kprobe", "tracepoint")
_TEST = "test_fault["


def tables(boots: Iterable[Boot]) -> str:
    """Markdown; empty where neither faults nor silence were tested."""
    ran = [boot for boot in boots if boot.failure is None]
    return "".join(f"\n{table}\n" for table in (_faults(ran), _silence(ran), _audits(ran)) if table)


def _faults(boots: list[Boot]) -> str:
    """What was found, by the property that each test notes."""
    found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for boot in boots:
        for fault, tier, told in (case for report in boot.reports for case in fault_cases(report)):
            found[fault][boot.kernel.series, tier] = told
    if not found:
        return ""
    series = list(dict.fromkeys(one for cells in found.values() for one, _tier in cells))
    lines = [f"| fault | {' | '.join(series)} |", "|---" * (len(series) + 1) + "|"]
    for fault, cells in found.items():
        row = [_by_tier({tier: cells.get((one, tier), "not run") for tier in _TIERS}) for one in series]
        lines.append(f"| {fault.replace('_', ' ')} | {' | '.join(row)} |")
    return "\n".join(lines)


def _by_tier(told: dict[str, str]) -> str:
    """Tiers that tell the same together: "fentry, kprobe: lost_uncharge certain; tracepoint: cannot"."""
    tiers: dict[str, list[str]] = defaultdict(list)
    for tier, words in told.items():
        tiers[words].append(tier)
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in tiers.items())


def fault_cases(junit: Path) -> list[tuple[str, str, str]]:
    """(fault, tier, what was found) of each fault test."""
    cases = []
    for node in ET.parse(junit).iter("testcase"):
        name = node.attrib["name"]
        if not name.startswith(_TEST):
            continue
        tier, _, fault = name.removeprefix(_TEST).removesuffix("]").partition("-")
        cases.append((fault, tier, _told(node)))
    return cases


def _told(node: ET.Element) -> str:
    if node.find("failure") is not None or node.find("error") is not None:
        return "FAILED"
    if node.find("skipped") is not None:
        return "not run"
    noted = {p.attrib["name"]: p.attrib["value"] for p in node.iter("property")}
    return noted.get("found") or "cannot"


def _silence(boots: list[Boot]) -> str:
    rows = []
    for boot in boots:
        file = boot.folder / "silence.json"
        if file.exists():
            rows += [f"| {boot.kernel.release} | {_silent(run)} |" for run in json.loads(file.read_text())]
    columns = ("kernel", "tier", "minutes", "cgroups made", "pages charged", "events missed")
    return _table((*columns, "certain", "suspect"), rows)


def _silent(run: dict[str, object]) -> str:
    counts: dict[str, int] = defaultdict(int)
    found = run["found"]
    assert isinstance(found, dict)
    for name, count in found.items():
        counts[name.rpartition(" ")[2]] += count
    assert isinstance(run["seconds"], float)
    cells = [
        run["tier"],
        f"{run['seconds'] / 60:.0f}",
        f"{run['cgroups']:,}",
        f"{run['charged_pages']:,}",
        "not told" if run["missed_events"] is None else f"{run['missed_events']:,}",
        f"{counts['certain']}",
        f"{counts['suspect']:,}",
    ]
    return " | ".join(map(str, cells))


def _audits(boots: list[Boot]) -> str:
    """Of the same load, what `audit` said of it all the while."""
    rows = []
    for boot in boots:
        file = boot.folder / "audits.json"
        if file.exists():
            told = json.loads(file.read_text())
            counts = [f"{told[name]:,}" for name in ("audits", "censuses", "objects", "judged")]
            cells = (boot.kernel.release, *counts, len(told["certain"]), f"{told['suspect']:,}")
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return _table(
        ("kernel", "audits", "censuses", "most objects", "counts judged", "certain", "suspect"), rows
    )


def _table(columns: Sequence[str], rows: list[str]) -> str:
    """Empty where there are no rows."""
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]) if rows else ""
