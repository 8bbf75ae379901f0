"""kmemtrace check: what this kernel and this user allow, before anything is loaded."""

import argparse
import dataclasses
import json
import platform
import textwrap
from typing import Any

from kmemtrace.census.object_plan import objects_refusal
from kmemtrace.census.offered import offered
from kmemtrace.cgroups.accounting import obstacles
from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.commands import able
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.console import write
from kmemtrace.errors import CannotError, ExitStatus
from kmemtrace.kernel import btf
from kmemtrace.kernel.facts import RunningKernel, highest_page_frame
from kmemtrace.kernel.hooks import Hook
from kmemtrace.kernel.plan import COSTS, Plan
from kmemtrace.kernel.planning import make_plan
from kmemtrace.kernel.privileges import privileges
from kmemtrace.kernel.symbols import kernel_symbols
from kmemtrace.model.enums import MismatchClass
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.find_bcc import bcc_version, import_bcc

Part = dict[str, Any]

_HELPED = (
    "read by a helper for each word: the kernel does not let programs load it (bpf_rdonly_cast, 6.2), or not "
    "guarded (elsewhere than on x86_64, before 6.10)"
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "check",
        help=SUMMARIES["check"],
        description="Shows the plan: the tier, each event with its hook or the reason why it has "
        "none, and what that costs. Runs without root as far as it can. Exit status 0 where some "
        "tier works, 4 where none does.",
        epilog="example:\n  sudo kmemtrace check --json | jq .tier",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> ExitStatus:
    report = examine()
    write(json.dumps(report) if options.json else _text(report))
    return ExitStatus.OK if report["tier"] is not None else ExitStatus.CANNOT


def examine() -> Part:
    """Returns everything that `check` shows, as JSON types.

    `tier` is None where nothing works, and `problems` say why, each with its remedy.
    """
    problems = able.problems()
    # To look at what takes memory could be the end.
    short = bool(able.shortages())
    planned = None if short else _part(_plan, problems)
    plan, objects = planned or (None, None)
    bcc = None if short else _part(_bcc, problems)
    hierarchy = _part(memory_hierarchy, problems)
    allowed = privileges()
    if plan is not None and plan.refusal is not None:
        problems.append(plan.refusal)
    works = not problems and plan is not None
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "tier": plan.tier if plan is not None and works else None,
        "problems": problems,
        "events": [] if plan is None else _events(plan, works=works),
        "verdicts": _verdicts(plan) if plan is not None and works else {},
        "objects": objects,
        "account": _part(lambda: _account(hierarchy), problems) if works and hierarchy is not None else {},
        "functions": plan.unprobed if plan is not None and works else None,
        "walked": plan.walked if plan is not None and works else None,
        "untabled": plan.untabled if plan is not None and works else None,
        "loads": plan.loads if plan is not None and works else None,
        "loads_task": plan.loads_task if plan is not None and works else None,
        "symbols": None if short else kernel_symbols().hidden,
        "btf": str(btf.VMLINUX) if btf.VMLINUX.exists() else None,
        "bcc": bcc,
        "cgroups": None if hierarchy is None else _cgroups(hierarchy),
        "privileges": {"missing": list(allowed.missing), "wanted": list(allowed.wanted)},
    }


def _part(find: Any, problems: list[str]) -> Any:
    """Returns what `find` finds, or None and adds one problem."""
    try:
        return find()
    except CannotError as error:
        problems.append(str(error))
        return None


def _plan() -> tuple[Plan, str | None]:
    """Makes the plan, and tells why no slab objects can be followed on request; None where they can."""
    with btf.Btf() as types:
        facts = RunningKernel(types)
        return make_plan(facts, page_frames=_page_frames()), objects_refusal(facts)


def _page_frames() -> int:
    try:
        return highest_page_frame()
    except OSError:  # for root's eyes only
        return 1


def _bcc() -> Part:
    return {"version": bcc_version(), "path": str(import_bcc().__file__)}


def _events(plan: Plan, *, works: bool) -> list[Part]:
    """Returns for each event its hook, how it is attached and why it is this one; or why there is none.

    Where nothing works nothing is attached, and whether functions can be probed was not tried: `candidate` is
    then what there is to attach to.
    """
    events: list[Part] = []
    for event, hook in plan.hooks.items():
        row: Part = {"event": event.value, "hook": None}
        if not isinstance(hook, Hook):
            row |= {"reason": hook.reason, "cost": COSTS[event]}
        elif works:
            how = plan.attachments(event) or [hook.mechanism.value]
            row |= {"hook": hook.name, "mechanism": " + ".join(how), "why": hook.why}
        else:
            row |= {"reason": "nothing can be attached", "candidate": hook.name}
        events.append(row)
    return events


