"""Says in words what was seen of a page that a finding is about."""

from collections.abc import Iterable

from kmemtrace.model.enums import ChargeFlag, End, MismatchClass
from kmemtrace.tracer.maps import Records


def events(finding: Records) -> Iterable[str]:
    """Yields what was seen of the page of a struct finding, in words, in the order that it happened."""
    what, flags = MismatchClass.numbered(int(finding["what"])), ChargeFlag(int(finding["flags"]))
    order, end_order = int(finding["order"]), int(finding["end_order"])
    if what is MismatchClass.UNCHARGED_ALLOC:
        yield f"allocated with __GFP_ACCOUNT, order {order}, and not marked as charged"
        return
    if flags & ChargeFlag.BEFORE:
        yield f"charged before the start, order {order}"
    elif finding["charge_time"]:
        how = "explicitly" if flags & ChargeFlag.EXPLICIT else "by its allocation"
        other = ", for another cgroup than the task's" if flags & ChargeFlag.REMOTE else ""
        yield f"charged {how}, order {order}{other}"
    else:
        yield "no charge was seen, nor was it charged at the start"
    if flags & ChargeFlag.SPLIT:
        yield "split"
    if flags & ChargeFlag.FREEING:
        yield "freed with its mark" + (", twice" if flags & ChargeFlag.FREED_BEFORE else "")
    if flags & ChargeFlag.COVERED:
        yield "another record covers it: one of both was left open by what was missed"
    age = (int(finding["time"]) - int(finding["charge_time"])) / 1e9
    since = "it was found" if flags & ChargeFlag.BEFORE else "its charge"
    after = f", {age:.6f} s after {since}" if finding["charge_time"] else ""
    yield _end(what, End(int(finding["end"])), end_order) + after


def _end(what: MismatchClass, end: End, order: int) -> str:
    """Says what the event was that the finding was made at."""
    mark = {
        MismatchClass.WRONG_CGROUP: ", its mark naming another owner",
        MismatchClass.STRAY_UNCHARGE: ", though marked as charged",
    }.get(what, "")
    if end is End.FREE and what is MismatchClass.LOST_UNCHARGE:
        return f"freed, order {order}, its mark gone without an uncharge"
    if end is End.HEALED:
        return f"charged anew, order {order}, and never uncharged"
    verb = {End.FREE: "freed", End.UNCHARGE: "uncharged", End.PUT: "uncharged on the put path"}[end]
    return f"{verb}, order {order}{mark}"
