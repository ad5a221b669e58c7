"""Grafana's grid in pixels. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

COLUMNS = 24
UNIT_HEIGHT = 30
GAP = 8


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def within(self, left: float, top: float, right: float, bottom: float) -> "Box":
        """What is left inside of margins.

        >>> Box(0, 0, 100, 50).within(10, 5, 10, 5)
        Box(x=10, y=5, width=80, height=40)
        """
        return Box(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)


def boxed(place: Mapping[str, int], width: float, top: float) -> Box:
    """
    >>> boxed({"x": 12, "y": 1, "w": 12, "h": 8}, 1208, 50)
    Box(x=608.0, y=88, width=592.0, height=232)
    """
    column = (width - GAP) / COLUMNS
    return Box(
        GAP + place["x"] * column,
        top + GAP + place["y"] * UNIT_HEIGHT,
        place["w"] * column - GAP,
        place["h"] * UNIT_HEIGHT - GAP,
    )
