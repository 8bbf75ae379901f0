"""Tables of what tracers cost, as ratios."""

import statistics
from collections.abc import Iterable, Mapping


def print_ratios(times: Mapping[tuple[str, str], list[float]], kinds: Iterable[str], width: int) -> None:
    """`times`: by tracer and kind of load, one for each round. Of each, to no tracer in the same round; the
    tracers' names take `width` columns."""
    print(f"{'':{width}} {'un-accounted':>22} {'accounted':>22}")
    for name in dict.fromkeys(tracer for tracer, _ in times):
        cells = []
        for kind in kinds:
            ratios = [t / base for t, base in zip(times[name, kind], times["no tracer", kind], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"{name:{width}} {cells[0]:>22} {cells[1]:>22}")