def _verdicts(plan: Plan) -> dict[MismatchClass, str | None]:
    """Returns for each mismatch class why it is not judged; None where it is."""
    return {one: plan.unjudged.get(one) for one in MismatchClass}


def _account(hierarchy: MemoryHierarchy) -> dict[Unseen, str | None]:
    """Returns for each part of the account why it cannot be had; None where it can."""
    with btf.Btf() as types:
        return offered(RunningKernel(types), _page_frames(), v1=hierarchy.version == 1)


def _cgroups(hierarchy: MemoryHierarchy) -> Part:
    where = dataclasses.asdict(hierarchy) | {"mount": str(hierarchy.mount)}
    return where | {"obstacles": obstacles(hierarchy)}


def _text(report: Part) -> str:
    lines = [f"kernel      {report['kernel']} ({report['machine']})"]
    lines.append(f"tier        {report['tier'] or 'none'}")
    if report["functions"]:
        lines.append(_wrap("functions   ", f"not probed: {report['functions']}"))
    if report["objects"]:
        lines.append(_wrap("objects     ", f"not followed (--objects): {report['objects']}"))
    if report["walked"]:
        lines.append(_wrap("stacks      ", f"each is walked by the kernel: {report['walked']}"))
    elif report["tier"]:
        lines.append("stacks      most told by what is learned of return addresses")
    if report["tier"]:
        where = (
            f"in a hash map: {report['untabled']}" if report["untabled"] else "in a table of kmemtrace's own"
        )
        lines.append(_wrap("records     ", where))
    if report["loads"] is not None:
        lines.append(_wrap("memory      ", _memory(report)))
    if report["symbols"]:
        lines.append(_wrap("symbols     ", report["symbols"]))
    lines.append(f"BTF         {report['btf'] or 'none'}")
    bcc = report["bcc"]
    lines.append(f"BCC         {bcc['version'] + ', ' + bcc['path'] if bcc else 'not loaded'}")
    lines.append(f"privileges  {_privileges(report)}")
    cgroups = report["cgroups"]
    if cgroups:
        lines.append(
            f"cgroups     v{cgroups['version']}, hierarchy {cgroups['hierarchy_id']}, at {cgroups['mount']}"
        )
        lines += [_wrap("accounting  ", obstacle) for obstacle in cgroups["obstacles"]]
    lines.append("")
    lines += [_event_line(event) for event in report["events"]]
    lines += _by_reason("judges", "does not judge", report["verdicts"], "no mismatch")
    lines += _by_reason("account of", "no account of", report["account"], "nothing")
    lines += ["", *(_wrap("PROBLEM  ", problem) for problem in report["problems"])]
    return "\n".join(lines).rstrip()


def _memory(report: Part) -> str:
    if report["loads"]:
        return "loaded by the programs"
    return f"but for the current task's cgroup {_HELPED}" if report["loads_task"] else _HELPED


def _privileges(report: Part) -> str:
    missing, wanted = report["privileges"]["missing"], report["privileges"]["wanted"]
    return ", ".join([f"missing {name}" for name in missing] + wanted) or "all that is needed"


def _event_line(event: Part) -> str:
    if event["hook"]:
        return f"{event['event']:20} {event['mechanism']} {event['hook']}"
    if "candidate" in event:
        return f"{event['event']:20} - {event['reason']}; {event['candidate']} is there"
    return _wrap(f"{event['event']:20} ", f"- {event['reason']}; {event['cost']}")


def _by_reason(given: str, withheld: str, reasons: dict[str, str | None], nothing: str) -> list[str]:
    """Tells what there is, and by reason what there is not; `reasons` has None for what there is."""
    if not reasons:
        return []
    lacking: dict[str, list[str]] = {}
    for name, why in reasons.items():
        if why is not None:
            lacking.setdefault(why, []).append(name)
    had = [name for name, why in reasons.items() if why is None]
    first = _wrap(f"{given:20} ", ", ".join(had) or nothing)
    return ["", first, *(_wrap(f"{withheld:20} ", f"{', '.join(n)}: {w}") for w, n in lacking.items())]


def _wrap(heading: str, text: str) -> str:
    return textwrap.fill(heading + text, 100, subsequent_indent=" " * len(heading))
