"""A whole board as one SVG. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rolehost_dashboards.picture import charts, plates
from rolehost_dashboards.picture.data import Span
from rolehost_dashboards.picture.frame import GAP, UNIT_HEIGHT, Box, boxed
from rolehost_dashboards.picture.panel import Drawn, nothing, plate
from rolehost_dashboards.picture.svg import BACKGROUND, FAINT, element, words, wrapped

WIDTH = 1500.0
HEAD = 44.0
SIGNATURE = "drawn by rolehost_dashboards.picture, not by Grafana"
KINDS: Mapping[str, Callable[[Drawn, Box], list[str]]] = {
    "timeseries": charts.timeseries,
    "heatmap": charts.heatmap,
    "state-timeline": charts.states,
    "stat": plates.stat,
    "bargauge": plates.bargauge,
    "table": plates.table,
}


def picture(board: Mapping[str, Any], drawn: Sequence[Drawn], span: Span, told: str) -> str:
    """`drawn` are the board's panels, rows left out; `told` is what was chosen, for the head. Raises KeyError for a kind
    of panel that it does not know."""
    height = HEAD + 2 * GAP + UNIT_HEIGHT * max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in board["panels"])
    found = [
        element("rect", width=WIDTH, height=height, fill=BACKGROUND),
        words(board["title"], GAP + 4, 28, 17, weight="600"),
        words(told, GAP + 4 + len(board["title"]) * 10 + 24, 28, 12, FAINT),
        words(f"{between(span)} · {SIGNATURE}", WIDTH - GAP - 4, 28, 11, FAINT, "end"),
    ]
    for row in board["panels"]:
        if row["type"] == "row":
            box = boxed(row["gridPos"], WIDTH, HEAD)
            found.append(words(f"▾ {row['title']}", box.x + 2, box.y + 16, 13, weight="500"))
    for one in drawn:
        box = boxed(one.panel["gridPos"], WIDTH, HEAD)
        kind = KINDS[one.panel["type"]]
        found += [*plate(one, box), *(kind(one, box) if one.series else nothing(one, box))]
    return wrapped(found, WIDTH, height)


def between(span: Span) -> str:
    """
    >>> between(Span(1_700_000_000, 1_700_000_900, 15))
    '2023-11-14 22:13–22:28 UTC'
    """
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (span.begin, span.end))
    return f"{begin:%Y-%m-%d %H:%M}–{end:%H:%M} UTC"
