"""Panels: what of Grafana's we use, in the few shapes that we want.

Each says in its description what it tells and what to think of it; each has a unit. Where many series may come, the
query takes the largest few: a board has to open while everything burns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from rolehost_dashboards.queries import PERCENTILES, quantile

METRICS = models.DataSourceRef(type_val="prometheus", uid="${metrics}")
TRACE_ID = "trace_id"
"""The label of an exemplar."""
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

Panel = Builder[models.Panel]
Limits = Sequence[tuple[float, str]]
"""From which value on which colour; below the first it is green, unless the first begins at -inf."""


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str
    exemplars: bool = False
    instant: bool = False


def percentiles(histogram: str, where: str = "", *, exemplars: bool = True) -> tuple[Query, ...]:
    """p50, p95 and p99. Exemplars come with the last: those of the slow ones are the ones to look at."""
    return tuple(
        Query(quantile(share, histogram, where), f"p{share * 100:g}", exemplars and share == PERCENTILES[-1])
        for share in PERCENTILES
    )


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    stacked: bool = False,
    limits: Limits = (),
    ceiling: float | None = None,
) -> Panel:
    """Over time; stacked only where the series are parts of one whole."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(METRICS)
        .span(width)
        .height(8)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if ceiling is not None:
        panel.max(ceiling)
    if limits:
        panel.thresholds(_thresholds(limits)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        )
    if any(query.exemplars for query in queries):
        panel.override_by_name(TRACE_ID, [models.DynamicConfigValue("links", [_to_trace()])])
    for query in queries:
        panel.with_target(_target(query))
    return panel


def number(
    title: str, description: str, unit: str, query: Query, *, width: int = 4, limits: Limits = (), empty: str = "none"
) -> Panel:
    """One number, now, with a hint of its past. `empty` is shown where there is no such series."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(METRICS)
        .span(width)
        .height(4)
        .no_value(empty)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(limits))
        .with_target(_target(query))
    )


def bars(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    limits: Limits = (),
    floor: float = 0,
    ceiling: float | None = None,
) -> Panel:
    """One bar for each series, now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(METRICS)
        .span(width)
        .height(8)
        .min(floor)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(limits))
    )
    if ceiling is not None:
        panel.max(ceiling)
    for query in queries:
        panel.with_target(_target(query))
    return panel


def states(
    title: str, description: str, query: Query, told: Sequence[tuple[int, str, str]], *, width: int = 24
) -> Panel:
    """What something was, when; `told` are the query's values, each with its word and colour."""
    mapped = {
        str(value): models.ValueMappingResult(text=word, color=color, index=at)
        for at, (value, word, color) in enumerate(told)
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .unit("short")
        .datasource(METRICS)
        .span(width)
        .height(4)
        .mappings([models.ValueMap(mapped)])
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
        .with_target(_target(query))
    )


def heat(title: str, description: str, unit: str, histogram_rate: str, *, width: int = 8) -> Panel:
    """How many per bucket over time; the query keeps `le`."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(METRICS)
        .span(width)
        .height(8)
        .calculate(False)
        .with_target(_target(Query(histogram_rate, "{{le}}", exemplars=True)).format(PromQueryFormat.HEATMAP))
    )


def grid(
    title: str, description: str, unit: str, *queries: Query, width: int = 12, units: Mapping[str, str] | None = None
) -> Panel:
    """A table: a row for each set of labels, a column for each query, named by its legend; `units` are of columns whose
    unit is another."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(METRICS)
        .span(width)
        .height(8)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "renameByName": {f"Value #{_ref(at)}": query.legend for at, query in enumerate(queries)},
                },
            )
        )
    )
    for name, other in (units or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue("unit", other)])
    for query in queries:
        panel.with_target(_target(query).format(PromQueryFormat.TABLE).instant())
    return panel


def _ref(at: int) -> str:
    return chr(ord("A") + at)


def _target(query: Query) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).datasource(METRICS)
    if query.exemplars:
        made.exemplar(True)
    return made


def _thresholds(limits: Limits) -> ThresholdsConfig:
    first = next((color for at, color in limits if at == -math.inf), GREEN)
    steps = [models.Threshold(value=at, color=color) for at, color in limits if at > -math.inf]
    made = ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return made.steps([models.Threshold(value=None, color=first), *steps])


def _to_trace() -> dict[str, Any]:
    """Of Grafana's Explore: a trace by its id, as Jaeger and Tempo both look one up."""
    pane = (
        '{"a":{"datasource":"${traces}","queries":[{"refId":"A","datasource":{"uid":"${traces}"},'
        '"query":"${__value.raw}"}],"range":{"from":"${__from}","to":"${__to}"}}}'
    )
    safe = quote(pane, safe="${}_.:")
    return {"title": "The turn's trace", "url": f"/explore?schemaVersion=1&orgId=1&panes={safe}", "targetBlank": True}
