"""Lists the call sites of a recording with what they hold and were charged: what all profiles are made of."""

from dataclasses import dataclass
from enum import StrEnum

from kmemtrace.history.history import History, cgroup_key
from kmemtrace.history.summary import site_bytes
from kmemtrace.text import function


class Value(StrEnum):
    """What a profile can be of."""

    HELD = "held"
    """At the end of the range."""
    CHARGED = "charged"
    """Within the range, as is what was uncharged."""
    UNCHARGED = "uncharged"


@dataclass(frozen=True, slots=True)
class Sample:
    """A call site of a cgroup, in bytes."""

    cgroup: str
    state: str
    kind: str
    symbol: str
    stack: tuple[str, ...]
    """Frames as function+0xoffset, innermost first; empty where they were not recorded."""
    held: int
    charged: int
    uncharged: int

    def value(self, of: Value) -> int:
        """Returns one of its values."""
        found: int = getattr(self, of.value)
        return found

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of functions, outermost first: at least the one that stands for the call site."""
        return tuple(map(function, reversed(self.stack))) or (self.symbol,)


def samples(history: History) -> list[Sample]:
    """Returns the call sites that have anything to tell, those that hold most first."""
    names = history.name_of()
    found = []
    for detail, *values in zip(history.sites.details, *site_bytes(history), strict=True):
        if not any(values):
            continue
        key = cgroup_key(detail)
        last = history.last.get(key)
        stack = history.stacks.get(detail["stack"], ())
        name, state = names.get(key, "(unknown)"), "gone" if last is None else last.state
        found.append(Sample(name, state, detail["kind"], detail["symbol"], stack, *values))
    return sorted(found, key=lambda one: (-one.held, -one.charged, one.cgroup, one.symbol, one.stack))
