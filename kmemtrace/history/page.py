"""Writes the page: one file that needs nothing but itself, and that can ask for nothing."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from kmemtrace import __version__
from kmemtrace.history import text as words
from kmemtrace.history.history import History
from kmemtrace.history.page_data import page_data
from kmemtrace.history.summary import document
from kmemtrace.printable import printable
from kmemtrace.report import mismatch
from kmemtrace.text import change, count, duration, size, utc

WEB = Path(__file__).parent / "web"
_LIBRARIES = ("uPlot.iife.min.js", "d3.min.js", "d3-flamegraph.umd.min.js")
_OURS = ("series.js", "chart.js", "flame.js", "heat.js", "page.js")
_STYLES = ("vendor/uPlot.min.css", "page.css")
_LICENCES = {"uPlot": "LICENSE.uPlot", "D3": "LICENSE.d3", "d3-flame-graph": "LICENSE.d3-flame-graph"}
_MOST_ROWS = 100


def page(history: History, progress: Callable[[str], None] = lambda _: None) -> str:
    """Returns the page as HTML.

    Whatever others chose, such as names, stands in it as text: it is escaped by the template, and the JSON of
    the numbers has no '<'. Its policy lets no script run but those in it, and nothing be asked for.

    Args:
        history: What was read of a recording.
        progress: Is told what is being done.
    """
    data = page_data(history, progress)
    progress("writing the page")
    scripts = [_source(f"vendor/{name}") for name in _LIBRARIES]
    scripts.append("\n".join(["'use strict';", *map(_source, _OURS)]))
    template = _environment().get_template("page.html")
    return template.render(
        history=history,
        summary=document(history),
        bins=len(history.timeline.bins),
        data=htmlsafe_json_dumps(data, separators=(",", ":")),
        shown={name: data[name] for name in ("sites", "caches")},
        scripts=[Markup(one) for one in scripts],
        styles=Markup("\n".join(map(_source, _STYLES))),
        policy=_policy(scripts),
        licences={name: _source(f"vendor/{file}") for name, file in _LICENCES.items()},
        most=_MOST_ROWS,
        version=__version__,
    )


def _policy(scripts: list[str]) -> str:
    """Returns the page's Content-Security-Policy. Styles are set by the libraries as they draw."""
    sums = (b64encode(sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(WEB),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What is no text of ours is made printable, too: who copies a name to a terminal is to be safe.
    filters: dict[str, Callable[..., Any]] = {
        "printable": lambda name: printable(str(name)),
        "size": size,
        "change": change,
        "count": count,
        "duration": duration,
        "told": utc,
        "losses": words.losses_told,
        "merged": words.merged_told,
        "since": words.since,
        "held_by": words.held_by,
        "pinned": words.pinned,
        "evidence": mismatch.lines,
    }
    found.filters.update(filters)
    return found
