"""Panels over time: lines, areas on top of each other, states, and heat maps. Pure."""

import math
from collections.abc import Sequence
from itertools import groupby

from rolehost_dashboards.picture.data import Series, runs, stacked
from rolehost_dashboards.picture.frame import Box
from rolehost_dashboards.picture.panel import PAD, TITLE_HEIGHT, Drawn, limits
from rolehost_dashboards.picture.scale import Scale, moment, moments, shown, ticks
from rolehost_dashboards.picture.svg import (
    BACKGROUND,
    COLORS,
    EDGE,
    FAINT,
    TEXT,
    clipped,
    color_of,
    element,
    path,
    rectangles,
    width_of,
    words,
)

AXIS_WIDTH, AXIS_HEIGHT, LEGEND_HEIGHT = 58, 18, 16
GAP_STEPS = 2.5
"""A line is cut where so many steps have no value."""
HOT = ("#1f2633", "#27406b", "#2f6db0", "#5794f2", "#8ab8ff", "#f2cc0c", "#ff9830", "#f2495c")


def timeseries(drawn: Drawn, box: Box) -> list[str]:
    is_stacked = drawn.defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    legend = _legend(drawn, box)
    plot = box.within(AXIS_WIDTH, TITLE_HEIGHT + 4, PAD, AXIS_HEIGHT + len(legend) * LEGEND_HEIGHT + 6)
    gap = drawn.span.step * GAP_STEPS
    layers = stacked(drawn.series, gap) if is_stacked else ()
    tops = [top for _, runs_of in layers for run in runs_of for _, _, top in run] or [
        value for one in drawn.series for _, value in one.points if math.isfinite(value)
    ]
    marks = ticks(0, float(drawn.defaults.get("max") or max(tops, default=0)), 4)
    x = Scale(drawn.span.begin, drawn.span.end, plot.x, plot.right)
    y = Scale(marks[0], marks[-1], plot.bottom, plot.y)
    found = _axes(drawn, plot, x, y, marks)
    for number, (_, parts) in enumerate(layers):
        for part in parts:
            found += _area(part, color_of(number), x, y)
    if not is_stacked:
        for number, one in enumerate(drawn.series):
            found += _line(one, color_of(number), x, y, gap)
    found += _limits(drawn, plot, y)
    found += [
        path([(x(at), plot.y), (x(at), plot.bottom)], stroke=COLORS["blue"], stroke_dasharray="3 3")
        for at in drawn.marks
    ]
    return [*found, *(one for line in legend for one in line)]


