"""A panel of a board with what its queries gave, and what is common to all kinds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolehost_dashboards.picture.data import Series, Span
from rolehost_dashboards.picture.frame import Box
from rolehost_dashboards.picture.svg import COLORS, EDGE, FAINT, PAPER, TEXT, clipped, element, words

TITLE_HEIGHT = 26
PAD = 10


@dataclass(frozen=True, slots=True)
class Drawn:
    """All that a panel's picture is made of."""

    panel: Mapping[str, Any]
    series: Sequence[Series]
    span: Span
    marks: Sequence[float] = ()
    """Moments of annotations."""
    by_query: Sequence[Sequence[Series]] = ()
    """The same series, for tables: by the query that gave them."""

    @property
    def unit(self) -> str:
        return str(self.panel["fieldConfig"]["defaults"].get("unit", "short"))

    @property
    def defaults(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.panel["fieldConfig"]["defaults"]
        return found


def plate(drawn: Drawn, box: Box) -> list[str]:
    """The panel's ground and its title."""
    return [
        element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=2, fill=PAPER, stroke=EDGE),
        words(clipped(drawn.panel["title"], box.width - 2 * PAD, 12), box.x + PAD, box.y + 18, 12, weight="500"),
    ]


def nothing(drawn: Drawn, box: Box) -> list[str]:
    """Of a panel whose queries gave nothing."""
    told = str(drawn.defaults.get("noValue", "No data"))
    return [words(told, box.x + box.width / 2, box.y + box.height / 2 + 12, 13, FAINT, "middle")]


def limits(drawn: Drawn) -> list[tuple[float, str]]:
    """From which value on which colour, the lowest first."""
    steps = drawn.defaults.get("thresholds", {}).get("steps", ())
    return [(float("-inf") if one.get("value") is None else float(one["value"]), str(one["color"])) for one in steps]


def color_at(value: float, steps: Sequence[tuple[float, str]]) -> str:
    """
    >>> color_at(0.5, [(float("-inf"), "green"), (0.1, "red")]), color_at(float("nan"), [])
    ('#f2495c', '#ccccdc')
    """
    names = [name for at, name in steps if value >= at]
    return COLORS.get(names[-1], names[-1]) if names else TEXT
