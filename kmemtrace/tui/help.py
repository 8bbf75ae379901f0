"""The help screen."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

_TEXT = """\
kmemtrace top

  arrows, PgUp, PgDn   move
  Enter                a row's call sites, then their stacks
  s, r                 sort by the next column, reverse
  /                    filter; Enter keeps it, Escape clears it
  space                freeze the table, or let it go on; counting goes on
  t                    cgroups as a tree
  d                    only removed cgroups that still hold pages
  m                    mismatches
  Escape, Backspace    back
  q, Ctrl-C            quit; nothing stays in the kernel

  HELD       kernel memory charged since the start and not yet uncharged,
             by the cgroup that it was charged to
  CHARGE/s   pages charged a second; UNCHARGE/s pages uncharged
  FAIL/s     accounted allocations refused at a limit
  OLDEST     how long the oldest of the held pages has been held
  LIFE P50   half of the pages that were uncharged had been held shorter;
             P99: 99 of 100
  MISMATCH   charges that broke the promise; - where none is judged
  TOP SITE   the function that most of the held pages were asked for by
  STATE      dead: the cgroup was removed and still holds pages; gone: it
             holds none, and is shown once for its last counts

  missed     events skipped since a program of ours was running on that CPU
  healed     pages whose free was missed, found when handed out again
  swept      pages found to have left kernel accounting without a free
  map full   entries refused, and in which map. pages: raise --max-pages;
             cgroups, sites, lives: cgroups come and go faster than they are
             read, or are too many: a shorter --interval, or one --cgroup
  preexisting  memory that looks charged from before the start: it is not
             followed
"""


class HelpScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,backspace", "app.pop_screen", "back")
    ]

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(_TEXT, markup=False))
        yield Static("arrows scroll  Escape back  q quit", id="hints", markup=False)
