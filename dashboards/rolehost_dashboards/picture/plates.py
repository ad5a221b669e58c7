"""Panels of what is so now: a number, bars, a table. Pure."""

import math
from collections.abc import Sequence

from rolehost_dashboards.picture.data import Series, runs
from rolehost_dashboards.picture.frame import Box
from rolehost_dashboards.picture.panel import PAD, TITLE_HEIGHT, Drawn, color_at, limits
from rolehost_dashboards.picture.scale import Scale, shown
from rolehost_dashboards.picture.svg import EDGE, FAINT, clipped, element, path, words

ROW_HEIGHT = 20


def stat(drawn: Drawn, box: Box) -> list[str]:
    one = drawn.series[0]
    color = color_at(one.last, limits(drawn))
    size = min(30.0, box.height / 3)
    told = words(
        shown(one.last, drawn.unit), box.x + box.width / 2, box.y + box.height / 2 + size / 2 + 2, size, color, "middle"
    )
    return [*_spark(one, color, drawn, box), told]


def bargauge(drawn: Drawn, box: Box) -> list[str]:
    """Bars from the panel's least value, or from nought; what is below is a bar of no length, with its number."""
    inner = box.within(PAD, TITLE_HEIGHT, PAD, PAD)
    shows = drawn.series[: max(1, int(inner.height / 26))]
    floor = float(drawn.defaults.get("min") or 0)
    values = [one.last for one in drawn.series if math.isfinite(one.last)]
    ceiling = float(drawn.defaults.get("max") or max([*values, floor + 1e-9]))
    height = min(34.0, inner.height / len(shows))
    name_width = min(180.0, inner.width * 0.4)
    scale = Scale(floor, ceiling, inner.x + name_width, inner.right - 70)
    found: list[str] = []
    for number, one in enumerate(shows):
        top = inner.y + number * height
        value = one.last if math.isfinite(one.last) else floor
        end = scale(min(max(value, floor), ceiling))
        color = color_at(one.last, limits(drawn))
        found += [
            words(clipped(one.name, name_width - 8), inner.x, top + height / 2 + 4),
            element(
                "rect", x=scale.start, y=top + 4, width=scale.end - scale.start, height=height - 8, fill=EDGE, rx=2
            ),
            element(
                "rect", x=scale.start, y=top + 4, width=max(end - scale.start, 0.0), height=height - 8, fill=color, rx=2
            ),
            words(shown(one.last, drawn.unit), inner.right, top + height / 2 + 4, 12, color, "end"),
        ]
    return found


def table(drawn: Drawn, box: Box) -> list[str]:
    """A row for each set of labels, a column for each query."""
    inner = box.within(PAD, TITLE_HEIGHT, PAD, PAD)
    columns = [str(target["legendFormat"]) for target in drawn.panel["targets"]]
    shows = rows(drawn.by_query)
    most = int(inner.height / ROW_HEIGHT) - 1
    first = inner.width * 0.34
    width = (inner.width - first) / len(columns)
    found = [
        words(clipped(name, width), inner.x + first + (at + 1) * width, inner.y + 13, 11, FAINT, "end")
        for at, name in enumerate(columns)
    ]
    for number, (name, values) in enumerate(shows[:most], 1):
        y = inner.y + number * ROW_HEIGHT
        found.append(path([(inner.x, y), (inner.right, y)], stroke=EDGE))
        found.append(words(clipped(name, first), inner.x, y + 14))
        found += [
            words(shown(value, unit_of(drawn, at)), inner.x + first + (at + 1) * width, y + 14, 11, anchor="end")
            for at, value in enumerate(values)
        ]
    return found


def unit_of(drawn: Drawn, column: int) -> str:
    """Of a table's column: an override by its name, else the panel's."""
    name = drawn.panel["targets"][column]["legendFormat"]
    for override in drawn.panel["fieldConfig"].get("overrides", ()):
        if override["matcher"]["options"] == name:
            return next((str(one["value"]) for one in override["properties"] if one["id"] == "unit"), drawn.unit)
    return drawn.unit


def rows(by_query: Sequence[Sequence[Series]]) -> list[tuple[str, list[float]]]:
    """
    >>> calls, errors = [Series({"role": "cat"}, [(0, 5.0)])], [Series({"role": "dog"}, [(0, 1.0)])]
    >>> rows([calls, errors])
    [('cat', [5.0, nan]), ('dog', [nan, 1.0])]
    """
    found: dict[str, list[float]] = {}
    for at, series in enumerate(by_query):
        for one in series:
            name = " · ".join(value for _, value in sorted(one.labels.items()))
            found.setdefault(name, [math.nan] * len(by_query))[at] = one.last
    return sorted(found.items())


def _spark(one: Series, color: str, drawn: Drawn, box: Box) -> list[str]:
    values = [value for _, value in one.points if math.isfinite(value)]
    if len(values) < 2:
        return []
    x = Scale(drawn.span.begin, drawn.span.end, box.x + 1, box.right - 1)
    y = Scale(0, max(values) or 1, box.bottom - 1, box.bottom - box.height * 0.3)
    return [
        path(
            [(x(run[0][0]), y.start), *((x(at), y(value)) for at, value in run), (x(run[-1][0]), y.start)],
            close=True,
            fill=color,
            fill_opacity="0.15",
        )
        for run in runs(one.points, drawn.span.step * 2.5)
    ]
