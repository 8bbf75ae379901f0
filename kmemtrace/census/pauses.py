"""Says how often a census is taken, where nobody says how often."""

LEAST_SECONDS = 30.0
_PER_CPU_SECOND = 100.0
"""Seconds between censuses for each second of CPU time that one takes: a hundredth of one CPU at most."""


def default_pause(cpu_seconds: float) -> float:
    """Returns the seconds from the end of a census to the next.

    Args:
        cpu_seconds: CPU time that the census took.
    """
    return max(LEAST_SECONDS, _PER_CPU_SECOND * cpu_seconds)
