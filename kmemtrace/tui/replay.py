"""Runs the live view on a recording: `kmemtrace top --replay` in a terminal."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from kmemtrace.model.frame import Frame
from kmemtrace.model.view import View
from kmemtrace.tui.app import TopApp
from kmemtrace.tui.feed import Feed
from kmemtrace.tui.history import History
from kmemtrace.tui.player import Jump, Player
from kmemtrace.tui.timeline import clicked, timeline


class TimeLine(Static):
    """Shows where in the recording the frame is."""

    class Clicked(Message):
        """Says that the user wants what is so far in the recording, from 0 to 1."""

        def __init__(self, part: float) -> None:
            super().__init__()
            self.part = part

    def on_click(self, event: events.Click) -> None:
        part = clicked(str(self.content), event.x)
        if part is not None:
            self.post_message(self.Clicked(part))


class ReplayApp(TopApp):
    """Shows the frames of a recording as TopApp shows a tracer's Snapshots, with a time line below."""

    CSS = TopApp.CSS + "#timeline { height: 1; text-wrap: nowrap; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("full_stop", "step(1)", "the next moment"),
        Binding("comma", "step(-1)", "the moment before"),
        Binding("f", "minute(1)", "the next minute"),
        Binding("b", "minute(-1)", "the minute before"),
        Binding("0", "begin", "begin"),
        Binding("dollar_sign", "end", "end"),
        Binding("n", "finding(1)", "the next finding"),
        Binding("p", "finding(-1)", "the finding before"),
    ]
    replayed: ClassVar[bool] = True

    class Moved(Message):
        """Says that another frame is to be shown."""

        def __init__(self, frame: Frame) -> None:
            super().__init__()
            self.frame = frame

    def __init__(self, player: Player, view: View) -> None:
        """Prepares the view of what `player` plays."""
        super().__init__(lambda: player.frame().snapshot, player.interval, view)
        self._player = player
        self._frame: Frame | None = None
        self.feed = Feed(
            player.frame,
            player.interval,
            lambda frame: self.post_message(self.Moved(frame)),
            self.tell_failure,
        )

    def on_mount(self) -> None:
        self.mount(TimeLine("", id="timeline", markup=False), before="#hints")

    def on_replay_app_moved(self, message: Moved) -> None:
        self._show(message.frame)
        self.feed.interval = self._player.interval
        self.feed.taken()

    def _show(self, frame: Frame) -> None:
        before, self._frame = self._frame, frame
        if before is None or before.position != frame.position:
            went_back = before is not None and frame.position < before.position
            if before is None or went_back or before.position.run != frame.position.run:
                self.history = History(self.view.by)
            if self.baseline is not None and (before is None or self._is_before_baseline(frame, before)):
                self.baseline = None
            self.take(frame.snapshot, frame.previous)
        self._refresh_timeline()

    def _is_before_baseline(self, frame: Frame, before: Frame) -> bool:
        """Returns whether nothing can be counted from the baseline on."""
        return frame.position.run != before.position.run or (
            self.baseline is not None and frame.snapshot.seconds_since(self.baseline) < 0
        )

    def on_resize(self) -> None:
        self.call_after_refresh(self._refresh_timeline)

    def _refresh_timeline(self) -> None:
        lines = self.screen_stack[0].query("#timeline") if self.screen_stack else None
        if self._frame is None or not lines:
            return
        player = self._player
        lines.first(Static).update(
            timeline(
                self._frame,
                self.size.width,
                playing=player.playing,
                at_end=player.at_end,
                speed=player.speed,
                note=player.note,
            )
        )

    @property
    def told_interval(self) -> float | None:
        """None: the time line tells what there is to tell."""
        return None

    @property
    def space_hints(self) -> list[tuple[int, str]]:
        """The keys that play, and those that go from one moment to the next."""
        space = "space pause" if self._player.playing else "space play"
        return [(96, space), (92, ". , step"), (82, "n finding")]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether a key means something: no census can be taken of what was."""
        return action != "census" and super().check_action(action, parameters)

    def action_freeze(self) -> None:
        """Pauses, or plays on."""
        self._player.playing = not self._player.playing
        self._retime()

    def action_interval(self, by: int) -> None:
        """Plays faster, or slower."""
        self._player.faster(by)
        self._retime()

    def _retime(self) -> None:
        self.feed.interval = self._player.interval
        self._refresh_timeline()
        self._refresh_hints()

    def _jump(self, jump: Jump, *, stay: bool = False) -> None:
        """Shows another frame, and stays there or plays on as before."""
        self._player.playing = self._player.playing and not stay
        self._player.ask(jump)
        self.feed.want()
        self._retime()

    def action_step(self, by: int) -> None:
        self._jump(lambda reel, position: reel.moved(position, by), stay=True)

    def action_minute(self, towards: int) -> None:
        self._jump(lambda reel, position: reel.minute(position, towards))

    def action_begin(self) -> None:
        self._jump(lambda reel, _: reel.first())

    def action_end(self) -> None:
        self._jump(lambda reel, _: reel.last())

    def action_finding(self, towards: int) -> None:
        self._jump(lambda reel, position: reel.finding(position, towards), stay=True)

    def on_time_line_clicked(self, message: TimeLine.Clicked) -> None:
        self._jump(lambda reel, _: reel.at_part(message.part))
