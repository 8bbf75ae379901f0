"""Mixed load under tracers of all tiers, and audits all the while: not one certain mismatch or drift."""

import contextlib
import json
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from kmemtrace.census.auditing import PAUSE_SECONDS, audited
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import CannotError
from kmemtrace.model.audit import READINGS, Audit, Outcome
from kmemtrace.model.enums import Confidence, Tier
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.report.mismatch import lines
from kmemtrace.tracer.tracer import Tracer
from tests.silence.load import Churn, stress

FOLDER = os.environ.get("KMEMTRACE_INJECTOR")
"""Shared with the host, where the table is made."""
_INTERVAL = 2.0


class Auditor(threading.Thread):
    """Audits over and over, as `kmemtrace audit` does, while it is entered."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._end = threading.Event()
        self.audits: list[Audit] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with open_censor() as censor:
                while not self._end.is_set():
                    self.audits.append(
                        audited(censor.take, 2 * READINGS, lambda: not self._end.wait(PAUSE_SECONDS))
                    )
        except BaseException as error:  # noqa: BLE001 the test tells it
            self.failure = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._end.set()
        self.join()
        if error is None and self.failure is not None:
            raise self.failure

    def drifts(self, confidence: Confidence) -> list[str]:
        """Each with the cgroup's account."""
        return [
            f"{drift.counted.path}: {drift.drift_bytes:+,} of {drift.counted.account}"
            for one in self.audits
            for drift in one.drifts
            if drift.confidence is confidence
        ]

    def told(self) -> dict[str, object]:
        censuses = [census for one in self.audits for census in one.readings]
        return {
            "audits": len(self.audits),
            "censuses": len(censuses),
            "objects": max(census.objects for census in censuses),
            "judged": sum(c.outcome is not Outcome.UNREAD for one in self.audits for c in one.cgroups),
            "certain": self.drifts(Confidence.CERTAIN),
            "suspect": len(self.drifts(Confidence.SUSPECT)),
        }


class Run:
    """One tier's tracer, perhaps stopped and started anew, and what it said in all."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self._stack = contextlib.ExitStack()
        self._tracer = self._start()
        self._last: Snapshot | None = None
        self.seconds = 0.0
        self.charged = 0
        self.missed: int | None = 0
        self.found: Counter[tuple[str, str]] = Counter()
        self.exempt: Counter[str] = Counter()
        self.certain: list[str] = []

    def _start(self) -> Tracer:
        tracer = self._stack.enter_context(make_tracer(self.tier))
        self._since = time.monotonic()
        return tracer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self) -> None:
        """The load begins: what came before does not count."""
        self._since = time.monotonic()

    @property
    def so_far(self) -> float:
        return self.seconds + time.monotonic() - self._since

    def look(self) -> None:
        self._last = self._tracer.snapshot()

    def stop(self) -> None:
        time.sleep(1.1)  # an uncharged allocation is judged a moment later
        last = self._tracer.snapshot()
        self.seconds += time.monotonic() - self._since
        self.charged += last.charged_pages
        misses = last.losses.recursion_misses  # None: this kernel does not tell
        self.missed = None if misses is None or self.missed is None else self.missed + sum(misses.values())
        self.exempt.update(last.exempt)
        for mismatch in last.mismatches:
            self.found[mismatch.mismatch_class, mismatch.confidence] += mismatch.count
            if mismatch.confidence == Confidence.CERTAIN.value:
                self.certain.append("\n".join(lines(mismatch)))
        self._stack.close()

    def restart(self) -> None:
        self.stop()
        self._tracer = self._start()


def _runs() -> list[Run]:
    runs = []
    for tier in (Tier.FENTRY, Tier.KPROBE, Tier.TRACEPOINT):
        with contextlib.suppress(CannotError):  # a tier that this kernel refuses
            runs.append(Run(tier))
    return runs


@pytest.mark.usefixtures("_able")
def test_silence(request: pytest.FixtureRequest) -> None:
    if shutil.which("stress-ng") is None:
        pytest.skip("stress-ng is not installed")
    seconds, churn, auditor = 60 * float(request.config.getoption("--minutes")), Churn(), Auditor()
    with churn, contextlib.ExitStack() as stack:
        # Before the load, under which compiling takes many times as long in a guest.
        runs = [stack.enter_context(run) for run in _runs()]
        with stress(int(4 * seconds) + 600), auditor:
            restarted = _watch(runs, churn, seconds)
    told = [
        {
            "tier": run.tier.value,
            "seconds": run.seconds,
            "charged_pages": run.charged,
            "missed_events": run.missed,
            "cgroups": churn.made,
            "found": {f"{c} {confidence}": n for (c, confidence), n in run.found.items()},
            "exempt": dict(run.exempt),
            "certain": run.certain,
        }
        for run in runs
    ]
    if FOLDER is not None:
        (Path(FOLDER) / "silence.json").write_text(json.dumps(told))
        (Path(FOLDER) / "audits.json").write_text(json.dumps(auditor.told()))
    print(json.dumps(told, indent=1), json.dumps(auditor.told(), indent=1))
    assert restarted
    assert [text for run in runs for text in run.certain] == []
    assert auditor.audits
    assert auditor.drifts(Confidence.CERTAIN) == []


def _watch(runs: list[Run], churn: Churn, seconds: float) -> bool:
    """Has each tracer look for that long, one of them stopped and started anew; whether that was."""
    for run in runs:
        run.begin()
    begin, restarted = time.monotonic(), False
    while min(run.so_far for run in runs) < seconds:
        churn.turn(_INTERVAL)
        for run in runs:
            run.look()
        if not restarted and time.monotonic() > begin + seconds / 2:
            runs[0].restart()
            restarted = True
    for run in runs:
        run.stop()
    return restarted
