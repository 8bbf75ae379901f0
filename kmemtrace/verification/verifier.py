"""Runs a command in a cgroup of its own, or watches the machine, and reconciles every page charged."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.cgroups.workload import WorkloadCgroup, workload_cgroup
from kmemtrace.model.enums import Exemption, MismatchClass
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.verification import AccountReading, CounterReading, Verification
from kmemtrace.verification.account import OpenCensor, take_account
from kmemtrace.verification.counter import reconcile
from kmemtrace.verification.scope import Followed, Own

if TYPE_CHECKING:
    from kmemtrace.tracer.tracer import Tracer

_QUIET_SECONDS = 2.5
"""How long nothing must change before all is taken for drained: longer than statistics lag."""
_JUDGED_SECONDS = 1.1
"""How much later an uncharged allocation is judged: when it is known whether its process was on a move."""


class OpenTracer(Protocol):
    """Makes an attached Tracer when it is called."""

    def __call__(self, *, subtree: str | None, departures: bool) -> AbstractContextManager["Tracer"]:
        """Traces one cgroup or the whole machine.

        Args:
            subtree: Path of the cgroup that is traced with those below it; None for the machine.
            departures: Whether it tells where the processes go that we start.
        """


Progress = Callable[[str], AbstractContextManager[None]]
"""Says what is waited for, as long as it is entered."""


class Verifier:
    """Makes verifications: of_command() and of_machine() make one each."""

    def __init__(
        self,
        open_tracer: OpenTracer,
        open_censor: OpenCensor,
        drain_seconds: float,
        progress: Progress = lambda _: nullcontext(),
    ) -> None:
        """Prepares for verifications.

        Args:
            open_tracer: Makes an attached Tracer.
            open_censor: Makes a Censor.
            drain_seconds: How long to wait, at most, for what is freed late.
            progress: Says what is waited for.
        """
        self._open_tracer, self._open_censor = open_tracer, open_censor
        self._drain_seconds, self._progress = drain_seconds, progress

    def of_command(
        self, command: Sequence[str], stdout: IO[str] | None = None, *, follow: bool = False
    ) -> Verification:
        """Runs a command to its end in a cgroup of its own, and judges what was charged there.

        Who interrupts it gets a Verification all the same, of what had been charged by then.

        Args:
            command: The program and its arguments.
            stdout: Where its output goes; to ours if None.
            follow: Whether to judge also what was charged in the cgroups that its processes went to
                meanwhile.

        Raises:
            CannotError: No cgroup can be made.
            UsageError: The command cannot be started.
        """
        hierarchy = memory_hierarchy()
        with (
            workload_cgroup(hierarchy) as cgroup,
            self._open_tracer(subtree=None if follow else cgroup.path, departures=True) as tracer,
        ):
            scope = Followed(tracer, cgroup.path) if follow else Own(tracer)
            account = self._account(tracer)
            end = self._run(cgroup, command, stdout, follow=follow)
            with self._progress("waiting for what is freed late"):
                counter, drift = (None, ()) if end.interrupted else self._reconciled(hierarchy, cgroup, scope)
            if not end.interrupted and not follow:  # what is followed elsewhere, this account does not tell
                self._settle(account, tracer, cgroup, counter)
            with self._progress("waiting for what is freed late"):
                cgroup.remove()
                # What a removed cgroup still holds is let go of when it is released, a moment later.
                snapshot = self._drain(scope)
            return account.close(
                snapshot,
                command=tuple(command),
                command_status=end.status,
                interrupted=end.interrupted,
                unjudged=_unjudged_of_command(snapshot, counter, interrupted=end.interrupted),
                counter=counter,
                mismatches=(*drift, *snapshot.mismatches),
                killed=end.killed,
                departures=tuple(d for d in tracer.departures() if not cgroup.has(d.path)),
                followed=follow,
            )

    def of_machine(self, ticks: Iterable[object]) -> Verification:
        """Watches the whole machine until the ticks end, and judges what was charged meanwhile.

        Args:
            ticks: Come at each moment at which the tracer is to be read.
        """
        with self._open_tracer(subtree=None, departures=False) as tracer:
            account = self._account(tracer)
            for _ in ticks:
                tracer.snapshot()
            time.sleep(_JUDGED_SECONDS)
            snapshot = tracer.snapshot()
            return account.close(
                snapshot,
                command=(),
                command_status=None,
                unjudged=_unjudged(snapshot),
                counter=None,
                mismatches=snapshot.mismatches,
            )

    def _run(
        self, cgroup: WorkloadCgroup, command: Sequence[str], stdout: IO[str] | None, *, follow: bool
    ) -> "_End":
        """Waits for the command's end, and that of the processes that it left, or of our patience.

        Who interrupts it ends it, and what was charged by then is told all the same.
        """
        try:
            status = cgroup.run(command, stdout)
            with self._progress("waiting for processes that the command left"):
                cgroup.wait_until_ended(self._drain_seconds, everywhere=follow)
        except KeyboardInterrupt:
            cgroup.kill()
            return _End(None, interrupted=True)
        killed = len(cgroup.processes())
        cgroup.kill()
        return _End(status, killed)

    def _reconciled(
        self, hierarchy: MemoryHierarchy, cgroup: WorkloadCgroup, scope: Own
    ) -> tuple[CounterReading | None, tuple[Mismatch, ...]]:
        """Holds the cgroup's counter against what is known of it, once all that can has been given back."""
        self._drain(scope)
        return reconcile(hierarchy, cgroup, scope, _QUIET_SECONDS)

    def _account(self, tracer: "Tracer") -> "_Account":
        """Begins to count once all is judged that can be: what was done before would be judged by less."""
        begin = time.monotonic()
        with self._progress("looking for the pages charged before the start"):
            tracer.wait_until_judging()
        return _Account(tracer, time.monotonic() - begin)

    def _settle(
        self, account: "_Account", tracer: "Tracer", cgroup: WorkloadCgroup, counter: CounterReading | None
    ) -> None:
        """Settles what was missed, and what the counter has beyond the pages, by what is there of the cgroup.

        It has to be done while the cgroup has its own count.
        """
        losses = tracer.snapshot().losses
        kernel = counter.kernel if counter is not None else None
        if account.missed(losses) or (kernel is not None and kernel.in_doubt):
            with self._progress("reading the kernel's memory, to settle what was missed"):
                reading = take_account(self._open_censor, cgroup, lambda: tracer.snapshot().held_pages)
            account.settle(losses, reading)

    def _drain(self, scope: Own) -> Snapshot:
        """Returns the first Snapshot after what is held has not changed for a while, or that time is up."""
        snapshot = scope.snapshot()
        quiet_since, deadline = time.monotonic(), time.monotonic() + self._drain_seconds
        while (now := time.monotonic()) < deadline and now < quiet_since + _QUIET_SECONDS:
            time.sleep(0.25)
            before, snapshot = snapshot, scope.snapshot()
            if snapshot.held_pages != before.held_pages:
                quiet_since = time.monotonic()
        return snapshot


