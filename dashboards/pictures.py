"""make pictures: draws every panel of our dashboards from what a Prometheus server answers.

Not Grafana's own picture: its queries, titles, units and places, drawn by matplotlib. For documents, and to
see what a dashboard shows without a Grafana. One PNG for each dashboard.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, PercentFormatter

from kmemtrace.errors import KmemtraceError
from kmemtrace.fleet.prometheus import Prometheus, Sample
from kmemtrace.model.metrics import Metric

DASHBOARDS = Path(__file__).parent / "grafana"
STEP_SECONDS = 5
_UNITS: dict[str, Formatter] = {
    "bytes": EngFormatter("B"),
    "s": EngFormatter("s"),
    "short": EngFormatter(),
    "percentunit": PercentFormatter(1.0),
}
_COLUMN_INCHES, _ROW_INCHES = 0.6, 0.36
_MARGIN_INCHES, _TITLE_INCHES = 0.75, 0.6
_TABLE_ROWS, _CELL = 10, 60


class Line(NamedTuple):
    """A series over time."""

    labels: dict[str, str]
    times: list[float]
    values: list[float]


class Canvas(NamedTuple):
    """What a panel is drawn with."""

    server: Prometheus
    variables: dict[str, str]
    begin: float
    end: float
    without: str
    """Series with a label that has this are left out; none if empty."""

    def asked(self, expression: str) -> str:
        for name, value in ({"__rate_interval": "30s"} | self.variables).items():
            expression = expression.replace(f"${name}", value)
        return expression

    def now(self, target: dict[str, Any]) -> list[Sample]:
        return [s for s in self.server.query(self.asked(target["expr"])) if self.wanted(s.labels)]

    def wanted(self, labels: dict[str, str]) -> bool:
        return not (self.without and any(self.without in value for value in labels.values()))

    def lines(self, target: dict[str, Any]) -> list[Line]:
        found = self.server.ask(
            "query_range",
            query=self.asked(target["expr"]),
            start=self.begin,
            end=self.end,
            step=STEP_SECONDS,
        )
        return [
            Line(one["metric"], [at for at, _ in one["values"]], [float(v) for _, v in one["values"]])
            for one in found["result"]
            if self.wanted(one["metric"])
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=5.0, help="default: %(default)s")
    parser.add_argument("--cgroup", default="/kmemtrace-demo-batch.service", help="default: %(default)s")
    parser.add_argument("--without", default="", metavar="TEXT", help="leave out series that name it")
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="default: %(default)s")
    options = parser.parse_args()
    try:
        server = Prometheus(options.prometheus)
        (host, *_) = sorted({s.labels["instance"] for s in server.query(str(Metric.BUILD_INFO))}) or [""]
        variables = {"job": ".*", "instance": host, "cgroup": options.cgroup}
        now = time.time()
        canvas = Canvas(server, variables, now - 60 * options.minutes, now, options.without)
        for file in sorted(DASHBOARDS.glob("*.json")):
            board = json.loads(file.read_text())
            picture = options.folder / f"{file.stem.replace('kmemtrace', 'dashboard')}.png"
            figure(board, canvas).savefig(picture, dpi=70)
            print(picture)
    except KmemtraceError as error:
        print(f"kmemtrace: {error}", file=sys.stderr)
        return error.status
    return 0


def figure(board: dict[str, Any], canvas: Canvas) -> Figure:
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    width, height = 24 * _COLUMN_INCHES, rows * _ROW_INCHES + _TITLE_INCHES
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left"})
    made = Figure(figsize=(width, height), facecolor="white")
    made.text(0.01, 1 - 0.35 / height, board["title"], size=15, weight="bold")
    for panel in panels:
        place = panel["gridPos"]
        left = place["x"] * _COLUMN_INCHES + _MARGIN_INCHES
        bottom = (rows - place["y"] - place["h"]) * _ROW_INCHES + 0.3
        across = place["w"] * _COLUMN_INCHES - _MARGIN_INCHES - 0.15
        axes = made.add_axes(
            (left / width, bottom / height, across / width, (place["h"] * _ROW_INCHES - 0.65) / height)
        )
        axes.set_title(panel["title"])
        if not _KINDS[panel["type"]](axes, panel, canvas):
            axes.set_axis_off()
            why = panel["fieldConfig"]["defaults"]["noValue"]
            axes.text(0.5, 0.5, why, ha="center", color="gray", transform=axes.transAxes)
    return made


def graph(axes: Axes, panel: dict[str, Any], canvas: Canvas) -> bool:
    """Whether there was anything to draw; so do the others answer."""
    lines = [(t, line) for t in panel["targets"] for line in canvas.lines(t)]
    custom = panel["fieldConfig"]["defaults"]["custom"]
    if custom.get("stacking", {}).get("mode") == "normal" and lines:
        _stacked(axes, lines)
    else:
        for target, line in lines:
            axes.plot([t / 86400 for t in line.times], line.values, label=legend(target, line.labels), lw=1.2)
    if lines:
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7, loc="upper left", framealpha=0.7)
    _over_time(axes, panel, canvas)
    return bool(lines)


def _stacked(axes: Axes, lines: list[tuple[dict[str, Any], Line]]) -> None:
    times = sorted({t for _, line in lines for t in line.times})
    known = [dict(zip(line.times, line.values, strict=True)) for _, line in lines]
    values = [[of.get(t, 0.0) for t in times] for of in known]
    labels = [legend(target, line.labels) for target, line in lines]
    axes.stackplot([t / 86400 for t in times], values, labels=labels, alpha=0.6)


def heat(axes: Axes, panel: dict[str, Any], canvas: Canvas) -> bool:
    lines = sorted(canvas.lines(panel["targets"][0]), key=lambda line: float(line.labels["le"]))
    if not lines:
        return False
    counts = np.diff(np.array([line.values for line in lines]), axis=0, prepend=0.0)
    used = np.flatnonzero(counts.max(axis=1) > 0)
    first, last = (used[0], used[-1] + 1) if len(used) else (0, len(lines))
    times = [t / 86400 for t in lines[0].times]
    axes.pcolormesh(times, range(first, last), np.sqrt(counts[first:last]), cmap="Oranges", shading="nearest")
    bounds = [said("s", float(line.labels["le"])) for line in lines[first:last]]
    axes.set_yticks(range(first, last), [f"≤ {bound}" for bound in bounds], fontsize=7)
    _over_time(axes, panel | {"fieldConfig": None}, canvas)
    return True


def _over_time(axes: Axes, panel: dict[str, Any], canvas: Canvas) -> None:
    axes.set_xlim(canvas.begin / 86400, canvas.end / 86400)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]
    axes.grid(alpha=0.3)
    if panel["fieldConfig"] is not None:
        axes.yaxis.set_major_formatter(_UNITS[panel["fieldConfig"]["defaults"]["unit"]])


def number(axes: Axes, panel: dict[str, Any], canvas: Canvas) -> bool:
    found = canvas.now(panel["targets"][0])
    if not found:
        return False
    axes.set_axis_off()
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    color = [s["color"] for s in steps if s["value"] is None or found[0].value >= s["value"]][-1]
    text = said(defaults["unit"], found[0].value)
    axes.text(
        0.5, 0.35, text, ha="center", va="center", size=22, color=f"dark{color}", transform=axes.transAxes
    )
    return True


def listing(axes: Axes, panel: dict[str, Any], canvas: Canvas) -> bool:
    """A column for each label that is shown, and one for each query."""
    organized = panel["transformations"][-1]["options"]
    order = sorted(organized["indexByName"], key=organized["indexByName"].__getitem__)
    shown = [name for name in order if name not in organized["renameByName"].values()]
    cells: dict[tuple[str, ...], list[str]] = {}
    titles = [organized["renameByName"][f"Value #{t['refId']}"] for t in panel["targets"]]
    units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
    for column, target in enumerate(panel["targets"]):
        for sample in sorted(canvas.now(target), key=lambda s: -s.value):
            key = tuple(sample.labels.get(label, "") for label in shown)
            row = cells.setdefault(key, [""] * len(titles))
            row[column] = said(units[titles[column]], sample.value)
    axes.set_axis_off()
    if not cells:
        return False
    kept = [n for n, title in enumerate(titles) if title]
    rows = list(cells.items())[:_TABLE_ROWS]
    text = [[*(shorten(cell, _CELL) for cell in key), *(row[n] for n in kept)] for key, row in rows]
    head = [*shown, *(titles[n] for n in kept)]
    made = axes.table(text, colLabels=head, loc="upper left", cellLoc="left", edges="horizontal")
    made.auto_set_font_size(False)
    made.set_fontsize(8)
    made.auto_set_column_width(range(len(head)))
    return True


def said(unit: str, value: float) -> str:
    return str(_UNITS[unit](float(f"{value:.3g}")))


def legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    text = target.get("legendFormat") or " ".join(labels.values())
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return str(text)


_KINDS = {"timeseries": graph, "heatmap": heat, "stat": number, "table": listing}


if __name__ == "__main__":
    sys.exit(main())
