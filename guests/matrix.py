"""The kernel matrix: `make test-kernels`, or python -m guests.matrix [options] [SERIES...].

Downloads Debian's kernels, boots each, runs the live tests there in every tier, and prints a table.
With --boot each is booted and set up in those ways instead, each with tests of its own.
A kernel that cannot be had is shown as not tested, with the reason.

Exit status 1 when a test failed, or a guest's kernel panicked or hung under the tests; 3 when nothing
failed, but a kernel that was named could not be tested, or, with none named, fewer than five series
were; else 0.
"""

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from guests import verdict_tables
from guests.architectures import AMD64, ARCHITECTURES, Architecture
from guests.boot import Boot, boot, last_words
from guests.debian import SERIES, Kernel, NotToBeHadError, fetch
from guests.qemu import qemu
from guests.root import root_of
from guests.setups import BOOTS, V1, V2, Setup
from kmemtrace.errors import ExitStatus

TIERS = ("fentry", "kprobe", "tracepoint")
FAULTS = ("tests/silence", "tests/faults")
"""Silence first: charges that faults lost stay on the counter of the removed cgroups' parent, where an audit
finds them, to the byte."""
WITH_V1 = ("5.10", "6.1")
"""Distributions of that time still had cgroup v1; later kernels are tested with v2 alone."""
_AT_A_TIME = 2
_ENOUGH_SERIES = 5
# Not every "Call Trace:": a cgroup's oom-killer, which the load is meant to call, prints one too.
_KERNEL_COMPLAINS = re.compile(
    r"(?:BUG: |WARNING: |Oops: |general protection fault|blocked for more than|rcu: INFO: .*stall).*"
)
PROCESS = "process"
"""In place of a tier: kmemtrace started as its users do, in the tier that it takes by itself."""
ANY = "any"
"""Of a test that is not of one tier: it takes all, or leaves the choice to kmemtrace."""
_REFUSED = "refused: "


@dataclass(frozen=True)
class Case:
    """One test in one tier on one kernel."""

    test: str
    tier: str
    outcome: str
    """passed, failed or skipped"""
    seconds: float
    reason: str


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("series", nargs="*", help=f"default: {' '.join(SERIES)}")
    parser.add_argument(
        "--arch",
        choices=ARCHITECTURES,
        default=AMD64.name,
        help="whose kernels; another's than this machine's run on files of their own (default: %(default)s)",
    )
    parser.add_argument(
        "--tier",
        action="append",
        default=[],
        type=_tier,
        metavar="TIER[@SERIES]",
        help=f"{', '.join(TIERS)}; on one kernel alone where it is named; may be repeated (default: all)",
    )
    parser.add_argument("-k", dest="only", metavar="EXPRESSION", help="those tests alone, as pytest's -k")
    parser.add_argument("--v2", action="store_true", help="with cgroup v2 alone")
    parser.add_argument(
        "--faults",
        action="append",
        default=[],
        metavar="SERIES",
        help="there, break the kernel and load it",
    )
    parser.add_argument("--only-faults", action="store_true", help="that alone, on all kernels")
    parser.add_argument(
        "--boot",
        action="append",
        default=[],
        choices=BOOTS,
        help="boot and set up the guests so, and run the tests of that alone; may be repeated",
    )
    parser.add_argument("--minutes", metavar="M", help="how long a kernel is loaded")
    _add_benches(parser)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    return parser


def _tier(text: str) -> tuple[str, str]:
    """(tier, series), the latter empty where it is meant for all."""
    tier, _, series = text.partition("@")
    if tier not in TIERS:
        raise argparse.ArgumentTypeError(f"{tier} is none of {', '.join(TIERS)}")
    return tier, series


