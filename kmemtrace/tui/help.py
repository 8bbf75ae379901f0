"""Shows the help screen: the keys, and what each column says."""

import textwrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from kmemtrace.model.columns import COLUMNS
from kmemtrace.tui.hints import keys
from kmemtrace.tui.stack import Page

_KEYS = """\
kmemtrace top

  arrows, j, k, PgUp, PgDn, Home, End
                    move
  Enter             the functions behind a row, then their stacks
  s, >, <           sort by the next column on the screen, or the one
                    before
  r                 the other way round; so does a second click on a
                    heading
  /                 filter; Enter keeps it, Escape clears it
{space}  c                 count from now: rates, GROWTH, CHARGED and latencies
                    are since then; Escape counts from the start again
  t                 cgroups as a tree: a closed parent shows the sum of
                    what is below it, an open one its own
  right, left, +, - in the tree: open, close; * opens or closes all
{interval}  d                 only removed cgroups that still hold pages
  m                 mismatches
  Escape, Backspace back
  Ctrl-Z            suspend; the shell's fg comes back
  q, Ctrl-C         quit; nothing stays in the kernel

The columns, with the key that sorts by each. By CGROUP sorts N, by name.

"""
_SPACE = """\
  space             freeze the table, or let it go on; counting goes on
  a                 read all kernel memory again now: KERNEL, SLAB,
                    PERCPU and the accounts are of the last time
"""
_INTERVAL = """\
  +, -, ], [        longer or shorter interval (in the tree: ] and [)
"""
_PLAYING = """\
  space             pause, or play on
  . and ,           the next moment that was recorded, and the one before
  f, b              a minute on, and back to the begin of one
  0, $              to the begin, and to the end; so does a click on the
                    time line
  n, p              the next finding, and the one before: moments at which
                    a mismatch was found that is new, or once more
"""
_SPEED = """\
  +, -, ], [        faster or slower (in the tree: ] and [)
"""
_LOSSES = """

  LOST         given back without an uncharge, for certain: it stays on its
               cgroup's counter for good (m shows what did it)
  missed       events skipped since a program of ours was running on that CPU
  healed       pages whose free was missed, found when handed out again
  swept        pages found to have left kernel accounting without a free
  map full     entries refused, and in which map. pages: raise --max-pages;
               cgroups, sites, lives: cgroups come and go faster than they are
               read, or are too many: a shorter --interval, or one --cgroup;
               objects: raise --max-objects
"""
_INDENT, _WIDTH = 17, 75


class HelpScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,backspace", "app.pop_screen", "back")
    ]

    def __init__(self, *, replayed: bool = False) -> None:
        """Prepares the page; that of a recording has keys of its own."""
        super().__init__()
        space, interval = (_PLAYING, _SPEED) if replayed else (_SPACE, _INTERVAL)
        self._keys = _KEYS.format(space=space, interval=interval)

    def compose(self) -> ComposeResult:
        yield Page(Static(self._keys + _columns() + _LOSSES, markup=False))
        yield Static(keys("arrows scroll  Escape back  q quit"), id="hints", markup=False)


def _columns() -> str:
    return "\n".join(
        textwrap.fill(
            column.meaning,
            _WIDTH,
            initial_indent=f"  {column.key:1}  {column.heading:{_INDENT - 5}}",
            subsequent_indent=_INDENT * " ",
        )
        for column in COLUMNS
        if column.meaning
    )
