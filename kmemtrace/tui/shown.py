"""Defines what the screens show: handed to each by the app, so that none needs to know it."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.tables import Table
from kmemtrace.model.view import View
from kmemtrace.tui.history import History

BACK: list[BindingType] = [Binding("escape,backspace", "app.pop_screen", "back")]


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame, and what it was made of."""

    snapshot: Snapshot
    rows: Table
    view: View
    history: History


class Following(Screen[None]):
    """A screen over the table that follows the counting as the table does."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK]

    def __init__(self, shown: Shown | None) -> None:
        super().__init__()
        self.shown = shown

    def follow(self, shown: Shown) -> None:
        """Shows another frame; the app calls it with each."""
        self.shown = shown
        if self.is_mounted:
            self.redraw()

    def on_mount(self) -> None:
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    @abstractmethod
    def redraw(self) -> None:
        """Shows `self.shown` in the size that the screen has."""
