"""Tables of what tracers cost, as ratios."""

import statistics
from collections.abc import Mapping, Sequence


def print_ratios(times: Mapping[tuple[str, str], list[float]], kinds: Sequence[str], width: int) -> None:
    """`times`: by tracer and kind of load, one for each round. Of each, to no tracer in the same round; the
    tracers' names take `width` columns."""
    print(" ".join([" " * width, *(f"{kind:>22}" for kind in kinds)]))
    for name in dict.fromkeys(tracer for tracer, _ in times):
        cells = []
        for kind in kinds:
            ratios = [t / base for t, base in zip(times[name, kind], times["no tracer", kind], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(" ".join([f"{name:{width}}", *(f"{cell:>22}" for cell in cells)]))
