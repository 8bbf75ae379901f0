"""Makes the page at /: what this is, how it sees, and how far to trust it."""

from collections.abc import Mapping
from html import escape
from typing import Any

from kmemtrace import __version__
from kmemtrace.exporter.told import Told
from kmemtrace.model.enums import Confidence

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>kmemtrace on {host}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }}
th {{ font-weight: 600; white-space: nowrap; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd; }} a {{ color: #8bf; }} }}
</style>
</head>
<body>
<h1>kmemtrace</h1>
<p>Whose kernel memory is it, and does every charge come back? This host's answer, for Prometheus.</p>
<p><a href="{metrics}">/{metrics}</a> · <a href="healthz">/healthz</a></p>
<table>
{rows}
</table>
<h2>Not seen here</h2>
<table>
{unseen}
</table>
</body>
</html>
"""


def landing_page(told: Told, metrics_path: str) -> str:
    snapshot = told.snapshot
    certain = sum(m.count for m in snapshot.mismatches if m.confidence == Confidence.CERTAIN)
    suspect = sum(m.count for m in snapshot.mismatches) - certain
    losses = snapshot.losses
    missed = "not counted by this kernel" if losses.recursion_misses is None else f"{losses.missed_events:,}"
    rows = {
        "Host": snapshot.host,
        "Kernel": snapshot.kernel,
        "Tier": snapshot.tier.value,
        "Version": __version__,
        "Cgroups": f"{len(snapshot.cgroups):,}; {told.most_cgroups:,} at most have series of their own",
        "Charged since the start": f"{snapshot.charged_pages:,} pages",
        "Held of these": f"{snapshot.held_pages:,} pages",
        "Mismatches": f"{certain:,} certain, {suspect:,} suspect",
        "Events missed": missed,
        "Mended": f"{losses.healed + losses.swept:,} pages whose end was noticed late",
    }
    return _PAGE.format(
        host=escape(snapshot.host),
        metrics=escape(metrics_path.removeprefix("/")),
        rows=_rows(rows),
        unseen=_rows(snapshot.unseen) or "<tr><td>Nothing.",
    )


def _rows(cells: Mapping[Any, str]) -> str:
    return "\n".join(f"<tr><th>{escape(k)}<td>{escape(v)}" for k, v in cells.items())