def tiers_on(series: str, wanted: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """All where none was named for that kernel."""
    return tuple(tier for tier, only in wanted if only in ("", series)) or TIERS


def _add_benches(parser: argparse.ArgumentParser) -> None:
    """Each option names a program of bench/; `bench` is the list of those that were asked for."""
    parser.add_argument(
        "--bench", action="append_const", const="tiers", help="also measure there what each tier costs"
    )
    parser.add_argument(
        "--bench-verdicts",
        dest="bench",
        action="append_const",
        const="verdicts",
        help="also count there how often verify comes to a verdict",
    )
    parser.add_argument(
        "--bench-account",
        dest="bench",
        action="append_const",
        const="account",
        help="also print there how much of each cgroup's kernel memory is explained",
    )
    parser.add_argument(
        "--bench-walk",
        dest="bench",
        action="append_const",
        const="walk",
        help="also hold there each call site that is told without the kernel's walk against it",
    )


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    series = options.series or SERIES
    if unknown := {only for _, only in options.tier} - {"", *series}:
        parser.error(f"--tier is for {', '.join(sorted(unknown))}, which is none of {', '.join(series)}")
    architecture = ARCHITECTURES[options.arch]
    try:  # before several guests ask for them at once
        qemu(architecture)
        if architecture.foreign:
            root_of(architecture)
    except NotToBeHadError as error:
        print(f"no kernel can be tested: {error}", file=sys.stderr)
        return 3
    kernels, missing = _fetch_all(series, architecture)
    wanted = guests(kernels, options)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        boots = list(pool.map(lambda guest: _boot(guest, options), wanted))
    results = {b: results_of(b) for b in boots}
    told = (verdict_tables.tables(boots), *map(printed, boots), failures(results))
    text = tables(results, missing) + "".join(told)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)
    return status(results, missing, named=bool(options.series))


def _pytest_arguments(series: str, options: argparse.Namespace) -> list[str]:
    arguments = [word for tier in tiers_on(series, options.tier) for word in ("--tier", tier)]
    arguments += ["-k", options.only] if options.only else []
    return arguments + ([f"--minutes={options.minutes}"] if options.minutes else [])


@dataclass(frozen=True)
class Guest:
    """One boot that is wanted."""

    kernel: Kernel
    setup: Setup
    tests: tuple[str, ...]


def guests(kernels: Iterable[Kernel], options: argparse.Namespace) -> list[Guest]:
    """Those with the most to do first, so that none of them is left to run alone at the end."""
    if options.boot:
        setups = [BOOTS[name] for name in dict.fromkeys(options.boot)]
        return [Guest(kernel, setup, setup.tests) for kernel in kernels for setup in setups]
    wanted = []
    for kernel in kernels:
        faults = FAULTS if options.only_faults or kernel.series in options.faults else ()
        live = () if options.only_faults else V2.tests
        wanted.append(Guest(kernel, V2, (*live, *faults)))
        if live and kernel.series in WITH_V1 and not options.v2:
            wanted.append(Guest(kernel, V1, V1.tests))
    return sorted(wanted, key=lambda guest: -len(guest.tests))


def _fetch_all(series: Iterable[str], architecture: Architecture) -> tuple[list[Kernel], dict[str, str]]:
    """Each kernel once, though two series may name the same, and why others cannot be had."""
    kernels: dict[str, Kernel] = {}
    missing = {}
    for one in series:
        try:
            kernel = fetch(one, architecture)
        except NotToBeHadError as error:
            missing[one] = str(error)
        else:
            kernels.setdefault(kernel.release, kernel)
    return list(kernels.values()), missing


def _boot(guest: Guest, options: argparse.Namespace) -> Boot:
    arguments = _pytest_arguments(guest.kernel.series, options)
    found = boot(guest.kernel, guest.setup, arguments, tests=guest.tests, benches=options.bench or ())
    words = found.failure or f"{len(results_of(found))} tests"
    print(f"{guest.kernel.release}, {guest.setup.name}: {words}, {found.seconds:.0f} s", file=sys.stderr)
    return found


