"""How often `kmemtrace verify` comes to a verdict: `make bench-verdicts`, or
python bench/verdicts.py [--runs N] [--tier TIER]... [-- COMMAND...].

Verifies a command N times as its users do, in the tier that verify takes by itself and in others. What
keeps a run from a verdict is mostly that the kernel skips a BPF program that is already running on the
CPU: which programs were skipped, and how often, is told beside the verdicts.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kmemtrace.errors import ExitStatus
from kmemtrace.model.enums import Tier
from kmemtrace.model.verification import Verdict

_COMMAND = ("stress-ng", "--pipe", "2", "--sock", "1", "--fork", "1", "--timeout", "5")
_VERDICTS = {ExitStatus.OK, ExitStatus.BAD, ExitStatus.INCONCLUSIVE}
_CHOSEN = "chosen"
"""In place of a tier: the one that verify takes by itself."""
_PATH = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}

Run = Mapping[str, Any]
"""The report of one verification: the document of `kmemtrace verify --json`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--runs", type=int, metavar="N", default=6, help="of each tier (default: %(default)s)"
    )
    parser.add_argument(
        "--tier",
        action="append",
        choices=[_CHOSEN, *(t.value for t in Tier)],
        help=f"may be repeated (default: {_CHOSEN} and tracepoint)",
    )
    parser.add_argument("command", nargs="*", default=_COMMAND, help="what to verify, after --")
    options = parser.parse_args()
    found: dict[str, list[Run]] = {}
    for tier in options.tier or (_CHOSEN, Tier.TRACEPOINT.value):
        try:
            found[tier] = [_verify(tier, options.command) for _ in range(options.runs)]
        except _RefusedError as error:
            print(f"left out: {tier}: {error}", file=sys.stderr)
    _print(found)
    return 0 if found else int(ExitStatus.CANNOT)


class _RefusedError(Exception):
    """This tier does not work here, or the command does not; the message says why."""


def _verify(tier: str, command: Sequence[str]) -> Run:
    forced = [] if tier == _CHOSEN else ["--tier", tier]
    ours = [sys.executable, "-m", "kmemtrace", "verify", "--json", *forced, "--", *command]
    with tempfile.TemporaryDirectory() as folder:  # stress-ng writes where it is started
        done = subprocess.run(ours, cwd=folder, capture_output=True, text=True, check=False, env=_PATH)
    if done.returncode not in _VERDICTS:
        raise _RefusedError(done.stderr.strip().rpartition("\n")[2])
    run: Run = json.loads(done.stdout)
    if run["command_status"] != 0:
        raise _RefusedError(f"{command[0]} failed: {done.stderr.strip()}")
    print(
        f"{run['tier']}: {run['verdict']}, {run['charged_pages']:,} pages charged, "
        f"{run['missed_events']:,} events missed ({_skipped([run])}), {run.get('settled_events', 0):,} "
        f"settled{_account(run)}, found {_found(run)}, {run['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return run


def _print(found: Mapping[str, Sequence[Run]]) -> None:
    columns = ("kernel", "preemption", "tier", "runs", "with a verdict", "pages charged", "events missed")
    print(f"| {' | '.join((*columns, 'settled', 'programs skipped'))} |")
    print("|---" * (len(columns) + 2) + "|")
    for tier, runs in found.items():
        decided = sum(run["verdict"] != Verdict.INCONCLUSIVE.value for run in runs)
        cells = (
            platform.release(),
            _preemption(),
            f"{runs[0]['tier']}{' (by itself)' if tier == _CHOSEN else ''}",
            len(runs),
            f"{decided} ({100 * decided / len(runs):.0f} %)",
            f"{statistics.median(run['charged_pages'] for run in runs):,.0f}",
            _range([run["missed_events"] for run in runs]),
            _range([run.get("settled_events", 0) for run in runs]),
            _skipped(runs),
        )
        print(f"| {' | '.join(map(str, cells))} |")


def _found(run: Run) -> str:
    """By class, how often and how sure."""
    count: Counter[str] = Counter()
    for one in run["mismatches"]:
        count[f"{one['class']} ({one['confidence']})"] += one["count"]
    told = ", ".join(f"{n:,} {name}" for name, n in count.items()) or "nothing"
    return f"{told}{', refuted' if run.get('mismatches_refuted') else ''}"


def _account(run: Run) -> str:
    """Why it settled nothing, where one was taken and did not."""
    account = run.get("account")
    if account is None or account.get("exact"):
        return ""
    if "refusal" in account:
        return f" ({account['refusal']})"
    apart = account["charged_bytes"] - account["explained_bytes"]
    return f" (account off by {apart:+,} bytes, {account['doubtful_bytes']:,} in doubt)"


def _preemption() -> str:
    """The model that is in force, as PREEMPT_DYNAMIC kernels tell it, else what the build says."""
    try:
        models = Path("/sys/kernel/debug/sched/preempt").read_text(encoding="ascii")
    except OSError:
        built = re.search(r"PREEMPT\w*", platform.version())
        return built[0] if built else "none"
    chosen = re.search(r"\((\w+)\)", models)
    return chosen[1] if chosen else models.strip()


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts):,} to {max(counts):,}"


def _skipped(runs: Sequence[Run]) -> str:
    """By program, most first, over all runs."""
    count: Counter[str] = Counter()
    for run in runs:
        count.update(run["losses"].get("recursion_misses_by_program") or {})
    return ", ".join(f"{name} {n:,}" for name, n in count.most_common() if n) or "none"


if __name__ == "__main__":
    sys.exit(main())