@dataclass(frozen=True, slots=True)
class _End:
    """How a command ended."""

    status: int | None
    """Exit status, negative for a signal; None where the command was interrupted."""
    killed: int = 0
    """Processes that the command left behind."""
    interrupted: bool = False


class _Account:
    """Keeps account of what happens from its making on."""

    def __init__(self, tracer: "Tracer", waited_seconds: float) -> None:
        before = tracer.snapshot()
        self._begin, self._waited = time.monotonic(), waited_seconds
        self._before, self._unsearched = before.losses, _unsearched(before)
        self._misses_tasks = tracer.plan.misses_tasks
        self._reading: AccountReading | None = None
        self._read_at: Losses | None = None

    def missed(self, losses: Losses) -> int:
        """Returns how many events were missed since, that could have shown or explained a mismatch."""
        return losses.verdicts_missed - self._before.verdicts_missed

    def settle(self, losses: Losses, reading: AccountReading) -> None:
        """Keeps the account that was taken, and the losses as they were read before that."""
        self._read_at, self._reading = losses, reading

    def _settled(self, snapshot: Snapshot) -> int:
        """Returns how many of the missed events the account settles.

        What is missed after the account was taken can be of pages that it still found, and is then not
        settled.
        """
        reading = self._reading
        if reading is None or not reading.exact or self._read_at is None:
            return 0
        until = self._read_at if reading.pages_bytes else snapshot.losses
        judged = self._misses_tasks and Unseen.UNCHARGED_ALLOC not in snapshot.unseen
        return _settleable(until, judged) - _settleable(self._before, judged)

    def close(self, snapshot: Snapshot, **found: Any) -> Verification:
        """Makes the Verification, of the last Snapshot and of whatever else was found."""
        return Verification(
            seconds=time.monotonic() - self._begin,
            snapshot=snapshot,
            waited_seconds=self._waited,
            missed_events=self.missed(snapshot.losses),
            account=self._reading,
            settled_events=self._settled(snapshot),
            unsearched=_unsearched(snapshot) - self._unsearched,
            **found,
        )


def _settleable(losses: Losses, judges_allocations: bool) -> int:
    """Returns how many of the missed events an account tells of.

    It does not tell of allocations that would have been judged: one that nobody was charged for leaves
    nothing behind. Nor is counted what there was no room for: with --max-pages there is, and it is judged
    page by page.
    """
    return losses.page_events_missed - (losses.allocations_missed if judges_allocations else 0)


def _unsearched(snapshot: Snapshot) -> int:
    """Returns how many uncharges came before it was known which pages were charged before the start."""
    return snapshot.exempt.get(Exemption.UNSEARCHED, 0)


def _unjudged(snapshot: Snapshot) -> dict[MismatchClass, str]:
    """Returns by class why it is not judged."""
    unseen = snapshot.unseen
    return {one: unseen[Unseen(one)] for one in MismatchClass if Unseen(one) in unseen}


def _unjudged_of_command(
    snapshot: Snapshot, counter: CounterReading | None, *, interrupted: bool
) -> dict[MismatchClass, str]:
    """Returns by class why it is not judged, where a counter was to be reconciled."""
    unjudged = _unjudged(snapshot)
    unjudged.pop(MismatchClass.COUNTER_DRIFT, None)
    if counter is None:
        unknown = "it was interrupted" if interrupted else "this kernel does not tell what its counter counts"
        unjudged[MismatchClass.COUNTER_DRIFT] = unknown
    return unjudged
