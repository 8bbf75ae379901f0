"""Plays a recording: which frame is shown next, and when."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from kmemtrace.model.frame import Frame, Position

SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1000.0)
_LEAST_SECONDS = 0.1
"""Between two frames: faster than that, moments are passed over."""
_PAUSED_SECONDS = 3600.0
_END_SECONDS = 1.0
"""How often it is looked at the end whether more was recorded."""


class Reel(Protocol):
    """What is played; kmemtrace/recording/replay.py has it of a folder."""

    def first(self) -> Frame: ...
    def last(self) -> Frame: ...
    def moved(self, position: Position, by: int) -> Frame: ...
    def minute(self, position: Position, towards: int) -> Frame: ...
    def at_part(self, part: float) -> Frame: ...
    def finding(self, position: Position, towards: int) -> Frame | None: ...


Jump = Callable[[Reel, Position], Frame | None]
"""Finds another frame, from where the position is; None where there is none."""


class Player:
    """Chooses the frames. What is asked for by keys is done by the thread that takes the frames."""

    def __init__(self, reel: Reel, begin: Frame) -> None:
        self._reel, self._frame = reel, begin
        self._asked: deque[Jump] = deque()
        self._begun = False
        self.playing = True
        self.speed = 1.0
        self.note = ""
        """What there is to say about the last jump; empty for nothing."""
        self.at_end = False
        """Whether there was no frame after the last one."""

    @property
    def interval(self) -> float:
        """Seconds until the next frame."""
        if not self.playing:
            return _PAUSED_SECONDS
        if self.at_end:
            return _END_SECONDS
        return self._step * self._frame.interval / self.speed

    @property
    def _step(self) -> int:
        """How many moments the next frame is ahead."""
        return max(1, round(_LEAST_SECONDS * self.speed / self._frame.interval))

    def ask(self, jump: Jump) -> None:
        """Has the next frame be that of a jump; called from any thread."""
        self._asked.append(jump)

    def faster(self, by: int) -> None:
        """Plays at the next higher speed, or with a negative `by` at the next lower one."""
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[max(0, min(at, len(SPEEDS) - 1))]

    def frame(self) -> Frame:
        """Returns the next frame."""
        begun, self._begun = self._begun, True
        if self._asked:
            self.note, self.at_end = "", False
            while self._asked:
                found = self._asked.popleft()(self._reel, self._frame.position)
                if found is None:
                    self.note = "no finding there"
                else:
                    self._frame = found
        elif self.playing and begun:
            moved = self._reel.moved(self._frame.position, self._step)
            self.at_end = moved.position == self._frame.position
            self._frame = moved
        return self._frame
