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
  space             freeze the table, or let it go on; counting goes on
  c                 count from now: rates, GROWTH, CHARGED and latencies
                    are since then; Escape counts from the start again
  a                 read all kernel memory again now: KERNEL, SLAB,
                    PERCPU and the accounts are of the last time
  t                 cgroups as a tree: a closed parent shows the sum of
                    what is below it, an open one its own
  right, left, +, - in the tree: open, close; * opens or closes all
  +, -, ], [        longer or shorter interval (in the tree: ] and [)
  d                 only removed cgroups that still hold pages
  m                 mismatches
  Escape, Backspace back
  Ctrl-Z            suspend; the shell's fg comes back
  q, Ctrl-C         quit; nothing stays in the kernel

The columns, with the key that sorts by each. By CGROUP sorts N, by name.

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

    def compose(self) -> ComposeResult:
        yield Page(Static(_KEYS + _columns() + _LOSSES, markup=False))
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
