"""Defines a frame of a recording: a Snapshot, and where in the recording it stands."""

from dataclasses import dataclass
from typing import NamedTuple

from kmemtrace.model.snapshot import Snapshot


class Position(NamedTuple):
    """Where in a recording a moment stands; the later one is the greater."""

    minute: int
    """Number of the minute; no place in a list, as minutes are removed while a recording is read."""
    offset: int
    """Which moment of the minute, from 0."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown of one moment of a recording."""

    snapshot: Snapshot
    previous: Snapshot | None
    """The Snapshot before, which rates are since; None where that is the start of the counting."""
    position: Position
    run: int
    """Which run of `record` it is of: counts of two runs have nothing to do with each other."""
    interval: float
    """Seconds from one moment to the next, as they were asked for when it was recorded."""
    part: float
    """How far in the recording, from 0 to 1."""
