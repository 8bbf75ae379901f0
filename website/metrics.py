"""A page of every metric, from the table that the exporter tells them by."""

from kmemtrace.model.metrics import Metric
from website.markdown import escape


def page() -> str:
    return "\n\n".join([INTRODUCTION, *map(_entry, Metric)]) + "\n"


INTRODUCTION = """# All metrics

As `kmemtrace export` tells them, in its order. What they are good for, and how they are summed, is told
[elsewhere](../metrics.md)."""


def _entry(metric: Metric) -> str:
    facts = [f"Type: {metric.kind.value}"]
    facts += [f"unit: {metric.unit}"] if metric.unit else []
    facts += ["labels: " + ", ".join(f"`{label}`" for label in metric.labels)] if metric.labels else []
    names = ", ".join(f"`{name}`" for name in metric.series)
    facts += [f"series: {names}"] if len(metric.series) > 1 else []
    return f"## {escape(str(metric))}\n\n{escape(metric.text)}\n\n{'; '.join(facts)}."
