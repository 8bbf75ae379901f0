"""What our dashboards are made of: panels with a description and a unit each, variables, links."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from kmemtrace.model.metrics import Metric

Panel = heatmap.Panel | stat.Panel | table.Panel | timeseries.Panel
SOURCE = DataSourceRef("prometheus", "${datasource}")
TAG = "kmemtrace"
JOB = 'job=~"$job"'
HOST = f'{JOB},instance=~"$instance"'
"""The labels that choose the hosts that are shown."""
ONLY_FUNCTIONS = "Only where functions can be probed: the dashboard Tracer health tells why not here"
ONLY_CENSUS = "No census is taken: the dashboard Tracer health tells why not"
GREEN, ORANGE, RED = "green", "orange", "red"


def certain(labels: str = HOST) -> str:
    """Of mismatches, those that no missed event explains."""
    return f'{labels},confidence="certain"'


def of(metric: Metric, labels: str = HOST) -> str:
    return f"{metric}{{{labels}}}"


def rate(metric: Metric, labels: str = HOST) -> str:
    """A second; of a histogram by bucket."""
    return f"rate({metric.series[0]}{{{labels}}}[$__rate_interval])"


def recorded(metric: Metric, how: str, labels: str = HOST) -> str:
    """What a rule of dashboards/prometheus makes of all series of a host."""
    return f"instance:{metric.family}:{how}{{{labels}}}"


class Query(NamedTuple):
    expr: str
    legend: str = ""


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stack: bool = False,
    signed: bool = False,
    empty: str = "No series",
) -> timeseries.Panel:
    """`empty` is told where there is no data; `signed`: values can be negative."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .no_value(empty)
        .datasource(SOURCE)
        .span(12)
        .height(8)
        .fill_opacity(15 if stack else 5)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if not signed:
        panel = panel.min(0)
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for query in queries:
        panel = panel.with_target(prometheus.Dataquery().expr(query.expr).legend_format(query.legend))
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    bad_from: float | None = None,
    empty: str = "None",
) -> stat.Panel:
    """The last value; red from `bad_from` on."""
    steps = [Threshold(None, GREEN)]
    if bad_from is not None:
        steps.append(Threshold(bad_from, RED))
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .no_value(empty)
        .datasource(SOURCE)
        .span(4)
        .height(4)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(ThresholdsConfig().steps(steps))
        .with_target(prometheus.Dataquery().expr(query.expr).legend_format(query.legend))
    )


def heat(title: str, description: str, expr: str, empty: str = "Nothing yet") -> heatmap.Panel:
    """Of a histogram's buckets, in seconds."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .unit("s")
        .no_value(empty)
        .datasource(SOURCE)
        .span(12)
        .height(8)
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LINEAR))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .cell_values(heatmap.CellValues().unit("short"))
        .with_target(
            prometheus.Dataquery().expr(expr).format(PromQueryFormat.HEATMAP).legend_format("{{le}}")
        )
    )


class Column(NamedTuple):
    """One of a table: the value of a query of its own."""

    title: str
    unit: str
    expr: str


def listing(
    title: str,
    description: str,
    labels: Sequence[str],
    *columns: Column,
    link: str | None = None,
    empty: str = "None",
) -> table.Panel:
    """A row for each set of these labels; `link` is where a click on the last of them leads."""
    panel = table.Panel().title(title).description(description).no_value(empty).datasource(SOURCE)
    panel = panel.span(24).height(10)
    for number_, column in enumerate(columns):
        ref = chr(ord("A") + number_)
        query = prometheus.Dataquery().expr(column.expr).format(PromQueryFormat.TABLE).instant()
        panel = panel.with_target(query.ref_id(ref))
        panel = panel.override_by_name(column.title, [DynamicConfigValue("unit", column.unit)])
    if link is not None:
        target = {"title": "Show it", "url": link}
        panel = panel.override_by_name(labels[-1], [DynamicConfigValue("links", [target])])
    names = {f"Value #{chr(ord('A') + n)}": column.title for n, column in enumerate(columns)}
    names |= {"Value": columns[0].title}
    shown = [*labels, *names.values()]
    order: dict[str, Any] = {"renameByName": names, "indexByName": {n: i for i, n in enumerate(shown)}}
    keep = "|".join([*labels, "Value.*"])
    return (
        panel.with_transformation(DataTransformerConfig("merge", options={}))
        .with_transformation(
            DataTransformerConfig("filterFieldsByName", options={"include": {"pattern": f"^({keep})$"}})
        )
        .with_transformation(DataTransformerConfig("organize", options=order))
        .sort_by([common.TableSortByFieldState().display_name(columns[0].title).desc(True)])
    )


def board(uid: str, title: str, description: str, *, host: bool = True, many: bool = False) -> Dashboard:
    """With the variables datasource and job; with `host` also instance, of which `many` may be chosen."""
    made = (
        Dashboard(f"kmemtrace / {title}")
        .uid(f"kmemtrace-{uid}")
        .description(description)
        .tags([TAG])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(choice("job", "Job", f"label_values({Metric.BUILD_INFO}, job)", many=True))
        .link(
            DashboardLink("kmemtrace")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(mismatches())
    )
    if host:
        hosts = f"label_values({of(Metric.BUILD_INFO, JOB)}, instance)"
        made = made.with_variable(choice("instance", "Host", hosts, many=many))
    return made


def add(made: Dashboard, *panels: Panel) -> Dashboard:
    for panel in panels:
        made = made.with_panel(panel)
    return made


def choice(name: str, label: str, query: str, *, many: bool = False) -> QueryVariable:
    made = QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made = made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return made.multi(True).include_all(True) if many else made


def mismatches() -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name("Mismatches")
        .datasource(SOURCE)
        .enable(True)
        .icon_color(RED)
        .expr(f"increase({recorded(Metric.MISMATCHES, 'sum', certain(JOB))}[2m]) > 0")
    )