def printed(found: Boot) -> str:
    """What the programs of bench/ and the cases of docs/cases.md printed there, as far as they were run."""
    logs = sorted([*found.folder.glob("bench-*.txt"), *found.folder.glob("case-*.txt")])
    told = [log.read_text() for log in logs]
    if not told:
        return ""
    return "\n".join([f"\n{found.kernel.release}, {found.setup.name}, emulated:", *told])


def results_of(found: Boot) -> list[Case]:
    if found.failure is not None:
        return []
    of_tests = (case for report in found.reports for case in cases(report))
    ours = processes(found.folder) if found.setup.works else []
    return [*of_tests, *ours, *_measured(found.folder)]


def processes(folder: Path) -> list[Case]:
    """What `kmemtrace check` and `kmemtrace top` did there, each with its exit status and JSON."""
    return [
        Case(f"kmemtrace {name} --json", PROCESS, "failed" if why else "passed", 0.0, why)
        for name in ("check", "top")
        for why in [_wrong_with(folder, name)]
    ]


_OUTCOMES: Mapping[int, str] = {ExitStatus.OK: "passed", ExitStatus.CANNOT: "skipped"}
"""Of benchmarks, by their exit status."""


def _measured(folder: Path) -> list[Case]:
    """Whether each benchmark came to a good end, or cannot be run there; nothing where none was asked for."""
    found = []
    for status in sorted(folder.glob("bench-*.status")):
        ended = int(status.read_text())
        why = status.with_suffix(".txt").read_text().strip().rpartition("\n")[2] if ended else ""
        name = status.stem.replace("-", " ")
        found.append(Case(name, PROCESS, _OUTCOMES.get(ended, "failed"), 0.0, why))
    return found


def _wrong_with(folder: Path, name: str) -> str:
    """Empty when nothing is: exit status 0, nothing on stderr, one JSON object that names its tier."""
    try:
        status = (folder / f"{name}.status").read_text().strip()
        said = (folder / f"{name}.stderr").read_text().strip()
        output = (folder / f"{name}.json").read_text()
    except FileNotFoundError:
        return "it was not run"
    if status != "0" or said:
        return f"exit status {status}: {said}"
    try:
        return "" if json.loads(output)["tier"] else "it names no tier"
    except (ValueError, KeyError) as error:
        return f"no JSON of ours: {error!r}"


def cases(junit: Path) -> list[Case]:
    """What pytest noted of a folder of tests."""
    return [_case(node) for node in ET.parse(junit).iter("testcase")]


def _case(node: ET.Element) -> Case:
    name, _, rest = node.attrib["name"].partition("[")
    parts = rest.removesuffix("]").split("-")
    tier = next((t for t in TIERS if t in parts), ANY)
    others = "-".join(p for p in parts if p and p != tier)
    bad, skipped = node.find("failure"), node.find("skipped")
    bad = node.find("error") if bad is None else bad
    outcome = "failed" if bad is not None else "skipped" if skipped is not None else "passed"
    why = bad if bad is not None else skipped
    reason = next(iter((why.attrib.get("message", "") if why is not None else "").splitlines()), "")
    test = f"{name}[{others}]" if others else name
    return Case(test, tier, outcome, float(node.attrib.get("time", 0)), reason)


