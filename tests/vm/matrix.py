"""The kernel matrix: `make test-kernels`, or python -m tests.vm.matrix [options] [SERIES...].

Downloads Debian's kernels, boots each, runs the live tests there in every tier, and prints a table.
Exit status 0 when every kernel was tested and nothing failed; 3 when some could not be tested; 1
when a test failed.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.vm.boot import Boot, boot
from tests.vm.debian import SERIES, Kernel, NotToBeHadError, fetch

TIERS = ("fentry", "kprobe", "tracepoint")
WITH_V1 = ("5.10", "6.1")
"""Distributions of that time still had cgroup v1; later kernels are tested with v2 alone."""
_AT_A_TIME = 2


@dataclass(frozen=True)
class Case:
    """One test in one tier on one kernel."""

    test: str
    tier: str
    outcome: str
    """passed, failed or skipped"""
    seconds: float
    reason: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("series", nargs="*", default=list(SERIES), help=f"default: {' '.join(SERIES)}")
    parser.add_argument("--tier", action="append", choices=TIERS, help="may be repeated (default: all)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    options = parser.parse_args()
    kernels, missing = _fetch_all(options.series)
    wanted = [(k, version) for k in kernels for version in _cgroup_versions(k.series)]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        boots = list(pool.map(lambda w: _boot(w[0], w[1], options.tier or list(TIERS)), wanted))
    results = {b: cases(b.folder / "junit.xml") for b in boots}
    text = tables(results, missing)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)
    return _status(results, missing)


def _cgroup_versions(series: str) -> tuple[int, ...]:
    return (2, 1) if series in WITH_V1 else (2,)


def _fetch_all(series: Iterable[str]) -> tuple[list[Kernel], dict[str, str]]:
    kernels, missing = [], {}
    for one in series:
        try:
            kernels.append(fetch(one))
        except NotToBeHadError as error:
            missing[one] = str(error)
    return kernels, missing


def _boot(kernel: Kernel, version: int, tiers: list[str]) -> Boot:
    found = boot(kernel, version, tiers)
    words = found.failure or f"{len(cases(found.folder / 'junit.xml'))} tests"
    print(f"{kernel.release}, cgroup v{version}: {words}, {found.seconds:.0f} s", file=sys.stderr)
    return found


def cases(junit: Path) -> list[Case]:
    """What pytest noted; nothing where it did not come to its end."""
    if not junit.exists():
        return []
    return [_case(node) for node in ET.parse(junit).iter("testcase")]


def _case(node: ET.Element) -> Case:
    name, _, rest = node.attrib["name"].partition("[")
    parts = rest.removesuffix("]").split("-")
    tier = next((t for t in TIERS if t in parts), "")
    others = "-".join(p for p in parts if p and p != tier)
    bad, skipped = node.find("failure"), node.find("skipped")
    bad = node.find("error") if bad is None else bad
    outcome = "failed" if bad is not None else "skipped" if skipped is not None else "passed"
    why = bad if bad is not None else skipped
    reason = "" if why is None else why.attrib.get("message", "").splitlines()[0]
    test = f"{name}[{others}]" if others else name
    return Case(test, tier, outcome, float(node.attrib.get("time", 0)), reason)


def tables(results: Mapping[Boot, list[Case]], missing: Mapping[str, str]) -> str:
    """Markdown: kernels by tier, tests by kernel and tier, and what failed or was not tested."""
    lines = [
        "| kernel | cgroup | tier | passed | failed | skipped | tests, s | boot, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found, of_boot in results.items():
        lines += _kernel_rows(found, of_boot)
    lines += [f"| {series} | | | not tested: {why} | | | | |" for series, why in missing.items()]
    lines += ["", *_by_test(results), "", *_failures(results)]
    return "\n".join(lines).rstrip() + "\n"


def _kernel_rows(found: Boot, of_boot: list[Case]) -> list[str]:
    head = f"| {found.kernel.release} | v{found.cgroup_version}"
    if found.failure is not None:
        return [f"{head} | | not tested: {found.failure} | | | | {found.seconds:.0f} |"]
    rows = []
    for tier in dict.fromkeys(c.tier for c in of_boot if c.tier):
        mine = [c for c in of_boot if c.tier == tier]
        count = Counter(c.outcome for c in mine)
        seconds = sum(c.seconds for c in mine)
        rows.append(
            f"{head} | {tier} | {count['passed']} | {count['failed']} | {count['skipped']} "
            f"| {seconds:.0f} | {found.seconds:.0f} |"
        )
    return rows


_SIGNS = {"passed": "+", "failed": "FAILED", "skipped": "-"}


def _by_test(results: Mapping[Boot, list[Case]]) -> list[str]:
    """A row per test function, its parameters added up; a letter per tier."""
    columns = [b for b in results if b.failure is None]
    series = [f"{b.kernel.series} v{b.cgroup_version}" for b in columns]
    worst: dict[str, dict[tuple[int, str], str]] = defaultdict(dict)
    for at, found in enumerate(columns):
        for case in results[found]:
            name = re.sub(r"\[.*", "", case.test).removeprefix("test_").replace("_", " ")
            key = (at, case.tier)
            if worst[name].get(key) != "failed":
                worst[name][key] = case.outcome
    lines = [
        f"| test (fentry, kprobe, tracepoint) | {' | '.join(series)} |",
        "|---" * (len(series) + 1) + "|",
    ]
    for name, outcomes in worst.items():
        cells = [
            " ".join(_SIGNS[outcomes[at, tier]] for tier in TIERS if (at, tier) in outcomes)
            for at in range(len(columns))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _failures(results: Mapping[Boot, list[Case]]) -> list[str]:
    return [
        f"FAILED {found.kernel.release} v{found.cgroup_version} {case.tier} {case.test}: {case.reason}"
        for found, of_boot in results.items()
        for case in of_boot
        if case.outcome == "failed"
    ]


def _status(results: Mapping[Boot, list[Case]], missing: Mapping[str, str]) -> int:
    if any(case.outcome == "failed" for of_boot in results.values() for case in of_boot):
        return 1
    untested = missing or any(b.failure is not None or not found for b, found in results.items())
    return 3 if untested else 0


if __name__ == "__main__":
    sys.exit(main())
