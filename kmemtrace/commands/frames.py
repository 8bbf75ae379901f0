"""Writes frames as text: what `top` prints where it is not interactive."""

import argparse
import importlib
import json
import shutil

from kmemtrace import text
from kmemtrace.model.document import document
from kmemtrace.model.rows import selected
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View


def get_ready(options: argparse.Namespace) -> None:
    """Imports what text_of() needs, in time that is waited for anyway; --json need not spend it."""
    if not options.json:
        importlib.import_module("kmemtrace.tui.plain")


def text_of(
    snapshot: Snapshot,
    previous: Snapshot | None,
    view: View,
    options: argparse.Namespace,
    *,
    dated: bool = False,
) -> str:
    """Returns a Snapshot as the options want it: as JSON, or as a plain frame that fits the terminal.

    Args:
        snapshot: The Snapshot.
        previous: The one that rates are since; None for the start.
        view: What of it is wanted, and how.
        options: Those of `top`.
        dated: Whether a plain frame tells when it is of, as JSON always does.
    """
    if options.json:
        return json.dumps(document(selected(snapshot, previous, view), previous))
    from kmemtrace.tui.plain import frame  # noqa: PLC0415 see get_ready()

    # 0: a pipe, or a terminal that does not know.
    width = shutil.get_terminal_size((0, 0)).columns or None
    when = f"[{text.moment(snapshot.time)}]" if dated else ""
    return frame(snapshot, previous, view, width, None, when)