def tables(results: Mapping[Boot, list[Case]], missing: Mapping[str, str]) -> str:
    """Markdown: kernels by tier, tests by kernel and tier, and what was not tested."""
    lines = [
        "| kernel | set-up | tier | passed | failed | skipped | tests, s | boot, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found, of_boot in results.items():
        lines += _kernel_rows(found, of_boot)
    lines += [f"| {series} | | | not tested: {why} | | | | |" for series, why in missing.items()]
    return "\n".join([*lines, "", *_by_test(results)]) + "\n"


def _kernel_rows(found: Boot, of_boot: list[Case]) -> list[str]:
    head = f"| {found.kernel.release} | {found.setup.name}"
    if found.failure is not None:
        return [f"{head} | | {_ended(found)} | | | | {found.seconds:.0f} |"]
    rows = []
    for tier in dict.fromkeys(c.tier for c in of_boot):
        mine = [c for c in of_boot if c.tier == tier]
        refusals = {c.reason for c in mine if c.outcome == "skipped" and c.reason.startswith(_REFUSED)}
        if len(refusals) == 1 and all(c.reason in refusals for c in mine):
            rows.append(f"{head} | {tier} | {refusals.pop()} | | | | {found.seconds:.0f} |")
            continue
        count = Counter(c.outcome for c in mine)
        seconds = sum(c.seconds for c in mine)
        rows.append(
            f"{head} | {tier} | {count['passed']} | {count['failed']} | {count['skipped']} "
            f"| {seconds:.0f} | {found.seconds:.0f} |"
        )
    return rows


def _ended(found: Boot) -> str:
    return f"{'FAILED' if found.began else 'not tested'}: {found.failure}"


_BAD_FIRST = ("failed", "skipped", "passed")
_SIGNS = {"passed": "+", "failed": "FAILED", "skipped": "-"}


def _by_test(results: Mapping[Boot, list[Case]]) -> list[str]:
    """A row per test function, its parameters added up; a letter per tier."""
    columns = [b for b in results if results[b]]
    series = [f"{b.kernel.series} {b.setup.name}" for b in columns]
    worst: dict[str, dict[tuple[int, str], str]] = defaultdict(dict)
    for at, found in enumerate(columns):
        for case in results[found]:
            name = re.sub(r"\[.*", "", case.test).removeprefix("test_").replace("_", " ")
            key = (at, case.tier)
            worst[name][key] = min(worst[name].get(key, case.outcome), case.outcome, key=_BAD_FIRST.index)
    lines = [
        f"| test (fentry, kprobe, tracepoint) | {' | '.join(series)} |",
        "|---" * (len(series) + 1) + "|",
    ]
    for name, outcomes in worst.items():
        cells = [
            " ".join(_SIGNS[outcomes[at, t]] for t in (*TIERS, ANY, PROCESS) if (at, t) in outcomes)
            for at in range(len(columns))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def failures(results: Mapping[Boot, list[Case]]) -> str:
    """What failed, each with why; empty where nothing did. Printed last: the last page of a log may be all
    that is left of a run."""
    words, lines = list[str](), list[str]()
    for found, of_boot in results.items():
        head = f"{found.kernel.release} {found.setup.name}"
        if found.failure is not None:
            last = last_words(found.folder)
            words += [f"- {head} ended with", *(f"      {line}" for line in last)] if last else []
            lines.append(f"- {head} {_ended(found)}")
        lines += [
            f"- FAILED {head} {case.tier} {case.test}: {case.reason}"
            for case in of_boot
            if case.outcome == "failed"
        ]
        lines += [f"- {head}: the kernel said: {line}" for line in complaints(found.folder / "dmesg.log")]
    return "\n".join(["", *words, *lines, ""]) if lines else ""


def complaints(log: Path) -> list[str]:
    """What a kernel that survived the tests had to say against them, each once."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return list(dict.fromkeys(match[0].strip() for match in _KERNEL_COMPLAINS.finditer(text)))


def status(results: Mapping[Boot, list[Case]], missing: Mapping[str, str], *, named: bool) -> int:
    """Of the whole run; `named` when the series were chosen by whoever ran it."""
    broke = any(b.failure is not None and b.began for b in results)
    if broke or any(case.outcome == "failed" for of_boot in results.values() for case in of_boot):
        return 1
    untested = bool(missing) or any(not of_boot for of_boot in results.values())
    series = {b.kernel.series for b, of_boot in results.items() if of_boot}
    return 3 if (untested if named else len(series) < _ENOUGH_SERIES) else 0


if __name__ == "__main__":
    sys.exit(main())