def heatmap(drawn: Drawn, box: Box) -> list[str]:
    """Cumulative buckets by their upper bound `le`, drawn as how many fell between two of them."""
    cells = between(drawn.series)
    bounds = sorted({bound for bound, _, _ in cells})
    most = max((count for _, _, count in cells), default=0)
    plot = box.within(AXIS_WIDTH, TITLE_HEIGHT + 4, PAD, AXIS_HEIGHT + 6)
    x = Scale(drawn.span.begin, drawn.span.end, plot.x, plot.right)
    height = plot.height / max(len(bounds), 1)
    width = max(1.0, plot.width * drawn.span.step / (drawn.span.end - drawn.span.begin))
    filled: dict[str, list[Box]] = {}
    for bound, at, count in cells:
        if count > 0:
            color = HOT[min(len(HOT) - 1, int(math.sqrt(count / most) * len(HOT)))]
            top = plot.bottom - (bounds.index(bound) + 1) * height
            filled.setdefault(color, []).append(Box(max(plot.x, x(at) - width), top + 0.5, width, height - 1))
    found = [rectangles(boxes, color) for color, boxes in filled.items()]
    for number, bound in enumerate(bounds):
        if number % max(1, len(bounds) // 6) == 0:
            told = shown(bound, drawn.unit)
            found.append(words(told, plot.x - 6, plot.bottom - number * height - height / 2 + 4, 10, FAINT, "end"))
    return [*found, *_times(drawn, plot, x)]


def states(drawn: Drawn, box: Box) -> list[str]:
    """A strip for each series, in the words and colours of its values; as long as it was the same it is one piece."""
    told = _mapped(drawn)
    plot = box.within(AXIS_WIDTH, TITLE_HEIGHT + 4, PAD, AXIS_HEIGHT + 6)
    x = Scale(drawn.span.begin, drawn.span.end, plot.x, plot.right)
    height = plot.height / len(drawn.series)
    found: list[str] = []
    for number, one in enumerate(drawn.series):
        top = plot.y + number * height
        found.append(words(clipped(one.name, AXIS_WIDTH - 8, 10), plot.x - 6, top + height / 2 + 4, 10, FAINT, "end"))
        for begin, end, value in spells(one, drawn.span.step * GAP_STEPS):
            word, color = told.get(value, (shown(value, drawn.unit), FAINT))
            width = max(1.0, min(x(end + drawn.span.step), plot.right) - x(begin))
            found.append(element("rect", x=x(begin), y=top + 2, width=width, height=height - 4, fill=color, rx=2))
            if width_of(word, 11) + 8 < width:
                found.append(words(word, x(begin) + width / 2, top + height / 2 + 4, 11, BACKGROUND, "middle"))
    return [*found, *_times(drawn, plot, x)]


def spells(one: Series, gap: float) -> list[tuple[float, float, float]]:
    """From when to when it had one value, and which; cut where nothing was measured for longer than `gap`.

    >>> spells(Series({}, [(0, 1.0), (1, 1.0), (2, 2.0), (9, 2.0)]), 3)
    [(0, 1, 1.0), (2, 2, 2.0), (9, 9, 2.0)]
    """
    found: list[tuple[float, float, float]] = []
    for run in runs(one.points, gap):
        for value, points in groupby(run, key=lambda point: point[1]):
            times = [at for at, _ in points]
            found.append((times[0], times[-1], value))
    return found


def _mapped(drawn: Drawn) -> dict[float, tuple[str, str]]:
    """Values that have a word and a colour."""
    return {
        float(value): (str(told["text"]), COLORS.get(told["color"], told["color"]))
        for mapping in drawn.defaults.get("mappings", ())
        for value, told in mapping["options"].items()
    }


def between(series: Sequence[Series]) -> list[tuple[float, float, float]]:
    """Bound, moment and count of each cell; rows below the first and above the last that ever counted are left out.

    >>> low, high = (Series({"le": le}, [(0, count)]) for le, count in (("0.1", 2.0), ("+Inf", 5.0)))
    >>> between([high, low])
    [(0.1, 0, 2.0), (inf, 0, 3.0)]
    """
    rows = sorted(((float(one.labels["le"]), dict(one.points)) for one in series), key=lambda row: row[0])
    found: list[tuple[float, float, float]] = []
    below: dict[float, float] = {}
    for bound, points in rows:
        found += [
            (bound, at, max(0.0, value - below.get(at, 0.0))) for at, value in points.items() if math.isfinite(value)
        ]
        below = points
    counted = [bound for bound, _, count in found if count > 0]
    low, high = min(counted, default=0.0), max(counted, default=math.inf)
    return [cell for cell in found if low <= cell[0] <= high]


def _line(one: Series, color: str, x: Scale, y: Scale, gap: float) -> list[str]:
    found: list[str] = []
    for run in runs(one.points, gap):
        places = [(x(at), y(value)) for at, value in run]
        if len(places) == 1:
            found.append(element("circle", cx=places[0][0], cy=places[0][1], r=2, fill=color))
        else:
            found.append(path(places, fill="none", stroke=color, stroke_width="1.3"))
    return found


def _area(part: Sequence[tuple[float, float, float]], color: str, x: Scale, y: Scale) -> list[str]:
    edge = [(x(at), y(top)) for at, _, top in part]
    ground = [(x(at), y(floor)) for at, floor, _ in reversed(part)]
    return [
        path([*edge, *ground], close=True, fill=color, fill_opacity="0.45"),
        path(edge, fill="none", stroke=color),
    ]


def _axes(drawn: Drawn, plot: Box, x: Scale, y: Scale, marks: Sequence[float]) -> list[str]:
    found: list[str] = []
    for mark in marks:
        found.append(path([(plot.x, y(mark)), (plot.right, y(mark))], stroke=EDGE))
        found.append(words(shown(mark, drawn.unit), plot.x - 6, y(mark) + 4, 10, FAINT, "end"))
    return [*found, *_times(drawn, plot, x)]


def _times(drawn: Drawn, plot: Box, x: Scale) -> list[str]:
    most = max(2, int(plot.width / 60))
    return [
        words(moment(at), x(at), plot.bottom + 14, 10, FAINT, "middle")
        for at in moments(drawn.span.begin, drawn.span.end, most)
    ]


def _limits(drawn: Drawn, plot: Box, y: Scale) -> list[str]:
    style = drawn.defaults.get("custom", {}).get("thresholdsStyle", {}).get("mode", "off")
    if style == "off":
        return []
    return [
        path([(plot.x, y(at)), (plot.right, y(at))], stroke=COLORS.get(color, color), stroke_dasharray="6 4")
        for at, color in limits(drawn)
        if y.low < at <= y.high
    ]


def _legend(drawn: Drawn, box: Box) -> list[list[str]]:
    """Lines of it: a colour, a name, the value now. At most two; what does not fit is counted."""
    most, left, right = 2, box.x + PAD, box.right - PAD
    lines: list[list[str]] = [[]]
    x = left
    for number, one in enumerate(drawn.series):
        told = f"{clipped(one.name, 190, 10)}  {shown(one.at_end(drawn.span), drawn.unit)}"
        width = width_of(told, 10) + 24
        if x + width > right and lines[-1]:
            if len(lines) == most:
                lines[-1].append(words(f"+{len(drawn.series) - number}", min(x, right - 20), 0, 10, FAINT))
                break
            lines.append([])
            x = left
        lines[-1] += [
            element("rect", x=x, y=-3, width=10, height=3, fill=color_of(number)),
            words(told, x + 14, 0, 10, TEXT),
        ]
        x += width
    bottom = box.bottom - 8
    placed = [line for line in lines if line]
    return [
        [
            element("g", transform=f"translate(0 {bottom - (len(placed) - 1 - at) * LEGEND_HEIGHT:g})").removesuffix(
                "/>"
            )
            + ">",
            *line,
            "</g>",
        ]
        for at, line in enumerate(placed)
    ]
