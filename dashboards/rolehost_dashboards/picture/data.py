"""What a Prometheus answers, as series; and what a query is before it is asked. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Unix seconds and value."""
    name: str = ""

    @property
    def is_empty(self) -> bool:
        """It never was a number."""
        return not any(math.isfinite(value) for _, value in self.points)

    @property
    def last(self) -> float:
        return self.points[-1][1] if self.points else math.nan

    def at_end(self, span: "Span") -> float:
        """Its value now; not a number where it ended before."""
        is_there = bool(self.points) and self.points[-1][0] >= span.end - 2 * span.step
        return self.last if is_there else math.nan


@dataclass(frozen=True, slots=True)
class Span:
    """What a picture shows of time, in Unix seconds."""

    begin: float
    end: float
    step: float


def filled(query: str, variables: Mapping[str, str], span: Span, scrape_seconds: float) -> str:
    """The query with Grafana's variables put in. Raises KeyError for one that nobody gave.

    >>> filled('rate(x{a=~"$a"}[$__rate_interval])', {"a": ".*"}, Span(0, 3600, 30), 15)
    'rate(x{a=~".*"}[60s])'
    """
    known = {
        "__rate_interval": f"{math.ceil(max(4 * scrape_seconds, span.step + scrape_seconds))}s",
        "__interval": f"{math.ceil(span.step)}s",
        "__range": f"{math.ceil(span.end - span.begin)}s",
        **variables,
    }
    return _VARIABLE.sub(lambda found: known[found[1] or found[2]], query)


def named(legend: str, labels: Mapping[str, str]) -> str:
    """
    >>> named("{{role}}: {{code}}", {"role": "cat"})
    'cat: '
    """
    return _LEGEND.sub(lambda found: labels.get(found[1], ""), legend)


def read(answer: Mapping[str, Any], legend: str) -> list[Series]:
    """The `data` of an answer of /api/v1/query_range or /api/v1/query."""
    found: list[Series] = []
    if answer["resultType"] == "scalar":
        at, value = answer["result"]
        return [Series({}, [(float(at), float(value))], legend)]
    for one in answer["result"]:
        points = one["values"] if "values" in one else [one["value"]]
        found.append(
            Series(one["metric"], [(float(at), float(value)) for at, value in points], named(legend, one["metric"]))
        )
    return sorted(found, key=lambda series: series.name)


def stacked(series: Sequence[Series], gap: float) -> list[tuple[Series, list[list[tuple[float, float, float]]]]]:
    """Each with its points as (time, floor, ceiling), on top of those before it, cut where none of them was measured for
    longer than `gap`. What is missing of one alone is 0.

    >>> two = [Series({}, [(0, 1.0), (1, 2.0)]), Series({}, [(1, 5.0), (9, 1.0)])]
    >>> [points for _, points in stacked(two, 2)]
    [[[(0, 0.0, 1.0), (1, 0.0, 2.0)], [(9, 0.0, 0.0)]], [[(0, 1.0, 1.0), (1, 2.0, 7.0)], [(9, 0.0, 1.0)]]]
    """
    times = sorted({at for one in series for at, value in one.points if math.isfinite(value)})
    spans = [[at for at, _ in run] for run in runs([(at, 0.0) for at in times], gap)]
    floor = dict.fromkeys(times, 0.0)
    found: list[tuple[Series, list[list[tuple[float, float, float]]]]] = []
    for one in series:
        values = {at: value for at, value in one.points if math.isfinite(value)}
        ceiling = {at: floor[at] + values.get(at, 0.0) for at in times}
        found.append((one, [[(at, floor[at], ceiling[at]) for at in span] for span in spans]))
        floor = ceiling
    return found


def runs(points: Sequence[tuple[float, float]], gap: float) -> list[list[tuple[float, float]]]:
    """Cut where nothing was measured for longer than `gap`, and where it is not a number.

    >>> runs([(0, 1.0), (1, 2.0), (5, 3.0), (6, float("nan")), (7, 4.0)], 2)
    [[(0, 1.0), (1, 2.0)], [(5, 3.0)], [(7, 4.0)]]
    """
    found: list[list[tuple[float, float]]] = []
    before: float | None = None
    for at, value in points:
        if not math.isfinite(value):
            before = None
            continue
        if before is None or at - before > gap:
            found.append([])
        found[-1].append((at, value))
        before = at
    return found


def onsets(series: Sequence[Series], gap: float) -> list[tuple[float, Mapping[str, str]]]:
    """When each began to have a value, again and again: for marks in time."""
    return sorted(
        ((run[0][0], one.labels) for one in series for run in runs(one.points, gap)), key=lambda found: found[0]
    )
