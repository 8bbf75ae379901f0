"""What `check` says of kernels that are not this machine's."""

import re
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.commands import able, check
from kmemtrace.kernel.planning import make_plan
from kmemtrace.model.enums import Tier
from tests.unit.recorded import ARM64, KERNELS, Recorded


def told(monkeypatch: pytest.MonkeyPatch, facts: Recorded, tier: Tier | None = None) -> dict[str, str]:
    """Its lines by their first word, each with the lines that go on with it."""
    hierarchy = MemoryHierarchy(2, 0, Path("/sys/fs/cgroup"), "/")
    for name, answer in {
        "_plan": (make_plan(facts, tier, page_frames=1 << 20), None),
        "_bcc": {"version": "0.31.0", "path": "/usr/lib/python3/dist-packages/bcc"},
        "memory_hierarchy": hierarchy,
        "_cgroups": {"version": 2, "hierarchy_id": 0, "mount": "/sys/fs/cgroup", "obstacles": []},
    }.items():
        monkeypatch.setattr(check, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(check, "_account", lambda _: {})
    for name in ("problems", "shortages"):
        monkeypatch.setattr(able, name, list)
    text = re.sub(r"\n +", " ", check._text(check.examine()))
    return dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)


@pytest.mark.parametrize(
    ("facts", "tier", "stacks", "records", "memory"),
    [
        (ARM64["6.12"], Tier.TRACEPOINT, "signed on the stack", "other CPUs need not see", "loaded by"),
        (ARM64["6.1"], None, "signed on the stack", "other CPUs need not see", "by a helper"),
        (KERNELS["6.12"], Tier.TRACEPOINT, "most told by what is learned", "in a table", "loaded by"),
        (KERNELS["6.12"], None, "most told by what is learned", "in a table", "loaded by"),
        (KERNELS["5.10"], None, "may interrupt itself", "compare and exchange", "by a helper"),
    ],
)
def test_what_is_not_for_each_machine_has_its_reason(
    facts: Recorded,
    tier: Tier | None,
    stacks: str,
    records: str,
    memory: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = told(monkeypatch, facts, tier)
    assert said["tier"] == (tier or Tier.FENTRY)
    assert stacks in said["stacks"]
    assert records in said["records"]
    assert memory in said["memory"]
    assert "uncharged_alloc" in said["judges"]
