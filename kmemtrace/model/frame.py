"""Defines a frame of a recording: a Snapshot, and where in the recording it stands."""

from dataclasses import dataclass, field

from kmemtrace.model.snapshot import Snapshot


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """Where in a recording a moment stands; the later one is the greater."""

    run: int
    """Which run of `record` it is of: counts of two runs have nothing to do with each other."""
    moment: int
    """Number of the moment in its run."""
    minute: int = field(compare=False)
    """Number of the minute that it is in; no place in a list, as minutes are removed, and merged into others,
    while a recording is read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown of one moment of a recording."""

    snapshot: Snapshot
    previous: Snapshot | None
    """The Snapshot before, which rates are since; None where that is the start of the counting."""
    position: Position
    interval: float
    """Seconds from one moment to the next, as they were asked for when it was recorded."""
    part: float
    """How far in the recording, from 0 to 1."""
