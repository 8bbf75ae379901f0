"""When a count that is not what is there is called certain, suspect, or nothing at all."""

import dataclasses

import pytest

from kmemtrace.model.account import Account
from kmemtrace.model.audit import Outcome, audit, beyond
from kmemtrace.model.census import Census, Counted
from kmemtrace.model.enums import CgroupState, Confidence
from kmemtrace.model.snapshot import CgroupKey
from kmemtrace.model.unseen import Unseen
from kmemtrace.report.audit import audit_document, report

AT_REST = Account(
    kernel_bytes=40960,
    pages_bytes=32768,
    page_tables_bytes=4096,
    slab_bytes=7000,
    caches=(),
    percpu_bytes=200,
    zswap_bytes=0,
    ahead_bytes=992,
    moved_bytes=0,
    doubtful_bytes=0,
)


def with_(**changes: int | None) -> Account:
    return dataclasses.replace(AT_REST, **changes)  # type: ignore[arg-type]


def census(account: Account) -> Census:
    counted = Counted(CgroupKey(0, 7), "/a", CgroupState.ONLINE, account)
    return Census(1.0, 0.2, 0.2, 0.1, 1000, 8, 80, (counted,), {}, {})


@pytest.mark.parametrize(
    ("account", "found"),
    [
        (AT_REST, 0),
        (with_(kernel_bytes=40961), 1),
        (with_(kernel_bytes=40959), -1),
        (with_(kernel_bytes=40960 + 300 * 4096), 300 * 4096),
        (with_(kernel_bytes=40960 + 4096, doubtful_bytes=4096), 0),
        (with_(kernel_bytes=40960 - 4096, doubtful_bytes=4096), -4096),
        (with_(kernel_bytes=40960 + 4096, moved_bytes=4096), 0),
        (with_(kernel_bytes=40960 - 4097, moved_bytes=4096), -1),
        (with_(kernel_bytes=None), None),
        (with_(percpu_bytes=None), None),
        (with_(zswap_bytes=None), None),
        (with_(kernel_bytes=81920, zswap_bytes=40960), 0),
    ],
)
def test_what_nothing_explains(account: Account, found: int | None) -> None:
    assert beyond(account) == found


LOST = with_(kernel_bytes=40960 + 100 * 4096)
BUSY = with_(kernel_bytes=40960 + 101 * 4096, slab_bytes=7001)


@pytest.mark.parametrize(
    ("accounts", "outcome", "confidence"),
    [
        ([AT_REST], Outcome.BALANCED, None),
        ([LOST], Outcome.DRIFTED, Confidence.SUSPECT),
        ([LOST, LOST], Outcome.DRIFTED, Confidence.SUSPECT),
        ([LOST, LOST, LOST], Outcome.DRIFTED, Confidence.CERTAIN),
        ([BUSY, LOST, LOST, LOST], Outcome.DRIFTED, Confidence.CERTAIN),
        ([LOST, LOST, BUSY], Outcome.DRIFTED, Confidence.SUSPECT),
        ([LOST, BUSY, LOST], Outcome.DRIFTED, Confidence.SUSPECT),
        # Sockets' buffers have no part in it.
        ([with_(sock_bytes=40960)] * 3, Outcome.BALANCED, None),
        ([LOST, dataclasses.replace(LOST, sock_bytes=40960), LOST], Outcome.DRIFTED, Confidence.CERTAIN),
        # Once it adds up, what did not was only at work.
        ([LOST, LOST, LOST, AT_REST], Outcome.BALANCED, None),
        ([AT_REST, LOST, LOST, LOST], Outcome.BALANCED, None),
        ([with_(kernel_bytes=None)] * 3, Outcome.UNREAD, None),
    ],
)
def test_how_sure_it_is(accounts: list[Account], outcome: Outcome, confidence: Confidence | None) -> None:
    (found,) = audit([census(account) for account in accounts]).cgroups
    assert (found.outcome, found.confidence) == (outcome, confidence)


def test_what_the_cpus_may_keep_is_allowed_for_where_it_was_not_read() -> None:
    unread = dataclasses.replace(census(LOST), unseen={Unseen.STOCK: "not found"})
    (found,) = audit([unread] * 3).cgroups
    assert found.outcome is Outcome.BALANCED


def test_the_report_names_what_was_not_read_of_what_it_adds_up() -> None:
    unread = dataclasses.replace(
        census(AT_REST), unseen={Unseen.STOCK: "not found", Unseen.SOCKETS: "not counted"}
    )
    told = report(audit([unread]), 20)
    assert "not read: stock: not found" in told
    assert "sockets" not in told


def test_a_cgroup_that_came_late_is_judged_by_its_own_readings() -> None:
    (found,) = audit([dataclasses.replace(census(AT_REST), cgroups=()), census(LOST)]).cgroups
    assert found.confidence is Confidence.SUSPECT


@pytest.mark.parametrize(
    ("account", "verdict"),
    [(AT_REST, "BALANCED: of 1"), (LOST, "DRIFTED: of 1"), (with_(kernel_bytes=None), "INCONCLUSIVE: no")],
)
def test_the_report_ends_with_the_verdict(account: Account, verdict: str) -> None:
    assert report(audit([census(account)] * 3), 20).splitlines()[-1].startswith(verdict)


def test_the_document_has_the_amount_and_leaves_out_what_was_not_read() -> None:
    told = audit_document(audit([census(LOST)] * 3), "node", "6.18")
    (row,) = told["cgroups"]
    assert (row["outcome"], row["confidence"], row["drift_bytes"]) == (
        "drifted",
        "certain",
        100 * 4096,
    )
    poor = audit_document(audit([census(with_(percpu_bytes=None))]), "node", "6.18")
    assert "percpu_bytes" not in poor["cgroups"][0]["account"]
